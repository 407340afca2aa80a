// Package logind tells systemd's login manager of sessions, as pam_systemd(8) does: they show in loginctl(1), have their
// own control group and $XDG_RUNTIME_DIR, and what the administrator says of logged-in people holds for them.
package logind
