package ipc

import (
	"errors"
	"fmt"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
)

// addresses lists where a daemon for profile may listen: one of this user's own comes before the machine's.
func addresses(profile string) ([]string, error) {
	if err := api.CheckName(profile); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	all := []string{paths.For(profile).Socket}
	if sys := paths.System(profile).Socket; sys != all[0] {
		all = append(all, sys)
	}
	return all, nil
}

// Dial finds the daemon of profile. It does not wait for one: an error wraps ErrNotRunning when there is none.
func Dial(profile string) (*Client, error) {
	all, err := addresses(profile)
	if err != nil {
		return nil, err
	}
	for _, path := range all {
		var c *Client
		if c, err = DialPath(path); err == nil || !errors.Is(err, ErrNotRunning) {
			return c, err
		}
	}
	return nil, err
}
