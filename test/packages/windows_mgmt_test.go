//go:build linux

package packages

import (
	"crypto/tls"
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
	if out, err := m.Run(within(t, time.Minute), program, "service", "install", "--listen", at); err != nil {
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
	if err := lab.Until(within(t, 30*time.Second), "the server", answers); err != nil {
		t.Fatalf("%v\n%s", err, log())
	}
	if !strings.Contains(log(), "lanyard up https://"+at+"#sha256=") {
		t.Errorf("the log has no join command:\n%s", log())
	}
	service, err := m.Registry(within(t, time.Minute), `HKLM\System\CurrentControlSet\Services\lanyard-mgmt`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ObjectName"="NT SERVICE\\lanyard-mgmt"`, `--listen=` + at, `"Start"=dword:00000002`} {
		if !strings.Contains(service, want) {
			t.Errorf("the service's entry has no %s:\n%s", want, service)
		}
	}
	if out, err := m.Run(within(t, time.Minute), program, "user", "add", "ann@example.com", "--name", "Ann", "--admin"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := m.Run(within(t, time.Minute), program, "service", "uninstall"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if answers() == nil {
		t.Error("it still answers")
	}
	for _, line := range changed(before, snapshot(t, m)) {
		if !strings.HasPrefix(line, "+ /ProgramData/Lanyard-mgmt") {
			t.Errorf("uninstalling left or took %s", line)
		}
	}
	if out, err := m.Run(within(t, time.Minute), program, "service", "uninstall", "--purge"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left := changed(before, snapshot(t, m)); len(left) > 0 {
		t.Errorf("a purge left or took:\n%s", strings.Join(left, "\n"))
	}
}
