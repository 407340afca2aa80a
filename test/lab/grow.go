//go:build linux

package lab

import (
	"fmt"
	"regexp"
	"strings"
)

// hostBlock is how a drop-in names a machine, and hostList how it speaks of its address.
var (
	hostBlock = regexp.MustCompile(`(?m)^Host (\S+).*\n\tHostName (\S+)\n`)
	hostList  = regexp.MustCompile(`^Match host ([0-9.,]+)( exec .*)?$`)
)

// Grow makes a drop-in that knows one machine into the drop-in of a network with n like it, whose lines are as long as
// the product's own. The last one is called machine-N.
func Grow(dropIn string, n int) (string, error) {
	one := hostBlock.FindStringSubmatch(dropIn)
	if one == nil || len(hostBlock.FindAllString(dropIn, -1)) != 1 {
		return "", fmt.Errorf("this is not the drop-in of one machine:\n%s", dropIn)
	}
	var b strings.Builder
	var lists []string
	list := one[2]
	for i := 2; i <= n; i++ {
		addr := fmt.Sprintf("100.110.%d.%d", 100+i/250, 1+i%250)
		fmt.Fprintf(&b, "Host machine-%d machine-%d.lanyard.internal\n\tHostName %s\n", i, i, addr)
		if len(list)+1+len(addr) > 900 {
			lists, list = append(lists, list), addr
		} else {
			list += "," + addr
		}
	}
	lists = append(lists, list)
	hosts := b.String()
	b.Reset()
	at := strings.Index(dropIn, one[0])
	b.WriteString(dropIn[:at] + one[0] + hosts)
	// Every block about the machine's address comes once for each list.
	for rest := dropIn[at+len(one[0]):]; rest != ""; {
		end := len(rest)
		if i := strings.Index(rest, "\nMatch "); i >= 0 {
			end = i + 1
		}
		head, settings, _ := strings.Cut(rest[:end], "\n")
		rest = rest[end:]
		if m := hostList.FindStringSubmatch(head); m != nil && m[1] == one[2] {
			for _, l := range lists {
				b.WriteString("Match host " + l + m[2] + "\n" + settings)
			}
			continue
		}
		b.WriteString(head + "\n" + settings)
	}
	return b.String(), nil
}
