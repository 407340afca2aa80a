//go:build linux && !race

package sshd

import "time"

// endTime is how long the end of any number of sessions may take.
const endTime = time.Second
