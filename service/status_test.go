package main

import (
	"strings"
	"testing"
	"time"

	"lanyard/mgmt/api/reason"
	"lanyard/service/ipc"
)

func TestStatusSaysInPlainWordsWhatToTypeNext(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)
	self := &ipc.Peer{ID: "pself", Name: "laptop"}
	web := ipc.Peer{ID: "pweb", Name: "web-1", ShortName: true, ServesSSH: true, LoginAs: "deploy"}
	yes, no := new(true), new(false)
	mine := ipc.Caller{Class: ipc.ClassChange}
	signedIn := signIn{SignedIn: true, User: "ann@example.com", Until: now.Add(time.Hour)}
	cases := []struct {
		name string
		st   ipc.Status
		me   signIn
		want []string
	}{
		{"new", ipc.Status{State: ipc.StateNew, Caller: mine}, signIn{}, []string{"Not part of a network.", "Next: lanyard up URL"}},
		{"new, for who may not change it", ipc.Status{State: ipc.StateNew}, signIn{}, []string{"Next: " + asAdministrator("lanyard up URL") + ","}},
		{
			"removed",
			ipc.Status{State: ipc.StateRemoved, Caller: mine, Removed: "It is gone.", Problems: []string{"The disk is full.", "It is gone."}},
			signIn{},
			[]string{"It is gone.\nProblem: The disk is full.\n\nNext: lanyard up URL"},
		},
		{"down", ipc.Status{State: ipc.StateDown, Server: "https://x#sha256=aa", Caller: mine}, signIn{}, []string{"network at https://x)", "Next: lanyard up\n"}},
		{
			"serves",
			ipc.Status{State: ipc.StateConnected, Self: self, SSH: ipc.SSH{Allowed: true, Serving: true, Mode: "kernel", Detail: "connections end in a socket of this machine"}},
			signIn{},
			[]string{"admits whom its policies allow (kernel: connections end in a socket of this machine).\n"},
		},
		{"serves nobody", ipc.Status{State: ipc.StateConnected, Self: self}, signIn{}, []string{"('" + asAdministrator("lanyard up --allow-ssh") + "' switches it on)"}},
		{"not signed in", ipc.Status{State: ipc.StateConnected, Self: self, Peers: []ipc.Peer{web}}, signIn{}, []string{"Nobody is signed in", "Next: lanyard login"}},
		{"signed in", ipc.Status{State: ipc.StateConnected, Self: self, Peers: []ipc.Peer{web}}, signedIn, []string{"as ann@example.com until 13:00", "Next: ssh web-1\n"}},
		{
			"blocked",
			ipc.Status{State: ipc.StateConnected, Self: self, Peers: []ipc.Peer{web}},
			signIn{User: "ann@example.com", Refused: reason.Blocked},
			[]string{"You signed in as ann@example.com. Your access was blocked; ask your administrator. [blocked]"},
		},
		{
			"signed out from elsewhere",
			ipc.Status{State: ipc.StateConnected, Self: self},
			signIn{User: "ann@example.com", Refused: reason.Revoked},
			[]string{"You signed in as ann@example.com. This sign-in was ended; run 'lanyard login'. [revoked]", "Next: lanyard login"},
		},
		{
			"userspace",
			ipc.Status{State: ipc.StateConnected, Self: self, Peers: []ipc.Peer{web}, Tunnel: ipc.Tunnel{Mode: "userspace"}},
			signedIn,
			[]string{"Next: lanyard ssh web-1"},
		},
		{
			"an account of a machine",
			ipc.Status{
				State: ipc.StateConnected, Self: self, Caller: ipc.Caller{Account: "ansible"},
				Peers: []ipc.Peer{{Name: "db-1", ServesSSH: true}, {Name: "web-1", ShortName: true, ServesSSH: true, LoginAs: "deploy", MachineAccounts: []string{"ansible", "ci"}}},
			},
			signIn{},
			[]string{"Without a sign-in, web-1 lets these accounts of this machine in: ansible, ci.", "Next: ssh web-1\n"},
		},
		{
			"another account of that machine",
			ipc.Status{
				State: ipc.StateConnected, Self: self, Caller: ipc.Caller{Account: "ann"},
				Peers: []ipc.Peer{{Name: "web-1", ServesSSH: true, MachineAccounts: []string{"ansible"}}},
			},
			signIn{},
			[]string{"Next: lanyard login"},
		},
		{
			"offline",
			ipc.Status{State: ipc.StateOffline, Self: self, Map: &ipc.Map{HeardAt: now.Add(-time.Hour)}, Problems: []string{"It does not answer."}},
			signIn{},
			[]string{"without word from the management server since 11:00", "Problem: It does not answer."},
		},
		{
			"machines", // one that the management server knows of, one that it misses, and two that it says nothing of
			ipc.Status{State: ipc.StateConnected, Self: self, Peers: []ipc.Peer{
				{Name: "web-1", ShortName: true, ServesSSH: true, Online: yes},
				{Name: "web-2", ShortName: true, ServesSSH: true, Online: no, Handshake: now.Add(-time.Minute)},
				{Name: "web-3", ShortName: true, ServesSSH: true, Handshake: now.Add(-2 * time.Minute)},
				{Name: "web-4", ShortName: true, ServesSSH: true, Handshake: now.Add(-time.Hour)},
			}},
			signIn{},
			[]string{
				"Machine  Address     SSH  Online   Last heard of\n",
				"web-1    invalid IP  yes  yes      not yet\n", "web-2    invalid IP  yes  no       1m0s ago\n",
				"web-3    invalid IP  yes  yes      2m0s ago\n", "web-4    invalid IP  yes  unknown  1h0m0s ago\n",
			},
		},
		{
			"settled",
			ipc.Status{
				State: ipc.StateNew, Managed: []string{"management_url", "allow_ssh", "operator"},
				ManagedBy: map[string]string{"management_url": `HKLM\SOFTWARE\Policies\Lanyard`, "allow_ssh": "managed.yaml", "operator": "managed.yaml"},
			},
			signIn{},
			[]string{`Settled by your administrator: management_url (HKLM\SOFTWARE\Policies\Lanyard); allow_ssh, operator (managed.yaml).`},
		},
		{
			"who is here",
			ipc.Status{State: ipc.StateConnected, Self: self, Sessions: []ipc.Session{{ID: "s1", User: "eve\x1b[2J", LocalUser: "deploy", Source: "bos-laptop", Since: now}}},
			signIn{},
			[]string{`eve\x1b[2J`, "bos-laptop", "s1"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			if err := writeStatus(&b, &c.st, c.me, now); err != nil {
				t.Fatal(err)
			}
			for _, w := range c.want {
				if !strings.Contains(b.String(), w) {
					t.Errorf("%q is not in:\n%s", w, b.String())
				}
			}
			if strings.Contains(b.String(), "\x1b") {
				t.Error("a control character went through")
			}
		})
	}
}

func TestSetupKeyComesByFileInputOrEnvironmentOnly(t *testing.T) {
	t.Setenv(setupKeyEnv, " lk_env.pin ")
	if k, err := setupKey("", strings.NewReader("")); err != nil || k != "lk_env.pin" {
		t.Errorf("from the environment: %q, %v", k, err)
	}
	if k, err := setupKey("-", strings.NewReader("lk_in.pin\n")); err != nil || k != "lk_in.pin" {
		t.Errorf("from standard input: %q, %v", k, err)
	}
	for _, bad := range []string{"", "\n", "two words\n"} {
		if k, err := setupKey("-", strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken as the key %q", bad, k)
		}
	}
	if _, err := setupKey("/nonexistent", nil); err == nil {
		t.Error("a file that is not there was taken")
	}
	if f := upCommand().Flags().Lookup("setup-key"); f != nil {
		t.Error("a setup key can be given on the command line")
	}
}
