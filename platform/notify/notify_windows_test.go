package notify

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

func TestBalloonsTextIsCutWithItsEnd(t *testing.T) {
	var to [8]uint16
	for in, want := range map[string]string{"short": "short", "seven..": "seven..", "eight...": "eight..", strings.Repeat("x", 300): "xxxxxxx", "with\x00zero": ""} {
		to = [8]uint16{}
		fill(to[:], in)
		if got := windows.UTF16ToString(to[:]); got != want || to[7] != 0 {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestWithoutAnIconThereIsNoBalloon(t *testing.T) {
	d, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Show(Note{Title: "x"}, nil); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
}
