package wix

import (
	"encoding/xml"
	"regexp"
	"strings"
	"testing"
)

// Every word of the template's policies has a text (service/managed checks that a program reads each).
func TestPolicyTemplateIsWhole(t *testing.T) {
	for name, text := range Policies() {
		if err := xml.Unmarshal(text, new(struct{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, m := range regexp.MustCompile(`\$\((string|presentation)\.(\w+)\)`).FindAllStringSubmatch(string(admx), -1) {
		if !strings.Contains(string(adml), `<`+m[1]+` id="`+m[2]+`"`) {
			t.Errorf("lanyard.adml has no %s %s", m[1], m[2])
		}
	}
}

func TestPartsAreKeptOrLeftOut(t *testing.T) {
	const text = "a<?ifdef X?>b<?endif?>c<?ifdef Y?>d<?endif?>e<?ifdef X?>f<?endif?>"
	if got := given(given(text, "X", true), "Y", false); got != "abcef" {
		t.Errorf("%q", got)
	}
	if got := given(given(text, "X", false), "Y", true); got != "acde" {
		t.Errorf("%q", got)
	}
}
