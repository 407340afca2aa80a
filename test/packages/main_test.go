//go:build linux

package packages

import (
	"os"
	"testing"

	"lanyard/test/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	os.Exit(m.Run())
}
