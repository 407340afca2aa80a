package sshd

import (
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestOnlyDropbearIsOfferedWhatOnlyItNeeds(t *testing.T) {
	usual := algorithms().MACs
	if slices.Contains(usual, ssh.HMACSHA256) {
		t.Fatal("everyone is offered encrypt-and-MAC")
	}
	for id, want := range map[string]bool{
		"SSH-2.0-dropbear_2022.83\r\n": true, "SSH-2.0-OpenSSH_9.2\r\n": false, "": false, "SSH-2.0-drop": false, "x SSH-2.0-dropbear": false,
	} {
		if got := slices.Contains(macsFor([]byte(id), usual), ssh.HMACSHA256); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
	if slices.Contains(usual, ssh.HMACSHA256) {
		t.Error("one client's offer has become everybody's")
	}
}
