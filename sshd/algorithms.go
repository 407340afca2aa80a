package sshd

import (
	"bytes"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/cpu"
)

// algorithms is what is offered. RFC 4253 §7.1 takes the first of the client's list that is also on ours, and
// OpenSSH's client begins with chacha20-poly1305: it is left out where the processor has AES, since it is half as
// fast as AES-GCM there.
func algorithms() ssh.ServerConfig {
	var c ssh.ServerConfig
	c.ServerVersion = "SSH-2.0-Lanyard"
	c.KeyExchanges = []string{
		ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, "curve25519-sha256@libssh.org",
	}
	c.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	if !cpu.X86.HasAES && !cpu.ARM64.HasAES {
		c.Ciphers = append([]string{ssh.CipherChaCha20Poly1305}, c.Ciphers...)
	}
	c.Ciphers = append(c.Ciphers, ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR)
	c.MACs = []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM}
	return c
}

// macsFor adds what a client needs that has nothing better: Dropbear knows no encrypt-then-MAC, and chacha20 may not be
// offered to it alone. The line is part of what both sides sign (RFC 4253 §8): nobody in between can pretend it.
func macsFor(identification []byte, macs []string) []string {
	if bytes.HasPrefix(identification, []byte("SSH-2.0-dropbear")) {
		return append(slices.Clip(macs), ssh.HMACSHA256)
	}
	return macs
}

// identifyTime is how long a client may take to say what it is; practically all do at once (RFC 4253 §4.2 lets either
// side begin). After it, and for whoever stays silent, the usual is offered.
const identifyTime = 300 * time.Millisecond
