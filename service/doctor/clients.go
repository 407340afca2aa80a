package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"lanyard/platform/paths"
)

// computer is where programs lie that bring an ssh of their own, or read ssh's configuration in their own way.
type computer struct {
	system   string // as runtime.GOOS
	root     string // before absolute paths; empty outside of tests
	home     string
	env      func(string) string
	registry func(key, value string) string // of the person's hive, then the machine's; empty: not there
	dropIn   string
}

func thisComputer(p paths.Paths) computer {
	return computer{system: runtime.GOOS, home: paths.Home(), env: os.Getenv, registry: registryValue, dropIn: p.DropIn}
}

// clients looks for programs that do not reach the machines as plain ssh does, and says what to do for each.
func clients(_ context.Context, v *visit) []Finding {
	c := thisComputer(v.Paths)
	var out []Finding
	for _, look := range []func(computer) []Finding{gitForWindows, wsl, putty, homebrew, jetBrains, vsCode} {
		out = append(out, look(c)...)
	}
	return out
}

// known is a program that is as it is, and how it goes along.
func known(name, finding, next string) []Finding {
	return []Finding{{Name: name, OK: true, Finding: finding, Next: next}}
}

func odd(name, finding, next string) []Finding {
	return []Finding{{Name: name, Warning: true, Finding: finding, Next: next}}
}

func (c computer) at(path string) string { return filepath.Join(c.root, path) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// first is the first of those files that is there.
func first(files ...string) string {
	for _, f := range files {
		if filepath.IsAbs(f) && exists(f) {
			return f
		}
	}
	return ""
}

// in is a file below the folder that an environment variable names; empty without the variable.
func (c computer) in(variable string, file ...string) string {
	dir := c.env(variable)
	if dir == "" {
		return ""
	}
	return filepath.Join(append([]string{dir}, file...)...)
}

// windowsSSH is Windows' own client, as a configuration of git's or a shell may say it.
const windowsSSH = "C:/Windows/System32/OpenSSH/ssh.exe"

var sshCommand = regexp.MustCompile(`(?im)^\s*sshcommand\s*=\s*(.+)$`)

// gitForWindows brings an ssh that reads its own etc/ssh, which Lanyard does not write to.
func gitForWindows(c computer) []Finding {
	const name = "Git for Windows"
	if c.system != "windows" {
		return nil
	}
	under := filepath.Join("usr", "bin", "ssh.exe")
	own := ""
	if dir := c.registry(`SOFTWARE\GitForWindows`, "InstallPath"); dir != "" {
		own = first(filepath.Join(dir, under))
	}
	if own == "" {
		own = first(c.in("ProgramFiles", "Git", under), c.in("LOCALAPPDATA", "Programs", "Git", under))
	}
	if own == "" {
		return nil // or it was installed to use Windows' own
	}
	for _, set := range []string{c.env("GIT_SSH_COMMAND"), c.env("GIT_SSH"), c.gitSSH()} {
		switch word := strings.ToLower(slashes(set)); {
		case strings.Contains(word, "plink"):
			return odd(name, fmt.Sprintf("git is set to use PuTTY's plink (%s), which does not read ssh's configuration.", set),
				"git config --global core.sshCommand "+windowsSSH+", and remove the variables GIT_SSH and GIT_SSH_COMMAND")
		case strings.Contains(word, "/openssh/ssh"):
			return known(name, "git uses Windows' own ssh.", "")
		}
	}
	return odd(name, fmt.Sprintf("It has an ssh of its own (%s), which does not read Lanyard's configuration.", own),
		"git config --global core.sshCommand "+windowsSSH+"; in Git Bash, type ssh.exe by that path")
}

// slashes is a path of Windows' with slashes, on whichever system.
func slashes(path string) string { return strings.ReplaceAll(path, `\`, "/") }

// gitSSH is core.sshCommand of the person's configuration.
func (c computer) gitSSH() string {
	raw, err := paths.ReadText(filepath.Join(c.home, ".gitconfig"))
	if m := sshCommand.FindSubmatch(raw); err == nil && m != nil {
		return strings.Trim(strings.TrimSpace(string(m[1])), `"`)
	}
	return ""
}

// wsl is a Linux beside Windows: another machine to the network, or none at all.
func wsl(c computer) []Finding {
	const name = "WSL"
	switch c.system {
	case "windows":
		if c.registry(`Software\Microsoft\Windows\CurrentVersion\Lxss`, "DefaultDistribution") != "" {
			return known(name, "WSL is installed; the ssh inside it knows nothing of Lanyard on Windows.",
				"inside WSL call ssh.exe (git config --global core.sshCommand ssh.exe), or install Lanyard there as on Linux")
		}
	case "linux":
		version, _ := os.ReadFile(c.at("/proc/version"))
		if c.env("WSL_DISTRO_NAME") != "" || strings.Contains(strings.ToLower(string(version)), "microsoft") {
			return known(name, "This is WSL; to the network it is a machine of its own beside Windows.",
				"to use Lanyard of Windows in place of it, call ssh.exe")
		}
	}
	return nil
}

// putty reads neither ssh's configuration nor its key files.
func putty(c computer) []Finding {
	const name = "PuTTY"
	var found string
	if c.system == "windows" {
		found = first(c.in("ProgramFiles", "PuTTY", "plink.exe"), c.in("ProgramFiles(x86)", "PuTTY", "plink.exe"))
		if found == "" && c.registry(`Software\SimonTatham\PuTTY`, "") != "" {
			found = "PuTTY"
		}
	} else {
		found = first(c.at("/usr/bin/plink"), c.at("/usr/local/bin/plink"), c.at("/opt/homebrew/bin/plink"))
	}
	if found == "" {
		return nil
	}
	return known(name, "PuTTY and plink are here; they do not read ssh's configuration.",
		"use ssh, or have an administrator let you sign in at PuTTY's prompt (policy add … --prompt own)")
}

// homebrew's ssh has its system configuration elsewhere.
func homebrew(c computer) []Finding {
	const name = "Homebrew's ssh"
	if c.system != "darwin" {
		return nil
	}
	for _, prefix := range []string{"/opt/homebrew", "/usr/local"} {
		if !exists(c.at(prefix + "/bin/ssh")) {
			continue
		}
		config := prefix + "/etc/ssh/ssh_config"
		folder := filepath.Dir(c.dropIn)
		for _, file := range []string{c.at(config), filepath.Join(c.home, ".ssh", "config")} {
			if raw, err := paths.ReadText(file); err == nil && strings.Contains(string(raw), "Include "+folder) {
				return known(name, "It reads Lanyard's configuration.", "")
			}
		}
		return odd(name, fmt.Sprintf("%s/bin/ssh does not read %s, but %s.", prefix, folder, config),
			fmt.Sprintf("put at the top of %s: Include %s/*.conf", config, folder))
	}
	return nil
}

// configs is where the person's programs keep their settings on each system.
func (c computer) configs(of string) string {
	switch c.system {
	case "windows":
		return c.in("APPDATA", of)
	case "darwin":
		return filepath.Join(c.home, "Library", "Application Support", of)
	}
	if dir := c.env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, of)
	}
	return filepath.Join(c.home, ".config", of)
}

