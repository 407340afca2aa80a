//go:build unix

package pty

import "golang.org/x/sys/unix"

// Opcodes of RFC 4254 §8 (and IUTF8, RFC 8160).
var (
	controlChars = map[byte]int{
		1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
		8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT,
		18: unix.VDISCARD,
	}
	inputFlags = map[byte]flag{
		30: unix.IGNPAR, 31: unix.PARMRK, 32: unix.INPCK, 33: unix.ISTRIP, 34: unix.INLCR, 35: unix.IGNCR,
		36: unix.ICRNL, 38: unix.IXON, 39: unix.IXANY, 40: unix.IXOFF, 41: unix.IMAXBEL, 42: iutf8,
	}
	localFlags = map[byte]flag{
		50: unix.ISIG, 51: unix.ICANON, 53: unix.ECHO, 54: unix.ECHOE, 55: unix.ECHOK, 56: unix.ECHONL,
		57: unix.NOFLSH, 58: unix.TOSTOP, 59: unix.IEXTEN, 60: unix.ECHOCTL, 61: unix.ECHOKE, 62: unix.PENDIN,
	}
	outputFlags   = map[byte]flag{70: unix.OPOST, 72: unix.ONLCR, 73: unix.OCRNL, 74: unix.ONOCR, 75: unix.ONLRET}
	controlFlags  = map[byte]flag{92: unix.PARENB, 93: unix.PARODD}
	characterSize = map[byte]flag{90: unix.CS7, 91: unix.CS8}
)

// Opcodes of the line's speed: input and output.
const (
	inputSpeed  = 128
	outputSpeed = 129
)

const disabledChar = 255 // RFC 4254 §8: "255 if none"

// setModes applies modes to the slave; those that this system does not know are left out, as OpenSSH does.
func (p *PTY) setModes(modes []Mode) error {
	if len(modes) == 0 {
		return nil
	}
	return p.control(func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, getTermios)
		if err != nil {
			return err
		}
		apply(t, modes)
		return unix.IoctlSetTermios(fd, setTermios, t)
	})
}

func controlCharOf(op byte) (int, bool) {
	if i, ok := moreChars[op]; ok {
		return i, true
	}
	i, ok := controlChars[op]
	return i, ok
}

func apply(t *unix.Termios, modes []Mode) {
	for _, m := range modes {
		set := func(dst *flag, bit flag) {
			if m.Value != 0 {
				*dst |= bit
			} else {
				*dst &^= bit
			}
		}
		if m.Op == inputSpeed || m.Op == outputSpeed {
			setSpeed(t, m.Op == inputSpeed, m.Value)
		} else if i, ok := controlCharOf(m.Op); ok {
			if m.Value == disabledChar {
				t.Cc[i] = vdisable
			} else {
				t.Cc[i] = byte(m.Value)
			}
		} else if bit, ok := moreInput[m.Op]; ok {
			set(&t.Iflag, bit)
		} else if bit, ok := moreLocal[m.Op]; ok {
			set(&t.Lflag, bit)
		} else if bit, ok := moreOutput[m.Op]; ok {
			set(&t.Oflag, bit)
		} else if bit, ok := inputFlags[m.Op]; ok {
			set(&t.Iflag, bit)
		} else if bit, ok := localFlags[m.Op]; ok {
			set(&t.Lflag, bit)
		} else if bit, ok := outputFlags[m.Op]; ok {
			set(&t.Oflag, bit)
		} else if bit, ok := controlFlags[m.Op]; ok {
			set(&t.Cflag, bit)
		} else if bit, ok := characterSize[m.Op]; ok && m.Value != 0 {
			t.Cflag = t.Cflag&^unix.CSIZE | bit
		}
	}
}
