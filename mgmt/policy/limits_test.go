package policy

import (
	"testing"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// A login that nobody hears of ends rule by rule: each lets it be silent for its own age and the grace.
func TestSilentLoginEndsWithEachRulesAge(t *testing.T) {
	strict := rule(func(r *api.Rule) { r.MaxTokenAge, r.Can = 300, []api.Capability{api.CapShell} })
	long := rule(func(r *api.Rule) { r.ID, r.Can = "r2", []api.Capability{api.CapExec} })
	for name, c := range map[string]struct {
		silent time.Duration
		shell  bool
		exec   bool
		code   reason.Code
	}{
		"not at all":         {0, true, true, reason.OK},
		"within both":        {14 * time.Minute, true, true, reason.OK},
		"past the strict":    {16 * time.Minute, false, true, reason.OK},
		"past both":          {71 * time.Minute, false, false, reason.Silent},
		"almost past a rule": {70 * time.Minute, false, true, reason.OK},
	} {
		for _, live := range []bool{true, false} {
			q := query(strict, long)
			q.Live, q.Subject.TokenTime = live, now
			if c.silent > 0 {
				q.Silent = map[string]time.Time{"t1": now.Add(-c.silent), "": now.Add(-24 * time.Hour)}
			}
			d := Decide(q)
			if d.Code != c.code || d.Has(api.CapShell) != c.shell || d.Has(api.CapExec) != c.exec {
				t.Errorf("%s (live %v): %s, shell %v, exec %v: %q", name, live, d.Code, d.Has(api.CapShell), d.Has(api.CapExec), d.Steps)
			}
		}
	}
	// The grace is the map's; others' silence and machines are not concerned.
	q := query(long)
	q.Silent, q.LoginGrace = map[string]time.Time{"t1": now.Add(-61 * time.Minute)}, 30*time.Second
	if d := Decide(q); d.Code != reason.Silent {
		t.Errorf("a grace of 30 s: %s", d.Code)
	}
	q.Subject.Thumbprint = "t2"
	if d := Decide(q); d.Code != reason.OK {
		t.Errorf("another login: %s", d.Code)
	}
	q = machineQuery(machineRule())
	q.Silent = map[string]time.Time{"": now.Add(-24 * time.Hour)}
	if d := Decide(q); d.Code != reason.OK {
		t.Errorf("a machine: %s", d.Code)
	}
}

func TestMachinesLimitsComeBeforeAllRules(t *testing.T) {
	anything := rule(func(r *api.Rule) { r.As = []string{"*", "root", "deploy"} })
	for name, c := range map[string]struct {
		limits *Limits
		q      Query
		want   reason.Code
	}{
		"none":                        {nil, query(anything), reason.OK},
		"empty":                       {&Limits{}, query(anything), reason.OK},
		"the account":                 {&Limits{Accounts: []string{"ann", "deploy"}}, query(anything), reason.OK},
		"another account":             {&Limits{Accounts: []string{"ann"}}, query(anything), reason.Limits},
		"no account":                  {&Limits{Accounts: []string{}}, query(anything), reason.Limits},
		"a star is a name":            {&Limits{Accounts: []string{"*"}}, query(anything), reason.Limits},
		"upper case":                  {&Limits{Accounts: []string{"Deploy"}}, query(anything), reason.Limits},
		"broken":                      {&Limits{Broken: true}, query(anything), reason.Limits},
		"no machines, a person":       {&Limits{NoMachines: true}, query(anything), reason.OK},
		"no machines, a machine":      {&Limits{NoMachines: true}, machineQuery(machineRule()), reason.Limits},
		"broken, a machine":           {&Limits{Broken: true}, machineQuery(machineRule()), reason.Limits},
		"a machine where none is ill": {&Limits{Accounts: []string{"deploy"}}, machineQuery(machineRule()), reason.OK},
	} {
		c.q.Limits = c.limits
		if d := Decide(c.q); d.Code != c.want {
			t.Errorf("%s: %s, want %s: %q", name, d.Code, c.want, d.Steps)
		}
	}
	// A blocked person hears of that first.
	q := query(anything)
	q.Users[ann] = api.MapUser{UserRef: ann, Blocked: true}
	q.Limits = &Limits{Broken: true}
	if d := Decide(q); d.Code != reason.Blocked {
		t.Errorf("blocked: %s", d.Code)
	}
}
