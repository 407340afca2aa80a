package policy

import (
	"slices"
	"strings"
	"testing"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

func TestSessionIsSignedInFromTheMachinesThatARuleNames(t *testing.T) {
	own, bobs, kiosk := api.Peer{ID: "pown", Name: "own", Owner: ann}, api.Peer{ID: "pbobs", Name: "bobs", Owner: bob}, api.Peer{ID: "pkiosk", Name: "kiosk"}
	for _, c := range []struct {
		name   string
		prompt []string
		source api.Peer
		login  bool // a certificate's sign-in
		change func(*api.Rule)
		want   reason.Code
	}{
		{name: "their own", prompt: []string{"own"}, source: own, want: reason.OK},
		{name: "somebody else's", prompt: []string{"own"}, source: bobs, want: reason.OwnDevice},
		{name: "nobody's", prompt: []string{"own"}, source: kiosk, want: reason.OwnDevice},
		{name: "a named one", prompt: []string{"peer:pkiosk"}, source: kiosk, want: reason.OK},
		{name: "another one is named", prompt: []string{"peer:pkiosk"}, source: own, want: reason.OwnDevice},
		{name: "no machine at all", prompt: []string{"own", "peer:"}, source: api.Peer{}, want: reason.OwnDevice},
		{name: "no prompts", source: own, want: reason.SignInOff},
		{name: "a login needs none", source: kiosk, login: true, want: reason.OK},
		{name: "own device on top", prompt: []string{"peer:pkiosk"}, source: kiosk, change: func(r *api.Rule) { r.OwnDevice = true }, want: reason.OwnDevice},
		{name: "another account", prompt: []string{"own"}, source: own, change: func(r *api.Rule) { r.As = []string{"x"} }, want: reason.LocalUser},
		{name: "another person's rule", prompt: []string{"own"}, source: own, change: func(r *api.Rule) { r.Users = []api.UserRef{bob} }, want: reason.NoRule},
	} {
		r := api.Rule{ID: "r1", Name: "web", Users: []api.UserRef{ann}, As: []string{"deploy"}, Conditions: api.Conditions{Prompt: c.prompt}}
		if c.change != nil {
			c.change(&r)
		}
		q := Query{
			Self: api.Peer{ID: "pweb"}, Rules: []api.Rule{r}, Source: c.source, Account: Account{Name: "deploy", ID: "1001"}, Now: now, MapIssued: now,
			Subject: Subject{Ref: ann, TokenTime: now, BoundAt: now, Session: !c.login},
		}
		for _, live := range []bool{false, true} {
			q.Live = live
			if d := Decide(q); d.Code != c.want {
				t.Errorf("%s (live %v): %s, want %s: %q", c.name, live, d.Code, c.want, d.Steps)
			}
		}
	}
}

// Who asks with a certificate's sign-in is also told whether a sign-in at the prompt would do.
func TestDecisionTellsWhenceOneMaySignInAtThePrompt(t *testing.T) {
	for source, want := range map[string]string{"own": "and also", "bobs": "but not"} {
		owner := ann
		if source == "bobs" {
			owner = bob
		}
		d := Decide(Query{
			Self: api.Peer{ID: "pweb"}, Source: api.Peer{ID: "p" + source, Name: source, Owner: owner}, Account: Account{Name: "deploy", ID: "1001"}, Now: now, MapIssued: now,
			Rules:   []api.Rule{{ID: "r1", Name: "web", Users: []api.UserRef{ann}, As: []string{"deploy"}, Conditions: api.Conditions{Prompt: []string{"own"}}}},
			Subject: Subject{Ref: ann, TokenTime: now, BoundAt: now},
		})
		if steps := strings.Join(d.Steps, "\n"); d.Code != reason.OK || !strings.Contains(steps, want+` with a sign-in at ssh's prompt from "`+source+`"`) {
			t.Errorf("%s: %s, %q", source, d.Code, steps)
		}
	}
}

// Another rule that lets the person in with a certificate lends nothing to one that has prompts.
func TestRuleWithoutPromptsAddsNothingToASession(t *testing.T) {
	rules := []api.Rule{
		{ID: "r1", Users: []api.UserRef{ann}, As: []string{"deploy"}, Conditions: api.Conditions{Can: []api.Capability{api.CapShell, api.CapAgent}}},
		{ID: "r2", Users: []api.UserRef{ann}, As: []string{"deploy"}, Conditions: api.Conditions{Can: []api.Capability{api.CapExec}, Prompt: []string{"own"}}},
	}
	d := Decide(Query{
		Rules: rules, Source: api.Peer{ID: "pown", Owner: ann}, Account: Account{Name: "deploy", ID: "1001"}, Now: now, MapIssued: now,
		Subject: Subject{Ref: ann, TokenTime: now, BoundAt: now, Session: true},
	})
	if !d.Has(api.CapExec) || d.Has(api.CapShell) || d.Has(api.CapAgent) || d.Rule != "r2" {
		t.Errorf("%+v", d)
	}
}

func TestPromptIsShownWhereSomebodyCouldComeIn(t *testing.T) {
	owned, nobodys := api.Peer{ID: "pown", Owner: ann}, api.Peer{ID: "pkiosk"}
	rule := func(deny bool, prompt ...string) api.Rule {
		return api.Rule{Deny: deny, Conditions: api.Conditions{Prompt: prompt}}
	}
	for _, c := range []struct {
		rules  []api.Rule
		source api.Peer
		want   reason.Code
	}{
		{nil, owned, reason.SignInOff},
		{[]api.Rule{rule(false)}, owned, reason.SignInOff},
		{[]api.Rule{rule(true, "own")}, owned, reason.SignInOff},
		{[]api.Rule{rule(false), rule(false, "own")}, owned, reason.OK},
		{[]api.Rule{rule(false, "own")}, nobodys, reason.OwnDevice},
		{[]api.Rule{rule(false, "own"), rule(false, "peer:pkiosk")}, nobodys, reason.OK},
		{[]api.Rule{rule(false, "peer:pother")}, owned, reason.OwnDevice},
	} {
		if got := Prompt(c.rules, c.source); got != c.want {
			t.Errorf("%+v from %s: %s, want %s", c.rules, c.source.ID, got, c.want)
		}
	}
}

func TestPromptIsWrittenResolvedAndCompiled(t *testing.T) {
	w := &World{Peers: []api.Peer{{ID: "pweb", Name: "web-1"}, {ID: "pkiosk", Name: "kiosk", Tags: []string{"tag:desk"}}, {ID: "pdesk", Name: "desk", Tags: []string{"tag:desk"}}}}
	p := api.Policy{Name: "web", From: []string{"everyone"}, To: []string{"peer:web-1"}, As: []string{"deploy"}}
	for s, good := range map[string]bool{
		"own": true, "peer:kiosk": true, "tag:desk": true, "all": false, "peer:": false, "tag:": false, "everyone": false, "kiosk": false, "peer:Kiosk": false, "": false,
	} {
		p.Prompt = []string{s}
		if err := Validate(p); (err == nil) != good {
			t.Errorf("%q: %v", s, err)
		}
	}
	p.Prompt = []string{"own", "peer:kiosk", "tag:desk"}
	resolved, err := Resolve(w, p)
	if err != nil || !slices.Equal(resolved.Prompt, []string{"own", "peer:pkiosk", "tag:desk"}) || p.Prompt[1] != "peer:kiosk" {
		t.Fatalf("%q, %v", resolved.Prompt, err)
	}
	rules := Compile(w, []api.Policy{resolved}, w.Peers[0])
	if len(rules) != 1 || !slices.Equal(rules[0].Prompt, []string{"own", "peer:pkiosk", "peer:pdesk"}) {
		t.Errorf("%+v", rules)
	}
	p.Prompt = []string{"peer:nobody"}
	if _, err := Resolve(w, p); err == nil {
		t.Error("a machine that is not enrolled is named")
	}
	p.Prompt, p.From = []string{"own"}, []string{"machine:kiosk/ci"}
	if err := Validate(p); err == nil || !strings.Contains(err.Error(), "people") {
		t.Errorf("a policy for machines has prompts: %v", err)
	}
	p.From, p.Deny = []string{"everyone"}, true
	if err := Validate(p); err == nil {
		t.Error("a policy that denies has prompts")
	}
}
