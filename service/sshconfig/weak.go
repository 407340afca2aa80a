package sshconfig

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"lanyard/platform/paths"
)

// Weakness is a line of the person's own configuration that wins over a setting of ours. ssh takes the first value
// it meets, and reads the person's file first.
type Weakness struct {
	File    string
	Line    int
	Setting string // as it stands there
	Effect  string
}

func (w Weakness) String() string {
	return fmt.Sprintf("%s:%d sets %q for every host: %s Put it under a Host line of the machines that need it.", w.File, w.Line, w.Setting, w.Effect)
}

// effects of settings, by keyword in lower case. The function tells the harmless values.
var effects = map[string]struct {
	harmless func(value string) bool
	effect   string
}{
	"stricthostkeychecking": {func(v string) bool { return v == "yes" || v == "true" }, "ssh then connects to a machine whose key is not the one of the network map."},
	"userknownhostsfile":    {func(v string) bool { return v == "none" }, "ssh then trusts keys in that file beside those of the network map."},
	"globalknownhostsfile":  {func(string) bool { return false }, "ssh then does not find the keys of the network map."},
	"hostkeyalias":          {func(string) bool { return false }, "ssh then does not find the keys of the network map."},
	"identitiesonly":        {func(v string) bool { return v == "yes" || v == "true" }, "ssh then offers other keys first, and may be refused for too many."},
	"verifyhostkeydns":      {func(v string) bool { return v == "no" || v == "false" }, "ssh then trusts keys from DNS beside those of the network map."},
	"proxycommand":          {func(v string) bool { return v == "none" }, "ssh then takes that way out of this machine."},
}

// Weakened reads the person's own configuration and returns the lines that hold for every host and take something
// away from the checks of ours. Included files and narrower patterns are not read: `lanyard doctor` asks ssh itself.
func Weakened(p paths.Paths) []Weakness {
	name := filepath.Join(p.SSHDir, "config")
	raw, err := paths.ReadText(name)
	if err != nil {
		return nil
	}
	var found []Weakness
	everyone, n := true, 0
	for line := range bytes.Lines(raw) {
		n++
		key, value := setting(string(line))
		switch key {
		case "":
			continue
		case "host":
			everyone = forEveryone(value)
			continue
		case "match":
			everyone = strings.EqualFold(value, "all")
			continue
		}
		e, known := effects[key]
		if everyone && known && !e.harmless(strings.ToLower(value)) {
			found = append(found, Weakness{File: name, Line: n, Setting: strings.TrimSpace(string(line)), Effect: e.effect})
		}
	}
	return found
}

func forEveryone(patterns string) bool {
	star := false
	for _, w := range strings.Fields(patterns) {
		if strings.HasPrefix(w, "!") {
			continue // an exception for others does not help ours
		}
		star = star || w == "*"
	}
	return star
}

// setting splits a line of ssh_config: "Keyword value" or "Keyword=value".
func setting(line string) (key, value string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", ""
	}
	i := strings.IndexAny(line, " \t=")
	if i < 0 {
		return strings.ToLower(line), ""
	}
	value = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line[i:]), "="))
	return strings.ToLower(line[:i]), strings.Trim(value, `"`)
}
