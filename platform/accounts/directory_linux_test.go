package accounts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// directory is a getent that knows what this script says, and an id.
const directory = `#!/bin/sh
echo "$*" >>"${0%/*}/asked"
case "$*" in
"passwd -- dora") echo "dora:x:70000:70000::/home/dora:/bin/sh" ;;
"passwd -- erna") echo "erna:x:70001:70001::/home/erna:/bin/sh" ;;
"passwd -- hung") echo "hung:x:70002:70002::/home/hung:/bin/sh" ;;
"passwd -- none") echo "none:x:70003:70003::/home/none:/bin/sh" ;;
"passwd -- mixed") echo "mixed:x:70004:70004::/home/mixed:/bin/sh" ;;
"shadow -- dora") echo "dora:*:19000:0:99999:7:::" ;;
"shadow -- erna") echo "erna:*:19000:0:99999:7::19001:" ;;
"shadow -- mixed") echo "other:*:19000:0:99999:7::19001:" ;;
"shadow -- hung") kill -9 $$ ;;
"shadow -- away") echo "away:*:19000:0:99999:7::19001:" ;;
*) exit 2 ;;
esac
`

// Accounts of a directory expire by what it says of them. That of a machine's own is in its file alone.
func TestAccountOfADirectoryExpires(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "ann:x:1001:1001::/home/ann:/bin/sh\naway:x:1002:1002::/home/away:/bin/sh\n", "group": "", "login.defs": "",
		"shadow":        "ann:!:19000:0:99999:7:::\n",
		"nsswitch.conf": "passwd: files ldap\ngroup: files\nshadow: files ldap # as passwd\n",
		"getent":        directory,
		"id":            "#!/bin/sh\necho 70000\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d := database{etc: dir, tools: tools{[]string{dir}, time.Minute}}
	for name, locked := range map[string]bool{"dora": false, "erna": true, "none": false, "mixed": false, "ann": false, "away": true} {
		if a, err := d.lookup(name); err != nil || a.Name != name || a.Locked != locked {
			t.Errorf("%s: %+v, %v; want locked %v", name, a, err, locked)
		}
	}
	if a, err := d.lookup("hung"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("where the directory says nothing: %+v, %v", a, err)
	}
	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil || strings.Contains(string(asked), "ann") {
		t.Errorf("asked for %q, %v", asked, err)
	}

	if err := os.WriteFile(filepath.Join(dir, "nsswitch.conf"), []byte("passwd: files sss\ngroup: files\nshadow: files systemd\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if a, err := d.lookup("erna"); err != nil || a.Locked {
		t.Errorf("a directory that is not asked about it: %+v, %v", a, err)
	}
}
