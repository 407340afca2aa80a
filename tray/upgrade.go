package main

import (
	"errors"
	"os"
)

// errUpgraded ends a tray whose program was replaced: the new one is started in its place.
var errUpgraded = errors.New("the program was replaced")

// replacement returns a function that reports whether another file lies where this program was started from.
func replacement(program string) func() bool {
	was, err := os.Stat(program)
	if err == nil {
		os.SameFile(was, was) // Windows tells which file it is when that is first asked, by its path
	}
	return func() bool {
		is, now := os.Stat(program)
		return err == nil && now == nil && is.Mode().IsRegular() && (!os.SameFile(was, is) || !was.ModTime().Equal(is.ModTime()) || was.Size() != is.Size())
	}
}
