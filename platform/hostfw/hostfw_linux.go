package hostfw

import (
	"bufio"
	"bytes"
	"os"
	"strings"

	"github.com/google/nftables"
)

// Name is the firewall that filters what comes in: "ufw", "firewalld", "nftables (table filter, chain input)".
// Empty when none was found or this process may not look.
func Name() string {
	if ufwEnabled("/etc/ufw/ufw.conf") {
		return "ufw"
	}
	if _, err := os.Stat("/run/firewalld"); err == nil {
		return "firewalld"
	}
	return dropChain()
}

func ufwEnabled(path string) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if name == "ENABLED" {
			return strings.EqualFold(strings.Trim(value, `"'`), "yes")
		}
	}
	return false
}

// dropChain finds ufw's chains, or else a chain on the input hook whose policy is drop. iptables-nft keeps its rules there
// too.
func dropChain() string {
	c, err := nftables.New()
	if err != nil {
		return ""
	}
	chains, err := c.ListChains()
	if err != nil {
		return ""
	}
	for _, ch := range chains {
		if ch.Name == "ufw-before-input" {
			return "ufw"
		}
	}
	for _, ch := range chains {
		if ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookInput || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if ch.Table.Family == nftables.TableFamilyIPv4 || ch.Table.Family == nftables.TableFamilyIPv6 || ch.Table.Family == nftables.TableFamilyINet {
			return "nftables (table " + ch.Table.Name + ", chain " + ch.Name + ")"
		}
	}
	return ""
}
