package reason

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestEachCodeIsAWordWithASentence(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	for code, s := range sentences {
		if !word.MatchString(string(code)) {
			t.Errorf("%q is not a lower-case, hyphenated word", code)
		}
		if !strings.HasSuffix(s, ".") || strings.ContainsAny(s, "\r\n\x1b") {
			t.Errorf("%s: %q is not one sentence on one line", code, s)
		}
		if want := "Lanyard: " + s + " [" + string(code) + "]"; code.Line() != want {
			t.Errorf("%s is told as %q", code, code.Line())
		}
	}
}

func TestUnknownCodeIsARefusal(t *testing.T) {
	if c := Code("of-a-later-version"); c.Known() || c.Sentence() != "Refused." {
		t.Errorf("%t, %q", c.Known(), c.Sentence())
	}
}

func TestCodeIsFoundInAWrappedError(t *testing.T) {
	err := fmt.Errorf("while deciding: %w", Errorf(Blocked, "by %s", "an administrator"))
	var re *Error
	if !errors.As(err, &re) || re.Code != Blocked || re.Detail != "by an administrator" {
		t.Errorf("%v", err)
	}
}
