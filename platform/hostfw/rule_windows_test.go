package hostfw

import (
	"context"
	"testing"
	"time"
)

// Wine's netsh takes every word and keeps nothing: that the rule works is on the list for a real machine
// (test/windows.md).
func TestRuleComesAndGoes(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := Rule{Name: "Lanyard test", Program: `C:\Program Files\Lanyard\lanyard.exe`, Protocol: "UDP", Description: "a test's"}
	if err := Allow(ctx, r); err != nil {
		t.Error(err)
	}
	if err := Forbid(ctx, r.Name); err != nil {
		t.Error(err)
	}
	gone, end := context.WithCancel(ctx)
	end()
	if err := Allow(gone, r); err == nil {
		t.Error("a rule was made after its time")
	}
}
