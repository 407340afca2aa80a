// Package utmp records terminal sessions where who(1), last(1) and lastlog(8) look: utmp(5), wtmp and lastlog, each only
// where the system keeps such a file.
package utmp
