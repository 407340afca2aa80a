//go:build unix

package start

import (
	"errors"
	"os"
	"strconv"
	"syscall"
)

// As is the variable of a helper's environment that says whose rights it takes on: "UID:GID:GROUP,GROUP". It stands
// first, where it counts (Go takes the first of two), and nothing that the helper starts gets it.
//
// The daemon does not do it between fork and execute, where it waits for the child: whoever has the account's rights may
// stop every process that has them, and would stop the whole daemon with the child.
const As = "LANYARD_AS"

// Becomes is the variable of the environment that makes a helper become this account.
func Becomes(uid, gid uint32, groups []uint32) string {
	s := As + "=" + strconv.FormatUint(uint64(uid), 10) + ":" + strconv.FormatUint(uint64(gid), 10) + ":"
	for i, g := range groups {
		if i > 0 {
			s += ","
		}
		s += strconv.FormatUint(uint64(g), 10)
	}
	return s
}

func parseAs(s string) (uid, gid int, groups []int, ok bool) {
	u, rest := cut(s, ':')
	g, list := cut(rest, ':')
	number := func(s string) int {
		n, err := strconv.ParseUint(s, 10, 32)
		ok = ok && err == nil
		return int(n)
	}
	ok = true
	uid, gid = number(u), number(g)
	for list != "" {
		var one string
		one, list = cut(list, ',')
		groups = append(groups, number(one))
	}
	return uid, gid, groups, ok
}

// Become takes on the rights that As says, and makes sure that root's cannot come back. Without As it does nothing. When
// it fails, the process ends.
func Become() {
	value, there := os.LookupEnv(As)
	if !there {
		return
	}
	if err := become(value); err != nil {
		say("Lanyard: the rights of the account cannot be taken on: " + err.Error())
		os.Exit(126)
	}
	os.Unsetenv(As)
}

func become(value string) error {
	uid, gid, groups, ok := parseAs(value)
	if !ok {
		return errors.New("they cannot be read")
	}
	// Groups, gid, uid, each for all three ids and all threads, so that nothing can be taken back.
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setgid(gid); err != nil {
		return err
	}
	if err := syscall.Setuid(uid); err != nil {
		return err
	}
	if syscall.Getuid() != uid || syscall.Geteuid() != uid || syscall.Getgid() != gid || syscall.Getegid() != gid || uid != 0 && syscall.Setuid(0) == nil {
		return errors.New("others could be taken back")
	}
	return nil
}

// SignalVerb is the name in argv of the helper that sends a signal with the account's rights, so that it reaches what
// the account could reach itself.
const SignalVerb = "session-signal"

// SignalMain is that helper. args is a signal's number and a process group.
func SignalMain(args []string) (exit int) {
	if len(args) != 2 {
		say("Lanyard: sessions call this by themselves")
		return 2
	}
	sig, err1 := strconv.Atoi(args[0])
	group, err2 := strconv.Atoi(args[1])
	if err1 != nil || err2 != nil || group <= 1 {
		return 2
	}
	if err := syscall.Kill(-group, syscall.Signal(sig)); err != nil {
		say(err.Error())
		return 1
	}
	return 0
}