// ideVersion is the end of a folder such as IntelliJIdea2024.1.
var ideVersion = regexp.MustCompile(`^([A-Za-z]+)(20\d\d)\.(\d)$`)

// jetBrains' programs have an SSH client of their own. Since 2022.1 they can ask ssh for its configuration (ssh -G); before,
// their own reader knew no Include and no Match.
func jetBrains(c computer) []Finding {
	const name = "JetBrains"
	dir := c.configs("JetBrains")
	entries, err := os.ReadDir(dir)
	if dir == "" || err != nil {
		return nil
	}
	var newest, old string
	for _, e := range entries {
		m := ideVersion.FindStringSubmatch(e.Name())
		if m == nil || !e.IsDir() {
			continue
		}
		newest = e.Name()
		if year, _ := strconv.Atoi(m[2]); year < 2022 {
			old = e.Name()
		}
	}
	switch {
	case old != "":
		return odd(name, old+" reads ~/.ssh/config by a reader of its own, which knows none of Lanyard's lines.",
			"use 2022.1 or later, or its terminal; git there needs 'SSH executable: Native'")
	case newest != "":
		return known(name, newest+" has an SSH client of its own.",
			"choose 'OpenSSH config and authentication agent', and in Advanced Settings the parser 'OpenSSH'; where that does not sign in, use ssh in its terminal or sign in at the prompt (policy add … --prompt own)")
	}
	return nil
}

// vsSetting finds Remote-SSH's settings in a settings.json, which may hold comments.
var vsSetting = regexp.MustCompile(`(?m)^[^/\n]*"remote\.SSH\.(configFile|path)"\s*:\s*("(?:[^"\\\n]|\\.)*")`)

// vsCode runs ssh. With a configuration file of its own it says ssh -F, which leaves the machine's out (ssh(1)).
func vsCode(c computer) []Finding {
	var out []Finding
	for _, product := range []string{"Code", "Code - Insiders", "VSCodium", "Cursor"} {
		file := filepath.Join(c.configs(product), "User", "settings.json")
		raw, err := paths.ReadText(file)
		if err != nil {
			continue
		}
		name := "VS Code"
		if product != "Code" {
			name = product
		}
		for _, m := range vsSetting.FindAllSubmatch(raw, -1) {
			value := ""
			if json.Unmarshal(m[2], &value) != nil || value == "" {
				continue
			}
			switch string(m[1]) {
			case "configFile":
				if !c.includes(value) {
					out = append(out, odd(name, fmt.Sprintf("Its setting remote.SSH.configFile (%s) keeps ssh from reading Lanyard's configuration.", value),
						fmt.Sprintf("delete it from %s, or add to that file: Include %s", file, filepath.ToSlash(c.dropIn)))...)
				}
			case "path":
				if word := strings.ToLower(slashes(value)); strings.Contains(word, "/git/") || strings.Contains(word, "plink") {
					out = append(out, odd(name, fmt.Sprintf("Its setting remote.SSH.path (%s) names an ssh that does not read Lanyard's configuration.", value),
						"delete it from "+file)...)
				}
			}
		}
	}
	return out
}

// includes reports whether a configuration of the person's names the drop-in.
func (c computer) includes(file string) bool {
	if rest, ok := strings.CutPrefix(file, "~"); ok {
		file = c.home + rest
	}
	raw, err := paths.ReadText(file)
	return err == nil && strings.Contains(filepath.ToSlash(string(raw)), filepath.ToSlash(c.dropIn))
}
