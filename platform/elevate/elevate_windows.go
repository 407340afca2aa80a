package elevate

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// Run starts argv elevated, after the system has asked (UAC). It does not wait for the program's end.
func Run(_ context.Context, argv []string) error {
	verb, err := windows.UTF16PtrFromString("runas")
	if err != nil {
		return err
	}
	file, err := windows.UTF16PtrFromString(argv[0])
	if err != nil {
		return err
	}
	args, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(argv[1:]))
	if err != nil {
		return err
	}
	err = windows.ShellExecute(0, verb, file, args, nil, windows.SW_HIDE)
	if errors.Is(err, windows.ERROR_CANCELLED) {
		return ErrRefused
	}
	if err != nil {
		return fmt.Errorf("start %s with administrator rights: %w", argv[0], err)
	}
	return nil
}
