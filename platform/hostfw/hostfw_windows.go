package hostfw

// Name is the firewall that filters what comes in.
func Name() string { return "Windows Firewall" }
