package forward

import "lanyard/platform/accounts"

// switches is false: sessions run with the daemon's own token.
func switches(accounts.Account) bool { return false }
