package supervisor

import (
	"errors"
	"os"
	"sync"
)

// maxLog is how large the log grows, in bytes, before it is put aside; one older one is kept.
const maxLog = 4 << 20

// LogFile is where a service of the service control manager, which keeps nothing that a program says, writes its log. It
// is opened at the first line: by then the service has made the folder.
type LogFile struct {
	Path string

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64
}

func (l *LogFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && l.size+int64(len(b)) > maxLog {
		err := errors.Join(l.file.Close(), os.Rename(l.Path, l.Path+".old"))
		if l.file = nil; err != nil {
			return 0, err
		}
	}
	if l.file == nil {
		f, err := os.OpenFile(l.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, err
		}
		fi, err := f.Stat()
		if err != nil {
			return 0, errors.Join(err, f.Close())
		}
		l.file, l.size = f, fi.Size()
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return n, err
}
