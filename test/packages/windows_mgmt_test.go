//go:build linux

package packages

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

// The management server as a service of Windows, from a plain program.
func TestServerOnWindows(t *testing.T) {
	t.Parallel()
	m := openWindows(t)
	const program = `C:\Server\lanyard-mgmt.exe`
	if err := m.Put(windowsProgram(t, "lanyard-mgmt.exe", "mgmt", "dev"), program); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, m)
	port, err := lab.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", port)
	log := func() string {
		b, _ := os.ReadFile(m.Path(`C:\ProgramData\Lanyard-mgmt\server.log`))
		return string(b)
	}
	if out, err := m.Run(within(t, 3*time.Minute), program, "service", "install", "--listen", at); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, log())
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // whether it answers
	answers := func() error {
		r, err := client.Get("https://" + at + "/healthz")
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	if err := lab.Until(within(t, 90*time.Second), "the server", answers); err != nil {
		t.Fatalf("%v\n%s", err, log())
	}
	if !strings.Contains(log(), "lanyard up https://"+at+"#sha256=") {
		t.Errorf("the log has no join command:\n%s", log())
	}
	service, err := m.Registry(within(t, 3*time.Minute), `HKLM\System\CurrentControlSet\Services\lanyard-mgmt`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ObjectName"="NT SERVICE\\lanyard-mgmt"`, `--listen=` + at, `"Start"=dword:00000002`} {
		if !strings.Contains(service, want) {
			t.Errorf("the service's entry has no %s:\n%s", want, service)
		}
	}
	if out, err := m.Run(within(t, 3*time.Minute), program, "user", "add", "ann@example.com", "--name", "Ann", "--admin"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := m.Run(within(t, 3*time.Minute), program, "service", "uninstall"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := lab.Until(within(t, time.Minute), "the server's end", func() error {
		if answers() == nil {
			return errors.New("it still answers")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if left := stays(t, m, before, func(line string) bool { return strings.HasPrefix(line, "+ /ProgramData/Lanyard-mgmt") }); len(left) > 0 {
		t.Errorf("uninstalling left or took:\n%s", strings.Join(left, "\n"))
	}
	if out, err := m.Run(within(t, 3*time.Minute), program, "service", "uninstall", "--purge"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left := stays(t, m, before, nil); len(left) > 0 {
		t.Errorf("a purge left or took:\n%s", strings.Join(left, "\n"))
	}
}
