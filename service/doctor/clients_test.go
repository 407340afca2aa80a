package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pretended is a computer in a folder. files are made with their text; %R in it is the folder.
func pretended(t *testing.T, system string, env, registry, files map[string]string) computer {
	t.Helper()
	root := t.TempDir()
	at := func(s string) string { return strings.ReplaceAll(s, "%R", root) }
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(at(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return computer{
		system: system, root: root, home: filepath.Join(root, "home"), dropIn: "/etc/ssh/ssh_config.d/20-lanyard.conf",
		env:      func(k string) string { return at(env[k]) },
		registry: func(key, value string) string { return at(registry[key+"|"+value]) },
	}
}

func TestOtherClientsAreFoundAndExplained(t *testing.T) {
	type maps = map[string]string
	gitKey := `SOFTWARE\GitForWindows|InstallPath`
	for _, tc := range []struct {
		name, system         string
		look                 func(computer) []Finding
		env, registry, files maps
		warning              bool
		finding, next        string // parts; no finding at all when both are empty
	}{
		{"git by the registry", "windows", gitForWindows, nil, maps{gitKey: "%R/Git"}, maps{"Git/usr/bin/ssh.exe": ""}, true, "an ssh of its own", "core.sshCommand C:/Windows/System32/OpenSSH/ssh.exe"},
		{"git for one person", "windows", gitForWindows, maps{"LOCALAPPDATA": "%R/l"}, nil, maps{"l/Programs/Git/usr/bin/ssh.exe": ""}, true, "an ssh of its own", "core.sshCommand"},
		{"git that was told", "windows", gitForWindows, maps{"ProgramFiles": "%R"}, nil, maps{"Git/usr/bin/ssh.exe": "", "home/.gitconfig": "[core]\n\tsshCommand = \"C:/Windows/System32/OpenSSH/ssh.exe\"\n"}, false, "uses Windows' own ssh", ""},
		{"git by plink", "windows", gitForWindows, maps{"ProgramFiles": "%R", "GIT_SSH": `C:\PuTTY\plink.exe`}, nil, maps{"Git/usr/bin/ssh.exe": ""}, true, "plink", "GIT_SSH"},
		{"git without an ssh", "windows", gitForWindows, nil, maps{gitKey: "%R/Git"}, maps{"Git/bin/git.exe": ""}, false, "", ""},
		{"git elsewhere", "linux", gitForWindows, maps{"ProgramFiles": "%R"}, nil, maps{"Git/usr/bin/ssh.exe": ""}, false, "", ""},
		{"windows with WSL", "windows", wsl, nil, maps{`Software\Microsoft\Windows\CurrentVersion\Lxss|DefaultDistribution`: "{1}"}, nil, false, "knows nothing of Lanyard on Windows", "ssh.exe"},
		{"windows without WSL", "windows", wsl, nil, nil, nil, false, "", ""},
		{"inside WSL", "linux", wsl, nil, nil, maps{"proc/version": "Linux version 5.15.90.1-microsoft-standard-WSL2"}, false, "This is WSL", "ssh.exe"},
		{"linux", "linux", wsl, nil, nil, maps{"proc/version": "Linux version 6.1.0-18-amd64"}, false, "", ""},
		{"putty", "windows", putty, maps{"ProgramFiles": "%R"}, nil, maps{"PuTTY/plink.exe": ""}, false, "do not read ssh's configuration", "--prompt own"},
		{"putty by the registry", "windows", putty, nil, maps{`Software\SimonTatham\PuTTY|`: "x"}, nil, false, "do not read", "--prompt own"},
		{"plink on Linux", "linux", putty, nil, nil, maps{"usr/bin/plink": ""}, false, "do not read", "--prompt own"},
		{"no putty", "linux", putty, nil, nil, nil, false, "", ""},
		{"homebrew", "darwin", homebrew, nil, nil, maps{"opt/homebrew/bin/ssh": ""}, true, "does not read /etc/ssh/ssh_config.d, but /opt/homebrew/etc/ssh/ssh_config", "Include /etc/ssh/ssh_config.d/*.conf"},
		{"homebrew on Intel that was told", "darwin", homebrew, nil, nil, maps{"usr/local/bin/ssh": "", "usr/local/etc/ssh/ssh_config": "Include /etc/ssh/ssh_config.d/*.conf\n"}, false, "reads Lanyard's", ""},
		{"a Mac without", "darwin", homebrew, nil, nil, nil, false, "", ""},
		{"a program of Linux' own", "linux", homebrew, nil, nil, maps{"usr/local/bin/ssh": ""}, false, "", ""},
		{"jetbrains", "linux", jetBrains, nil, nil, maps{"home/.config/JetBrains/IntelliJIdea2024.1/x": "", "home/.config/JetBrains/consentOptions/y": ""}, false, "IntelliJIdea2024.1 has an SSH client of its own", "OpenSSH config and authentication agent"},
		{"an old jetbrains", "windows", jetBrains, maps{"APPDATA": "%R/a"}, nil, maps{"a/JetBrains/PyCharm2021.3/x": "", "a/JetBrains/WebStorm2024.2/x": ""}, true, "PyCharm2021.3 reads", "2022.1 or later"},
		{"jetbrains on a Mac", "darwin", jetBrains, nil, nil, maps{"home/Library/Application Support/JetBrains/GoLand2025.2/x": ""}, false, "GoLand2025.2", "Advanced Settings"},
		{"no jetbrains", "windows", jetBrains, nil, nil, nil, false, "", ""},
		{"code with a file", "linux", vsCode, nil, nil, maps{"home/.config/Code/User/settings.json": "{\n // \"remote.SSH.path\": \"C:/Git/x\"\n\"remote.SSH.configFile\" : \"~/work.conf\",\n}"}, true, "remote.SSH.configFile (~/work.conf)", "Include /etc/ssh/ssh_config.d/20-lanyard.conf"},
		{"code with a file that includes", "linux", vsCode, nil, nil, maps{"home/.config/Code/User/settings.json": `{"remote.SSH.configFile": "~/work.conf"}`, "home/work.conf": "Include /etc/ssh/ssh_config.d/20-lanyard.conf"}, false, "", ""},
		{"code with Git's ssh", "windows", vsCode, maps{"APPDATA": "%R/a"}, nil, maps{"a/Code - Insiders/User/settings.json": `{"remote.SSH.path": "C:\\Program Files\\Git\\usr\\bin\\ssh.exe"}`}, true, "remote.SSH.path", "delete it"},
		{"code with Git's ssh, by slashes", "windows", vsCode, maps{"APPDATA": "%R/a"}, nil, maps{"a/Code - Insiders/User/settings.json": `{"remote.SSH.path": "C:/Program Files/Git/usr/bin/ssh.exe"}`}, true, "remote.SSH.path", "delete it"},
		{"code without", "darwin", vsCode, nil, nil, maps{"home/Library/Application Support/Code/User/settings.json": `{"editor.tabSize": 4}`}, false, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.look(pretended(t, tc.system, tc.env, tc.registry, tc.files))
			if tc.finding == "" && tc.next == "" {
				if len(got) > 0 {
					t.Errorf("found %+v", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("found %+v", got)
			}
			f := got[0]
			if f.Warning != tc.warning || f.OK == tc.warning || !strings.Contains(f.Finding, tc.finding) || !strings.Contains(f.Next, tc.next) {
				t.Errorf("%+v", f)
			}
			if Bad(got) || !strings.HasSuffix(f.Finding, ".") || tc.warning && f.Next == "" {
				t.Errorf("%+v", f)
			}
		})
	}
}
