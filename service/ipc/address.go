package ipc

import (
	"fmt"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
)

// Dial finds the daemon of profile: the user's own, if they run one, else the machine's. It does not wait for one: an
// error wraps ErrNotRunning when there is none.
func Dial(profile string) (*Client, error) {
	if err := api.CheckName(profile); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return DialPath(paths.Find(profile).Socket)
}
