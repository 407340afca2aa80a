package setup

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// config is what sshd_config(5) says before its first Match: the first value of a keyword counts.
type config struct {
	there  bool
	values map[string]string
}

// Bounds on sshd_config and what it includes.
const (
	maxConfig   = 256 << 10 // bytes
	maxIncludes = 16        // deep
)

func readConfig(path string) config {
	c := config{values: make(map[string]string)}
	c.there = c.read(path, 0)
	return c
}

func (c *config) read(path string, depth int) bool {
	f, err := os.Open(path)
	if err != nil || depth > maxIncludes {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return false
	}
	c.parse(b, filepath.Dir(path), depth)
	return true
}

func (c *config) parse(b []byte, dir string, depth int) {
	for line := range bytes.Lines(b) {
		l, _, _ := strings.Cut(string(line), "#")
		l = strings.TrimSpace(l)
		end := strings.IndexAny(l, " \t=")
		if end <= 0 {
			continue
		}
		key, value := strings.ToLower(l[:end]), strings.Trim(strings.TrimLeft(l[end:], " \t="), `"`)
		switch key {
		case "match":
			return
		case "include":
			for pattern := range strings.FieldsSeq(value) {
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(dir, pattern)
				}
				files, _ := filepath.Glob(pattern)
				for _, f := range files {
					c.read(f, depth+1)
				}
			}
		default:
			if _, ok := c.values[key]; !ok {
				c.values[key] = value
			}
		}
	}
}

// get is a yes or no.
func (c *config) get(key string, other bool) bool {
	switch strings.ToLower(c.values[key]) {
	case "yes", "true":
		return true
	case "no", "false":
		return false
	}
	return other
}
