//go:build unix

package pam

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// flow leaves out the modules that others pass over: jumps, and the end of a stack or substack (pam.conf(5)). Nobody
// runs the modules here, so where what comes next depends on one whose answer is not known beforehand, nothing is passed
// over and the module is marked Unsure.
func flow(service string, all []Module) []Module {
	var taken []Module
	for i := 0; i < len(all); {
		m := all[i]
		i++
		if m.Name == "" { // where a substack begins
			continue
		}
		skip := 0
		switch a, answer := actions(m.control), m.answer(service); {
		case answer != "":
			skip = a.skip(answer)
		case len(a) == 1 && a["default"] != "": // whatever it answers
			skip = a.skip("default")
		default:
			for result := range a {
				m.Unsure = m.Unsure || a.skip(result) > 0
			}
		}
		for ; skip > 0 && i < len(all) && all[i].level >= m.level; skip-- {
			for i++; i < len(all) && all[i].level > m.level; { // a substack counts as one
				i++
			}
		}
		taken = append(taken, m)
	}
	return taken
}

// control is what is done after each answer of a module.
type control map[string]string

func actions(s string) control {
	switch s = strings.ToLower(s); s {
	case "required", "requisite", "optional":
		return nil
	case "sufficient":
		return control{"success": "done"}
	}
	c := make(control)
	for f := range strings.FieldsSeq(s) {
		answer, action, _ := strings.Cut(f, "=")
		c[answer] = action
	}
	return c
}

// skip is how many of the next modules an answer passes over.
func (c control) skip(answer string) int {
	action, ok := c[answer]
	if !ok {
		action = c["default"]
	}
	if action == "done" || action == "die" {
		return maxStack
	}
	n, err := strconv.Atoi(action)
	if err != nil {
		return 0
	}
	return n
}

// succeed are modules that answer "success" to every session.
var succeed = []string{
	"pam_permit", "pam_unix", "pam_limits", "pam_env", "pam_motd", "pam_umask", "pam_keyinit", "pam_loginuid", "pam_systemd",
	"pam_mail", "pam_lastlog", "pam_lastlog2", "pam_wtmpdb", "pam_selinux",
}

// answer is what m answers when the session begins; "": that depends on more than is known here.
func (m Module) answer(service string) string {
	switch {
	case slices.Contains(succeed, m.Name):
		return "success"
	case m.Name == "pam_deny":
		return "session_err"
	case m.Name == "pam_warn":
		return "ignore"
	case m.Name == "pam_succeed_if":
		return succeedIf(service, m.Args)
	}
	return ""
}

// succeedIf knows the conditions of pam_succeed_if(8) that are about the service.
func succeedIf(service string, args []string) string {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool {
		return slices.Contains([]string{"debug", "use_uid", "quiet", "quiet_fail", "quiet_success", "audit"}, a)
	})
	answer := "success"
	for ; len(args) >= 3; args = args[3:] {
		of, value := args[1], args[2]
		matched, _ := path.Match(value, service)
		holds, known := map[string]bool{
			"=": service == value, "!=": service != value, "=~": matched, "!~": !matched,
			"in": slices.Contains(strings.Split(value, ":"), service), "notin": !slices.Contains(strings.Split(value, ":"), service),
		}[of]
		switch known = known && args[0] == "service"; {
		case known && !holds:
			return "auth_err" // all of them must hold
		case !known:
			answer = ""
		}
	}
	return answer
}
