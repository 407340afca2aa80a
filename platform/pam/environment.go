//go:build unix

package pam

import (
	"bytes"
	"strings"
)

// maxVariables bounds what files add to an environment.
const maxVariables = 512

// Environment is what the file says, as pam_env(8) reads it: NAME=value, perhaps after "export", a value perhaps in
// quotes, a comment from the first #. Variables that steer the dynamic linker (LD_*) are left out. A missing file says
// nothing.
func (f EnvFile) Environment() []string {
	b, err := readFile(f.Path)
	if err != nil {
		return nil
	}
	return parseEnvironment(b)
}

func parseEnvironment(b []byte) []string {
	var env []string
	for line := range bytes.Lines(b) {
		l, _, _ := strings.Cut(strings.TrimLeft(string(line), " \t"), "#")
		l = strings.TrimRight(l, " \t\r\n")
		l = strings.TrimPrefix(l, "export ")
		name, value, ok := strings.Cut(l, "=")
		if !ok || !isName(name) || strings.HasPrefix(name, "LD_") || strings.ContainsRune(value, 0) || len(env) >= maxVariables {
			continue
		}
		env = append(env, name+"="+unquote(value))
	}
	return env
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// unquote drops a quote at the beginning, and then the one at the end.
func unquote(v string) string {
	if v == "" || v[0] != '"' && v[0] != '\'' {
		return v
	}
	v = v[1:]
	if n := len(v); n > 0 && (v[n-1] == '"' || v[n-1] == '\'') {
		v = v[:n-1]
	}
	return v
}
