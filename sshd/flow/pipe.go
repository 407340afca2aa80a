package flow

import (
	"fmt"
	"os"
)

// pipeSize is what a pipe may hold: the most that Linux grants without privileges (pipe(7), pipe-max-size).
const pipeSize = 1 << 20

// Pipe makes a pipe for a process's bulk data.
func Pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	widen(w)
	return r, w, nil
}
