package hostfw

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A network of this test's own, with and without a chain that drops what comes in.
func TestChainThatDropsIsNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	named := make(chan [3]string)
	go func() {
		defer close(named)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its network with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		var got [3]string
		got[0] = dropChain()
		c, err := nftables.New()
		if err != nil {
			t.Error(err)
			return
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "filter"})
		accept, drop := nftables.ChainPolicyAccept, nftables.ChainPolicyDrop
		chain := &nftables.Chain{
			Name: "input", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
			Priority: nftables.ChainPriorityFilter, Policy: &accept,
		}
		for i, policy := range []*nftables.ChainPolicy{&accept, &drop} {
			chain.Policy = policy
			c.AddChain(chain)
			if err := c.Flush(); err != nil {
				t.Error(err)
				return
			}
			got[1+i] = dropChain()
		}
		if all := Name(); all != "ufw" && all != "firewalld" && all != got[2] { // what this machine has
			t.Errorf("Name says %q", all)
		}
		named <- got
	}()
	got, ok := <-named
	if want := [3]string{"", "", "nftables (table filter, chain input)"}; ok && got != want {
		t.Errorf("without, with one that accepts, with one that drops: %q, want %q", got, want)
	}
}

func TestReadsWhetherUfwIsOn(t *testing.T) {
	for text, want := range map[string]bool{
		"# comment\nENABLED=yes\nLOGLEVEL=low\n": true,
		"ENABLED=\"YES\"\n":                      true,
		"ENABLED=no\n":                           false,
		"#ENABLED=yes\n":                         false,
		"":                                       false,
	} {
		path := filepath.Join(t.TempDir(), "ufw.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := ufwEnabled(path); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if ufwEnabled(filepath.Join(t.TempDir(), "absent")) {
		t.Error("a missing file counts as on")
	}
}
