// Package start is not used on Windows, where a process can be started in a folder that hangs.
package start

// Verb is the helper's name in argv.
const Verb = "session-start"

// Bounds does nothing on Windows.
func Bounds() {}

// Main does nothing on Windows.
func Main([]string) (exit int) { return 2 }
