package ifaddr

import "fmt"

// TUNName is the name to make a TUN interface with: want, or the same with the next free number.
func TUNName(want string) string {
	name := want
	for n := 1; exists(name) && n < 1000; n++ {
		name = fmt.Sprintf("%s%d", want, n)
	}
	return name
}
