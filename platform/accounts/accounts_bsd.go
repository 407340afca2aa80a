//go:build darwin || freebsd

package accounts

// firstPerson is the lowest uid that the system's own tools give to people.
func (d database) firstPerson() uint32 { return firstPerson }

// foreignGroups is always true: id(1) also knows the directory service, and costs a few milliseconds only.
func (d database) foreignGroups() bool { return true }
