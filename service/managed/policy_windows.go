package managed

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows/registry"

	"lanyard/platform/accounts"
)

// policySource is where Group Policy and Intune put settings. Windows lets only administrators write below Policies.
const policySource = `HKLM\` + accounts.PolicyKey

func readPolicy() (*Settings, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, accounts.PolicyKey, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if errors.Is(err, registry.ErrNotExist) {
		return &Settings{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open it: %w", err)
	}
	defer k.Close()
	return fromPolicy(func(word string) (any, error) {
		_, kind, err := k.GetValue(word, nil)
		switch {
		case errors.Is(err, registry.ErrNotExist):
			return nil, nil
		case err != nil && !errors.Is(err, registry.ErrShortBuffer):
			return nil, fmt.Errorf("read %s: %w", word, err)
		case kind == registry.DWORD:
			n, _, err := k.GetIntegerValue(word)
			return n, err
		case kind == registry.SZ:
			t, _, err := k.GetStringValue(word)
			return t, err
		}
		return nil, fmt.Errorf("%s must be a text (REG_SZ) or 0 or 1 (REG_DWORD)", word)
	})
}
