package sftp

// hide has nothing to do: on macOS no file leads into a process's memory.
func hide() error { return nil }
