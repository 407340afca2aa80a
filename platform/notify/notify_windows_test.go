package notify

import (
	"errors"
	"testing"
)

// With an icon they are shown in the tray's own tests.
func TestWithoutAnIconNothingIsShown(t *testing.T) {
	d, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Show(Note{Title: "Ann is here", Body: "on this machine"}, nil); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
