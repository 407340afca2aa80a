package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// listen opens the public address and the admin socket, and settles the URL and the names of this server.
func (s *Server) listen() error {
	if err := s.cfg.checkTLS(); err != nil {
		return err
	}
	addr, scheme := s.cfg.HTTP, "http"
	if s.cfg.Listen != "" {
		addr, scheme = s.cfg.Listen, "https"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("the address %q must be ADDRESS:PORT, as in %s: %w", addr, net.JoinHostPort(strings.Trim(addr, ":[]"), "8443"), err)
	}
	if scheme == "http" && !isLoopback(host) {
		return fmt.Errorf("plain HTTP is served on loopback only, not on %s; use --listen %s for HTTPS with a CA of its own", host, addr)
	}
	if s.listener, err = net.Listen("tcp", addr); err != nil {
		return cannotListen(addr, err)
	}
	_, port, _ := net.SplitHostPort(s.listener.Addr().String()) // the address may have asked for any port
	external := s.cfg.URL
	if external == "" && s.cfg.Domain != "" {
		external = "https://" + s.cfg.Domain
		if port != "443" {
			external += ":" + port
		}
	}
	names, err := ownNames(host, external)
	if err != nil {
		return err
	}
	if s.url = external; s.url == "" {
		s.url = scheme + "://" + net.JoinHostPort(names[0], port)
	}
	if s.hosts, err = proofHosts(names, port, s.url); err != nil {
		return err
	}
	if scheme == "https" {
		if s.certs, err = s.openCertificates(names); err != nil {
			return err
		}
	}
	s.admin, err = listenAdmin(s.cfg.State)
	return err
}

// cannotListen says what to do about it.
func cannotListen(addr string, err error) error {
	why := errors.Unwrap(err) // without "listen tcp ADDRESS"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: %w; another program has that port: end it, or choose another port", addr, why)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s: %w; this machine has no such address: choose one that it has", addr, why)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("listen on %s: %w; only an administrator may listen there: run this with sudo, or choose a port above 1023", addr, why)
	}
	return fmt.Errorf("listen on %s: %w", addr, err)
}
