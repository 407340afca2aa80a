//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The figures are written, and then a goal that was missed is a failure.
func TestMissedGoalFailsAfterAllIsWritten(t *testing.T) {
	for _, c := range []struct {
		name   string
		ratio  float64
		missed bool
	}{
		{"ssh_true", 0.25, false},
		{"ssh_true", 0.26, true},
		{"exec_up", 0.85, false},
		{"exec_up", 0.84, true},
		{"no_goal", 1000, false},
	} {
		r := &results{ratios: map[string]float64{}}
		r.add("mem_idle", 0.05, "")
		r.add(c.name, c.ratio, "")
		file := filepath.Join(t.TempDir(), "bench.json")
		err := r.write(file)
		if missed := err != nil && strings.HasSuffix(err.Error(), " "+c.name); missed != c.missed {
			t.Errorf("%s %.2f: %v", c.name, c.ratio, err)
		}
		if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), `"`+c.name+`"`) {
			t.Errorf("%s, %v", b, err)
		}
	}
}
