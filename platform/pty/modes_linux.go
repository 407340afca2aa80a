package pty

import "golang.org/x/sys/unix"

type flag = uint32

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
	iutf8      = unix.IUTF8
	vdisable   = 0
)

// What other systems do not have.
var (
	moreChars  = map[byte]int{16: unix.VSWTC}
	moreInput  = map[byte]flag{37: unix.IUCLC}
	moreLocal  = map[byte]flag{52: unix.XCASE}
	moreOutput = map[byte]flag{71: unix.OLCUC}
)

// speeds are those that a terminal knows, with their code (termios(3)).
var speeds = map[uint32]uint32{
	0: unix.B0, 50: unix.B50, 75: unix.B75, 110: unix.B110, 134: unix.B134, 150: unix.B150, 200: unix.B200, 300: unix.B300,
	600: unix.B600, 1200: unix.B1200, 1800: unix.B1800, 2400: unix.B2400, 4800: unix.B4800, 9600: unix.B9600,
	19200: unix.B19200, 38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400,
	460800: unix.B460800, 921600: unix.B921600,
}

// setSpeed sets the speed that stty(1) shows; the input's is the output's on a pseudo-terminal.
func setSpeed(t *unix.Termios, input bool, baud uint32) {
	code, ok := speeds[baud]
	if !ok || input || baud == 0 { // 0 hangs up
		return
	}
	t.Cflag = t.Cflag&^unix.CBAUD | code
	t.Ispeed, t.Ospeed = baud, baud
}
