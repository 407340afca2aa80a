package clipboard

import (
	"fmt"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Of winuser.h and winbase.h.
const (
	unicodeText = 13 // CF_UNICODETEXT
	moveable    = 2  // GMEM_MOVEABLE
)

// patience is how long another program may have the clipboard open.
const patience = time.Second

// Write replaces the clipboard's content.
func Write(text string) error {
	u, err := windows.UTF16FromString(strings.ReplaceAll(text, "\n", "\r\n"))
	if err != nil {
		return fmt.Errorf("write to the clipboard: %w", err)
	}
	user := windows.NewLazySystemDLL("user32.dll")
	runtime.LockOSThread() // it is a thread that has the clipboard open
	defer runtime.UnlockOSThread()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		ok, _, err := user.NewProc("OpenClipboard").Call(0)
		if ok != 0 {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("another program holds the clipboard: %w", err)
		}
	}
	defer func() { _, _, _ = user.NewProc("CloseClipboard").Call() }()
	if ok, _, err := user.NewProc("EmptyClipboard").Call(); ok == 0 {
		return fmt.Errorf("empty the clipboard: %w", err)
	}
	mem, err := global(u)
	if err != nil {
		return fmt.Errorf("write to the clipboard: %w", err)
	}
	if ok, _, err := user.NewProc("SetClipboardData").Call(unicodeText, mem); ok == 0 { // else the system owns mem now
		_, _, _ = kernel().NewProc("GlobalFree").Call(mem)
		return fmt.Errorf("write to the clipboard: %w", err)
	}
	return nil
}

// global is a copy of u in memory that can change its owner.
func global(u []uint16) (uintptr, error) {
	size := uintptr(len(u)) * unsafe.Sizeof(u[0])
	mem, _, err := kernel().NewProc("GlobalAlloc").Call(moveable, size)
	if mem == 0 {
		return 0, err
	}
	at, _, err := kernel().NewProc("GlobalLock").Call(mem)
	if at == 0 {
		_, _, _ = kernel().NewProc("GlobalFree").Call(mem)
		return 0, err
	}
	_, _, _ = kernel().NewProc("RtlMoveMemory").Call(at, uintptr(unsafe.Pointer(&u[0])), size)
	_, _, _ = kernel().NewProc("GlobalUnlock").Call(mem)
	return mem, nil
}

func kernel() *windows.LazyDLL { return windows.NewLazySystemDLL("kernel32.dll") }
