package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed scripts files
var texts embed.FS

const (
	maintainer = "The Lanyard authors <lanyard@lanyard.invalid>"
	homepage   = "https://lanyard.invalid"
	license    = "BSD-3-Clause"
)

// words are what a package says of itself.
var words = map[program]struct{ summary, description string }{
	peer: {
		"SSH sessions by a person's identity",
		"A person signs in once a day, and then plain ssh, scp, rsync, Ansible and an\nIDE reach the machines that a policy allows, through a WireGuard tunnel and\nwithout keys to hand out. This package is for the machines: the service with\nthe tunnel and the SSH server, and the command line.",
	},
	server: {
		"management server of a Lanyard network",
		"It keeps the people, machines, policies and the audit log of a network of\nmachines that run Lanyard, and signs the maps that they follow. One program\nwith one port, with an OpenID provider and a database of its own.",
	},
}

// script renders a maintainer script for a package: the parts between "#PEER#", "#SERVER#" or "#TRAY#" and "#END#" are
// kept for whom they are meant.
func (j *job) script(name string, p program, hasTray bool) (string, error) {
	b, err := texts.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		return "", err
	}
	var out strings.Builder
	keep := true
	for line := range strings.Lines(string(b)) {
		switch strings.TrimSpace(line) {
		case "#PEER#":
			keep = p == peer
		case "#SERVER#":
			keep = p == server
		case "#TRAY#":
			keep = hasTray
		case "#END#":
			keep = true
		default:
			if keep {
				out.WriteString(line)
			}
		}
	}
	return strings.NewReplacer(
		"@NAME@", p.Name, "@RC@", strings.ReplaceAll(p.Name, "-", "_"), "@VERSION@", j.scriptVersion(name),
	).Replace(out.String()), nil
}

func (j *job) scriptVersion(script string) string {
	if strings.HasPrefix(script, "macos.") {
		return j.version.Numbers()
	}
	return j.version.String() + "-1"
}

// text is one of the files that are shipped as they are.
func text(name string) ([]byte, error) { return texts.ReadFile("files/" + name) }

var commandLine = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) +\S`)

// manual makes a manual page of what a program says of itself.
func (j *job) manual(ctx context.Context, p program, section int) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s %d \"%s\" \"Lanyard %s\" \"Lanyard\"\n", strings.ToUpper(p.Name), section, j.version.Time.Format("January 2006"), j.version)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", p.Name, words[p].summary)
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.I command\n[\\fIarguments\\fR]\n.SH DESCRIPTION\n", p.Name)
	b.WriteString(roff(words[p].description) + "\n.SH COMMANDS\n")
	if err := j.manualOf(ctx, &b, p, nil); err != nil {
		return nil, err
	}
	b.WriteString(".SH SEE ALSO\n.BR ssh (1),\n.BR ssh_config (5)\n")
	return b.Bytes(), nil
}

func (j *job) manualOf(ctx context.Context, b *bytes.Buffer, p program, path []string) error {
	help, err := j.ask(ctx, p, append(append([]string{}, path...), "--help")...)
	if err != nil {
		return err
	}
	if len(path) > 0 {
		fmt.Fprintf(b, ".SS %s %s\n", p.Name, roff(strings.Join(path, " ")))
		fmt.Fprintf(b, ".nf\n%s\n.fi\n", roff(strings.TrimSpace(string(help))))
	}
	_, list, ok := strings.Cut(string(help), "Available Commands:\n")
	if !ok {
		return nil
	}
	list, _, _ = strings.Cut(list, "\n\n")
	for _, m := range commandLine.FindAllStringSubmatch(list, -1) {
		if m[1] == "completion" || m[1] == "help" {
			continue
		}
		if err := j.manualOf(ctx, b, p, append(append([]string{}, path...), m[1])); err != nil {
			return err
		}
	}
	return nil
}

// roff keeps a text from being read as requests (groff(7)).
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "…", "...").Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// compress is gzip without a name and a time.
func compress(b []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is a valid one
	_, _ = z.Write(b)                                       // into memory
	_ = z.Close()
	return out.Bytes()
}

// debianChangelog is what policy 4.4 asks for; the real one is CHANGELOG.md.
func (j *job) debianChangelog(p program) []byte {
	return fmt.Appendf(nil, "%s (%s-1) stable; urgency=medium\n\n  * Version %s.\n    What changed is in changelog.gz, beside this file.\n\n -- %s  %s\n",
		p.Name, j.version, j.version, maintainer, j.version.Time.Format(time.RFC1123Z))
}

// copyright follows DEP-5.
func (j *job) copyright() ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(j.source, "LICENSE"))
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(string(b), "\n\n") // after the title
	holder, body, ok2 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 {
		return nil, fmt.Errorf("LICENSE is not in the form that the copyright file is made of")
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: Lanyard\nSource: %s\n\nFiles: *\n", homepage)
	fmt.Fprintf(&out, "Copyright: %s\nLicense: %s\n", strings.TrimPrefix(strings.TrimSpace(holder), "Copyright (c) "), license)
	for l := range strings.Lines(strings.TrimSpace(body)) {
		if strings.TrimSpace(l) == "" {
			l = ".\n"
		}
		out.WriteString(" " + l)
	}
	return []byte(out.String() + "\n"), nil
}

// unit renders a service file by one of the functions of package units.
func unit(f func(service, program string) (string, error), p program, path string) ([]byte, error) {
	s, err := f(p.Name, path)
	return []byte(s), err
}
