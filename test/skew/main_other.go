//go:build !linux || !amd64

// Skew runs a program on a machine whose clock is wrong, on Linux on amd64 only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "skew: it writes amd64's instructions into Linux's vDSO, and knows no other")
	os.Exit(1)
}
