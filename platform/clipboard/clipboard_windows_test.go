package clipboard

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// pasted is what a program that pastes gets.
func pasted(t *testing.T) string {
	t.Helper()
	user := windows.NewLazySystemDLL("user32.dll")
	if ok, _, err := user.NewProc("OpenClipboard").Call(0); ok == 0 {
		t.Fatal(err)
	}
	defer user.NewProc("CloseClipboard").Call()
	mem, _, err := user.NewProc("GetClipboardData").Call(unicodeText)
	if mem == 0 {
		t.Fatal(err)
	}
	size, _, _ := kernel().NewProc("GlobalSize").Call(mem)
	at, _, err := kernel().NewProc("GlobalLock").Call(mem)
	if at == 0 {
		t.Fatal(err)
	}
	defer kernel().NewProc("GlobalUnlock").Call(mem)
	u := make([]uint16, size/2+1)
	kernel().NewProc("RtlMoveMemory").Call(uintptr(unsafe.Pointer(&u[0])), at, size)
	return windows.UTF16ToString(u)
}

func TestTextCanBePasted(t *testing.T) {
	for _, text := range []string{"ssh web-1", "Grüße, 東京 🎫", "ssh web-1"} {
		if err := Write(text); err != nil {
			t.Fatal(err)
		}
		if got := pasted(t); got != text {
			t.Errorf("pasted %q, want %q", got, text)
		}
	}
	if err := Write("one\ntwo\n"); err != nil || pasted(t) != "one\r\ntwo\r\n" {
		t.Errorf("lines: %v %q", err, pasted(t))
	}
}
