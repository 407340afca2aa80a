package sshd

import (
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
		ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384, ssh.KeyExchangeECDHP521,
	}
	c.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	if !cpu.X86.HasAES && !cpu.ARM64.HasAES {
		c.Ciphers = append([]string{ssh.CipherChaCha20Poly1305}, c.Ciphers...)
	}
	c.Ciphers = append(c.Ciphers, ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR)
	c.MACs = []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM, ssh.HMACSHA256, ssh.HMACSHA512}
	return c
}
