//go:build linux

package sshd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/reason"
	"lanyard/sshd/session/start"
)

// setCan puts a rule in force that grants these, file transfer in these folders only.
func (l *lab) setCan(folders []string, can ...api.Capability) {
	l.t.Helper()
	l.setMap(func(s *State) {
		s.Map.Rules[0].Can, s.Map.Rules[0].SFTPPaths = can, folders
	})
}

func TestFilesStandInTheAuditLog(t *testing.T) {
	l := newLab(t)
	local := l.write("local", "12345", 0o644)
	odd := "odd name"
	batch := fmt.Sprintf("put %s %q\nget %q %s\nmkdir d\nrename %q d/x\nrm d/x\nrmdir d\n", local, odd, odd, filepath.Join(l.dir, "back"), odd)
	if got := l.run(l.tool("sftp", l.login("ann", 0), "-b", "-", "web-1"), batch); got.exit != 0 {
		t.Fatalf("%+v", got)
	}
	eventually(t, "the end", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
	var told []string
	start := l.recorded(audit.ChannelStart)[0]
	for _, e := range l.recorded(audit.FileOp) {
		if e.Channel != start.Channel || e.Session != start.Session || e.User == "" || e.LocalUser != l.account.Name {
			t.Errorf("%+v is not of the channel %+v", e, start)
		}
		told = append(told, fmt.Sprintf("%s %s %s %d %d", e.What, strings.TrimPrefix(e.Target, l.home+"/"), strings.TrimPrefix(e.Detail, l.home+"/"), e.BytesIn, e.BytesOut))
	}
	want := []string{
		"open-write " + odd + "  0 0", "close " + odd + "  5 0", "open-read " + odd + "  0 0", "close " + odd + "  0 5",
		"mkdir d  0 0", "rename " + odd + " d/x 0 0", "remove d/x  0 0", "rmdir d  0 0",
	}
	// OpenSSH sets the mode of what it puts, in some versions.
	got := strings.Join(told, "\n")
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%q is missing in\n%s", w, got)
		}
	}
}

// Thousands of files on one connection are counted, not listed: the log must not fill up by them.
// What the daemon says of the umask holds for files that come by file transfer, as with sshd's internal-sftp.
func TestFilesThatComeHaveTheUmaskOfASession(t *testing.T) {
	dir := publicDir(t)
	local, there := filepath.Join(dir, "local"), filepath.Join(dir, "there")
	if err := os.WriteFile(local, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sftp", "-b", "-", "-D", helperProgram(t)+" openssh session-files --write=/")
	c.Env = append(os.Environ(), "LANYARD_START="+start.Options{Umask: 0o77}.String())
	c.Stdin = strings.NewReader("put " + local + " " + there + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	st, err := os.Stat(there)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("%v, want 0600", st.Mode())
	}
}

func TestManyFilesAreCounted(t *testing.T) {
	l := newLab(t)
	const files, listed = 500, 200
	l.setMap(func(s *State) { s.Map.Rules[0].FileEvents = listed })
	dir := filepath.Join(l.dir, "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("12345"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.run(l.tool("sftp", l.login("ann", 0), "-q", "-b", "-", "web-1"), "put -r "+dir+"\n"); got.exit != 0 {
		t.Fatalf("%+v", got)
	}
	eventually(t, "the end", func() bool { return len(l.recorded(audit.SessionEnd)) == 1 })
	opened, bytes := 0, int64(0)
	events := l.recorded(audit.FileOp)
	for _, e := range events {
		bytes += e.BytesIn
		if e.What == "open-write" {
			opened += max(1, e.Count)
		}
	}
	if opened != files || bytes != 5*files {
		t.Errorf("%d files with %d bytes are in the log, want %d with %d", opened, bytes, files, 5*files)
	}
	if len(events) < listed || len(events) > listed+20 {
		t.Errorf("%d events, of which %d are to be listed", len(events), listed)
	}
}

func TestFileTransferKeepsToTheFoldersOfTheRule(t *testing.T) {
	l := newLab(t)
	l.setCan([]string{"~/in"}, api.CapSFTP)
	in := filepath.Join(l.home, "in")
	if err := os.Mkdir(in, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(in, 0o777); err != nil { // it is the account's, whoever runs the test
		t.Fatal(err)
	}
	ann := l.login("ann", 0)
	local := l.write("local", "12345", 0o644)
	if got := l.run(l.tool("sftp", ann, "-b", "-", "web-1"), "pwd\nput "+local+"\nls -l "+in+"\n"); got.exit != 0 || !strings.Contains(got.stdout, in) {
		t.Fatalf("inside: %+v", got)
	}
	for _, outside := range []string{"get /etc/passwd " + l.dir, "put " + local + " ../x", "ls /", "ln -s /etc/passwd x", "rename local " + l.home + "/x"} {
		if got := l.run(l.tool("sftp", ann, "-b", "-", "web-1"), outside+"\n"); got.exit == 0 {
			t.Errorf("%s: %+v", outside, got)
		}
	}
	if got := l.run(l.tool("scp", ann, "-q", local, "web-1:"+in+"/by-scp"), ""); got.exit != 0 {
		t.Errorf("scp: %+v", got)
	}
	// The old protocol runs a program, which would reach everything.
	if got := l.run(l.tool("scp", ann, "-q", "-O", local, "web-1:"+in+"/old"), ""); got.exit == 0 || !strings.Contains(got.stderr, "[capability]") {
		t.Errorf("scp -O: %+v", got)
	}
	var outside, exec int
	for _, e := range l.recorded(audit.Refused) {
		switch {
		case e.Reason != reason.Capability:
		case e.What == "exec":
			exec++
		case e.Target == "/etc/passwd" || e.Target == "/":
			outside++
		}
	}
	if outside < 2 || exec != 1 {
		t.Errorf("refusals in the log: %+v", l.recorded(audit.Refused))
	}
}

// Who loses a folder, or the right to write in it, loses the file transfer that was begun with it.
func TestFolderTakenAwayEndsItsFileTransfer(t *testing.T) {
	l := newLab(t)
	l.setCan([]string{"/", "/srv"}, api.CapSFTP)
	c := l.dial("ann")
	defer c.Close()
	_, wait := startSFTP(t, c)
	l.setCan([]string{"/", "/srv"}, api.CapSFTP, api.CapForwardLocal)
	l.srv.Changed()
	if ends := l.recorded(audit.ChannelEnd); len(ends) != 0 {
		t.Fatalf("more rights ended it: %+v", ends)
	}
	l.setCan([]string{"/srv"}, api.CapSFTP)
	l.srv.Changed()
	if err := wait(); err == nil {
		t.Error("it went on and ended by itself")
	}
	eventually(t, "its end", func() bool { return len(l.recorded(audit.ChannelEnd)) == 1 })
	if e := l.recorded(audit.ChannelEnd)[0]; e.Reason != reason.Capability {
		t.Errorf("%+v", e)
	}
}
