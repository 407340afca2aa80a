//go:build unix

package pam

import (
	"bytes"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Unlimited is RLIM_INFINITY.
const Unlimited = math.MaxUint64

// Limit changes one resource limit of a session; a bound that is nil stays as it is.
type Limit struct {
	Item       string // as in limits.conf(5): "nofile"
	Soft, Hard *uint64
}

// Rules are what limits.conf(5) says for one account.
type Rules struct {
	Limits   []Limit
	Priority *int     // nice(1) value
	Others   []string // items that are not enforced here, as "maxlogins"
}

// Member says who the limits are for.
type Member struct {
	Name     string
	Uid, Gid uint32
	// In reports whether the account is a member of a group.
	In func(group string) bool
	// Gids are the numbers of all its groups.
	Gids []uint32
}

// limitFiles is limits.conf and the files of limits.d, in pam_limits' order; a file of the administrator's choice stands
// alone.
func limitFiles(root, conf string) []string {
	if conf != "" {
		return []string{filepath.Join(root, conf)}
	}
	files := []string{filepath.Join(root, "/etc/security/limits.conf")}
	more, _ := filepath.Glob(filepath.Join(root, "/etc/security/limits.d/*.conf"))
	slices.Sort(more)
	return append(files, more...)
}

// Where a line's domain stands: a lower one wins over a higher one, whatever their order.
const (
	byUser = iota
	byGroup
	byAll
	bySystem
)

type bound struct {
	value  uint64
	source int
	set    bool
}

type bounds struct{ soft, hard bound }

// LimitsOf reads the files for an account. Groups and wildcards do not count for root (limits.conf(5)).
func LimitsOf(files []string, m Member) Rules {
	p := limitParser{m: m, at: make(map[string]*bounds), prioritySource: bySystem}
	for _, f := range files {
		if b, err := readFile(f); err == nil {
			p.parse(b)
		}
	}
	return p.rules()
}

type limitParser struct {
	m              Member
	at             map[string]*bounds
	order          []string
	priority       *int
	prioritySource int
	others         []string
	none           bool // "NAME -" was met: no limits
}

func (p *limitParser) parse(b []byte) {
	for line := range bytes.Lines(b) {
		l, _, _ := strings.Cut(string(line), "#")
		f := strings.Fields(l)
		if len(f) < 2 || p.none {
			continue
		}
		source, ok := p.matches(f[0])
		if !ok {
			continue
		}
		if len(f) == 2 && f[1] == "-" {
			// limits.conf(5): nothing is set for those.
			*p = limitParser{m: p.m, at: make(map[string]*bounds), prioritySource: bySystem, none: true}
			continue
		}
		if len(f) == 4 {
			p.set(source, f[1], f[2], f[3])
		}
	}
}

// matches says whether a domain holds for the account, and how much it weighs.
func (p *limitParser) matches(domain string) (source int, ok bool) {
	root := p.m.Uid == 0
	switch {
	case domain == p.m.Name:
		return byUser, true
	case domain == "*":
		return byAll, !root
	case domain[0] == '%': // counts logins of a group
		return 0, false
	case domain[0] == '@':
		group := domain[1:]
		if lo, hi, isRange := numbers(group); isRange {
			return byGroup, !root && slices.ContainsFunc(p.gids(group), func(g uint32) bool { return uint64(g) >= lo && uint64(g) <= hi })
		}
		return byGroup, !root && group != "" && p.m.In != nil && p.m.In(group)
	}
	lo, hi, isRange := numbers(domain)
	return byUser, isRange && uint64(p.m.Uid) >= lo && uint64(p.m.Uid) <= hi
}

// gids are the groups that a range is compared with: ":N" names the main group only.
func (p *limitParser) gids(r string) []uint32 {
	if strings.HasPrefix(r, ":") {
		return []uint32{p.m.Gid}
	}
	return append([]uint32{p.m.Gid}, p.m.Gids...)
}

// numbers reads MIN:MAX, MIN: and :NUMBER.
func numbers(s string) (lo, hi uint64, ok bool) {
	a, b, ok := strings.Cut(s, ":")
	if !ok || a == "" && b == "" {
		return 0, 0, false
	}
	lo, hi = 0, math.MaxUint32
	var err1, err2 error
	if a != "" {
		lo, err1 = strconv.ParseUint(a, 10, 32)
	}
	if b != "" {
		hi, err2 = strconv.ParseUint(b, 10, 32)
	}
	if a == "" {
		lo = hi
	}
	return lo, hi, err1 == nil && err2 == nil
}

// factors turn limits.conf's units into the kernel's.
var factors = map[string]uint64{
	"core": 1024, "data": 1024, "fsize": 1024, "memlock": 1024, "nofile": 1, "rss": 1024, "stack": 1024, "cpu": 60, "nproc": 1,
	"as": 1024, "locks": 1, "sigpending": 1, "msgqueue": 1, "rtprio": 1, "nice": 1,
}

func (p *limitParser) set(source int, kind, item, value string) {
	kind, item = strings.ToLower(kind), strings.ToLower(item)
	soft, hard := kind == "soft" || kind == "-", kind == "hard" || kind == "-"
	if !soft && !hard {
		return
	}
	if item == "priority" {
		if n, err := strconv.Atoi(value); err == nil && n >= -20 && n <= 20 && source <= p.prioritySource {
			p.priority, p.prioritySource = &n, source
		}
		return
	}
	factor, ok := factors[item]
	if !ok {
		if !slices.Contains(p.others, item) {
			p.others = append(p.others, item)
		}
		return
	}
	n, ok := amount(item, value, factor)
	if !ok {
		return
	}
	b := p.at[item]
	if b == nil {
		b = new(bounds)
		p.at[item] = b
		p.order = append(p.order, item)
	}
	if soft && (!b.soft.set || source <= b.soft.source) {
		b.soft = bound{n, source, true}
	}
	if hard && (!b.hard.set || source <= b.hard.source) {
		b.hard = bound{n, source, true}
	}
}

func amount(item, value string, factor uint64) (uint64, bool) {
	if item == "nice" { // the kernel's limit counts from 40 (-20) to 1 (19)
		n, err := strconv.Atoi(value)
		return uint64(20 - max(-20, min(19, n))), err == nil
	}
	switch value {
	case "unlimited", "infinity", "-1", "-":
		return Unlimited, item != "rtprio"
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, false
	}
	if n > Unlimited/factor {
		return Unlimited, true
	}
	return n * factor, true
}

func (p *limitParser) rules() Rules {
	r := Rules{Priority: p.priority, Others: p.others}
	for _, item := range p.order {
		b := p.at[item]
		l := Limit{Item: item}
		if b.soft.set {
			l.Soft = &b.soft.value
		}
		if b.hard.set {
			l.Hard = &b.hard.value
		}
		r.Limits = append(r.Limits, l)
	}
	return r
}

// Within are the two bounds that a limit makes of the present ones. A soft one never goes beyond the hard one.
func (l Limit) Within(soft, hard uint64) (newSoft, newHard uint64) {
	if l.Hard != nil {
		hard = *l.Hard
	}
	if l.Soft != nil {
		soft = *l.Soft
	}
	return min(soft, hard), hard
}
