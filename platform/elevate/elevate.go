// Package elevate runs a program with administrator rights, after the system has asked the person for them.
package elevate

import "errors"

// Errors of Run.
var (
	ErrRefused = errors.New("administrator rights were not given; nothing was changed")
	ErrNone    = errors.New("this desktop cannot ask for administrator rights")
)
