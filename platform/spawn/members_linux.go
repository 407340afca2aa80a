package spawn

import (
	"bytes"
	"os"
	"slices"
	"strconv"
)

type procStat struct {
	pid, ppid, session int
	zombie             bool
}

// members looks through /proc for the living processes of a scope: in one of its audit sessions, marked by this
// variable, in the kernel session of a member, or descended from one. known holds the kernel sessions that are the
// scope's, and grows.
func members(variable string, audits []string, known map[int]bool) []int {
	mark := []byte(variable)
	all := processes()
	in := make(map[int]bool)
	for _, p := range all {
		if known[p.session] || known[p.pid] || audited(p.pid, audits) || marked(p.pid, mark) {
			in[p.pid] = true
		}
	}
	// Parents may have higher numbers than their children: repeat until nothing is added.
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if !in[p.pid] && in[p.ppid] {
				in[p.pid], grown = true, true
			}
		}
	}
	var found []int
	for _, p := range all {
		if in[p.pid] && !p.zombie {
			known[p.pid] = true
			found = append(found, p.pid)
		}
	}
	return found
}

func audited(pid int, audits []string) bool {
	if len(audits) == 0 {
		return false
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/sessionid")
	return err == nil && slices.Contains(audits, string(b))
}

func processes() []procStat {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var all []procStat
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		if p, ok := readStat(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

// readStat reads proc_pid_stat(5). The command, in parentheses, may hold anything.
func readStat(pid int) (procStat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, false
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 4 {
		return procStat{}, false
	}
	ppid, _ := strconv.Atoi(string(f[1]))
	session, _ := strconv.Atoi(string(f[3]))
	return procStat{pid: pid, ppid: ppid, session: session, zombie: f[0][0] == 'Z' || f[0][0] == 'X'}, true
}

func marked(pid int, mark []byte) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false // another user's, or gone
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, mark) {
			return true
		}
	}
	return false
}
