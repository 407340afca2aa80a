package session

// StartVerb is not used on Windows, where a process can be started in a folder that hangs.
const StartVerb = "session-start"

func launch(_ []string, _, path string, argv []string) (string, []string) { return path, argv }

// StartMain does nothing on Windows.
func StartMain([]string) (exit int) { return 2 }
