package session

import (
	"lanyard/platform/accounts"
	"lanyard/platform/spawn"
)

// networkless is what a person reads who may wonder why a share refuses them.
const networkless = "Lanyard: this session has no network credentials, so shares of other machines refuse it; to reach one: " +
	`net use \\SERVER\SHARE /user:NAME` + "\r\n"

// notice is what somebody is told at a terminal before the shell begins. A command's output is the command's alone.
func notice(what string, a accounts.Account) string {
	if what != "shell" || !spawn.Networkless(a) {
		return ""
	}
	return networkless
}
