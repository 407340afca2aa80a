//go:build !linux

package doctor

import "context"

// sessions: PAM is read on Linux only.
func sessions(context.Context, *visit) []Finding { return nil }
