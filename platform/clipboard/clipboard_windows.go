package clipboard

import (
	"encoding/binary"
	"path/filepath"
	"unicode/utf16"

	"golang.org/x/sys/windows"
)

// Write replaces the clipboard's content. clip.exe takes UTF-16 with a byte order mark.
func Write(text string) error {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return err
	}
	raw := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		raw = binary.LittleEndian.AppendUint16(raw, u)
	}
	return write(string(raw), filepath.Join(dir, "clip.exe"))
}
