package bundle

import "context"

// logs asks the journal, and takes the files of systems without one.
func logs(ctx context.Context, b *Bundle, unit string) {
	b.Command(ctx, "log.txt", "journalctl", "--unit", unit, "--lines", "5000", "--no-pager", "--quiet", "--output", "short-iso")
	b.File("log-file.txt", "/var/log/"+unit+".log")
}
