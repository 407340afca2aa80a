package paths

import (
	"fmt"
	"io"
	"os"
)

// ReadText reads a file that a person keeps for other programs, such as ssh's configuration, wherever its links lead. It
// waits for nobody: pipes and devices are refused, and so is a file that is too large to be one.
func ReadText(name string) ([]byte, error) {
	// A device is not even opened: some do something then.
	if fi, err := os.Stat(name); err != nil {
		return nil, err
	} else if err := checkText(name, fi); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if err := checkText(name, fi); err != nil { // it may be another by now
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(b) > maxSmall {
		err = fmt.Errorf("%s is too large to be read", name)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func checkText(name string, fi os.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	return nil
}
