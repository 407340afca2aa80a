package api

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNamesThatCannotStandInAConfigurationAreRefused(t *testing.T) {
	for _, ok := range []string{"a", "web-1", "0", strings.Repeat("a", 63)} {
		if err := CheckName(ok); err != nil {
			t.Errorf("%q is refused: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a.b", "a b", "a\n", `a"`, "é", strings.Repeat("a", 64), "%r", "a*"} {
		if CheckName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAnyHostNameBecomesAName(t *testing.T) {
	for in, want := range map[string]string{
		"Web-1.example.com": "web-1", "Ann's Mac": "ann-s-mac", "": "machine", "...": "machine", "___": "machine",
		strings.Repeat("x", 70): strings.Repeat("x", 63),
	} {
		if got := CleanName(in); got != want || CheckName(got) != nil {
			t.Errorf("CleanName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTagsAreNamesBehindTheirPrefix(t *testing.T) {
	if err := CheckTag("tag:web"); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"web", "tag:", "tag:We b", "tag:tag:web"} {
		if CheckTag(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestEventIDsSortByTime(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var ids []string
	for i := range 50 {
		ids = append(ids, NewEventID(start.Add(time.Duration(i)*time.Millisecond)))
	}
	// base32's alphabet here puts letters before digits, so order is by value, not by byte.
	value := func(s string) string {
		return strings.Map(func(r rune) rune { return rune('A' + strings.IndexRune("abcdefghijklmnopqrstuvwxyz234567", r)) }, s)
	}
	if !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(value(a), value(b)) }) {
		t.Error("ids are out of order")
	}
	if slices.Contains(ids[1:], ids[0]) || len(ids[0]) != 26 {
		t.Errorf("ids repeat or have the wrong length: %q", ids[0])
	}
}
