package notify

import "testing"

func TestWithoutButtonsItSaysWhereToClick(t *testing.T) {
	for _, c := range []struct {
		n       Note
		buttons bool
		want    string
	}{
		{Note{Body: "A.", Else: "Click."}, true, "A."},
		{Note{Body: "A.", Else: "Click."}, false, "A. Click."},
		{Note{Body: "A."}, false, "A."},
	} {
		if got := c.n.body(c.buttons); got != c.want {
			t.Errorf("%+v, buttons %v: %q", c.n, c.buttons, got)
		}
	}
}
