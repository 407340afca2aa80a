package pty

import "golang.org/x/sys/unix"

type flag = uint64

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
	iutf8      = unix.IUTF8
	vdisable   = 0xff
)

// What other systems do not have.
var (
	moreChars  = map[byte]int{11: unix.VDSUSP, 17: unix.VSTATUS}
	moreInput  map[byte]flag
	moreLocal  map[byte]flag
	moreOutput map[byte]flag
)

// setSpeed sets the speed that stty(1) shows.
func setSpeed(t *unix.Termios, input bool, baud uint32) {
	switch {
	case baud == 0: // hangs up
	case input:
		t.Ispeed = uint64(baud)
	default:
		t.Ospeed = uint64(baud)
	}
}
