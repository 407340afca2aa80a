//go:build linux && race

package sshd

import "time"

// endTime is longer than the promised second: the race detector makes everything several times slower.
const endTime = 5 * time.Second
