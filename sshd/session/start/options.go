package start

// Limit is a resource limit (setrlimit(2)).
type Limit struct {
	Resource   int // RLIMIT_...
	Soft, Hard uint64
}
