//go:build unix

package sshconfig

const systemConfig = "/etc/ssh/ssh_config"
