package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test program the `lanyard` that the scripts run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lanyard": main})
}

// TestScripts are the command line's specification: type this, see that.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir+"/home")
			e.Setenv("LANYARD_STATE_DIR", e.WorkDir+"/state")
			e.Setenv("LANYARD_RUN_DIR", e.WorkDir+"/run")
			return nil
		},
	})
}
