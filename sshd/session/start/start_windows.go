// Package start is not used on Windows, where a process can be started in a folder that hangs.
package start

// Verb is the helper's name in argv.
const Verb = "session-program"

// Become does nothing on Windows.
func Become() {}

// SignalVerb is not used on Windows.
const SignalVerb = "session-signal"

// SignalMain does nothing on Windows.
func SignalMain([]string) (exit int) { return 2 }

// Bounds does nothing on Windows.
func Bounds() {}

// Main does nothing on Windows.
func Main([]string) (exit int) { return 2 }
