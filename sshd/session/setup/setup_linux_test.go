package setup

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lanyard/platform/accounts"
)

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUmaskIsThatOfTheSystemsSessions(t *testing.T) {
	for _, c := range []struct {
		pam, defs string
		want      int
	}{
		{"", "UMASK 077\n", 0o22},
		{"session optional pam_umask.so\n", "# UMASK 077\nUMASK\t\t027\n", 0o27},
		{"#session optional pam_umask.so\n", "UMASK 027\n", 0o22},
		{"session optional pam_umask.so\n", "UMASK nonsense\n", 0o22},
		{"session optional pam_umask.so\n", "UMASK 7022\n", 0o22},
		{"session optional pam_umask.so\n", "", 0o22},
		{"session optional pam_umask.so umask=0077\n", "UMASK 027\n", 0o77},
	} {
		root := t.TempDir()
		write(t, root, "etc/pam.d/sshd", "@include common-session\n")
		write(t, root, "etc/pam.d/common-session", c.pam)
		write(t, root, "etc/login.defs", c.defs)
		s := Open()
		s.root = root
		if got := s.Plan(Ask{}).Umask; got != c.want {
			t.Errorf("%q %q: %03o, want %03o", c.pam, c.defs, got, c.want)
		}
	}
}

func TestLimitsThatTakeTimeDelayNobodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root sets limits")
	}
	root := t.TempDir()
	write(t, root, "etc/pam.d/sshd", "session required pam_limits.so\n")
	write(t, root, "etc/security/limits.conf", "")
	slow := filepath.Join(root, "etc/security/limits.d/slow.conf")
	if err := errors.Join(os.Mkdir(filepath.Dir(slow), 0o755), unix.Mkfifo(slow, 0o600)); err != nil {
		t.Fatal(err)
	}
	s := Open()
	s.root = root
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Plan(Ask{Account: accounts.Account{Name: "ann", Uid: 54321}, Log: slog.New(slog.DiscardHandler)})
	}()
	fd := -1
	for end := time.Now().Add(2 * time.Minute); fd < 0; time.Sleep(time.Millisecond) {
		fd, _ = unix.Open(slow, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // as soon as somebody reads
		if time.Now().After(end) {
			t.Fatal("the file is not read")
		}
	}
	free := false // the file stays half read all the while
	for end := time.Now().Add(time.Minute); !free && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if free = s.mu.TryLock(); free {
			s.mu.Unlock()
		}
	}
	if !free {
		t.Error("while the limits of one account are read, everybody waits")
	}
	unix.Close(fd)
	<-done
}

func FuzzSystemFiles(f *testing.F) {
	f.Add("UMASK 027\n", "session optional pam_umask.so\nsession required pam_env.so\n", "LANG=C.UTF-8\nexport A=\"b c\"\nLD_PRELOAD=x\n", "PrintMotd no\n")
	f.Add("UMASK 7777777777777777777777", "session required pam_umask.so umask=9\n@include sshd\n", "A='\nB=\"\nC=''\n=\n", "Include sshd_config\nPrintLastLog=no\nMatch all\n")
	root := f.TempDir()
	for _, d := range []string{"etc/pam.d", "etc/ssh"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, defs, stack, env, config string) {
		for name, text := range map[string]string{"login.defs": defs, "pam.d/sshd": stack, "environment": env, "ssh/sshd_config": config} {
			if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := Open()
		s.root = root
		p := s.load()
		if p.umask < 0 || p.umask > 0o777 {
			t.Errorf("umask %o", p.umask)
		}
		for _, v := range p.env {
			if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.HasPrefix(name, "LD_") || strings.ContainsAny(v, "\n\x00") {
				t.Errorf("%q", v)
			}
		}
	})
}
