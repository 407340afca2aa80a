package ifaddr

// TUNName is the name to make a TUN interface with: the system counts them itself and allows no other name.
func TUNName(string) string { return "utun" }
