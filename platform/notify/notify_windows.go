package notify

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Desk shows notes as balloons of this program's icon in the notification area.
type Desk struct {
	find, notify *windows.LazyProc
}

// The window and the number of the icon, as fyne.io/systray makes them.
const (
	trayClass = "SystrayClass"
	trayIcon  = 100
)

// Of shellapi.h.
const (
	nimModify = 1
	nifInfo   = 0x10
)

// notifyIconData is NOTIFYICONDATAW.
type notifyIconData struct {
	size            uint32
	wnd             windows.Handle
	id, flags, call uint32
	icon            windows.Handle
	tip             [128]uint16
	state, mask     uint32
	info            [256]uint16
	version         uint32
	title           [64]uint16
	infoFlags       uint32
	guid            windows.GUID
	balloonIcon     windows.Handle
}

// Open finds what Show needs.
func Open() (*Desk, error) {
	return &Desk{
		find:   windows.NewLazySystemDLL("user32.dll").NewProc("FindWindowExW"),
		notify: windows.NewLazySystemDLL("shell32.dll").NewProc("Shell_NotifyIconW"),
	}, nil
}

// Close does nothing.
func (*Desk) Close() error { return nil }

// Show shows n; there are no buttons.
func (d *Desk) Show(n Note, _ func(string)) error {
	class, err := windows.UTF16PtrFromString(trayClass)
	if err != nil {
		return err
	}
	// Other programs use the same library: ours is the window of this process.
	var wnd uintptr
	for {
		wnd, _, _ = d.find.Call(0, wnd, uintptr(unsafe.Pointer(class)), 0)
		if wnd == 0 {
			return ErrNone
		}
		var pid uint32
		if _, err := windows.GetWindowThreadProcessId(windows.HWND(wnd), &pid); err == nil && pid == windows.GetCurrentProcessId() {
			break
		}
	}
	data := notifyIconData{wnd: windows.Handle(wnd), id: trayIcon, flags: nifInfo}
	data.size = uint32(unsafe.Sizeof(data))
	fill(data.title[:], n.Title)
	fill(data.info[:], n.body(false))
	if ok, _, err := d.notify.Call(nimModify, uintptr(unsafe.Pointer(&data))); ok == 0 {
		return fmt.Errorf("%w (%w)", ErrNone, err)
	}
	return nil
}

// fill cuts s to what to holds, with the zero at its end.
func fill(to []uint16, s string) {
	u, err := windows.UTF16FromString(s)
	if err != nil {
		return // a zero within: nothing is shown
	}
	copy(to[:len(to)-1], u)
}
