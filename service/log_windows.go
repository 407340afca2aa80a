package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/kardianos/service"

	"lanyard/platform/paths"
)

// logWriter is where the service's log goes: to whoever started it in a console, else to a file in its state folder.
func logWriter(console io.Writer, profile string) io.Writer {
	if service.Interactive() {
		return console
	}
	return &logFile{path: filepath.Join(paths.For(profile).State, "service.log")}
}

// maxLog is how large the log grows, in bytes, before it is put aside; one older one is kept.
const maxLog = 4 << 20

// logFile is opened at the first line: by then the service has made its folder.
type logFile struct {
	path string

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && l.size+int64(len(b)) > maxLog {
		err := errors.Join(l.file.Close(), os.Rename(l.path, l.path+".old"))
		if l.file = nil; err != nil {
			return 0, err
		}
	}
	if l.file == nil {
		f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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
