// Package pam reads what the system's PAM configuration (pam.d(5)) asks for at the start of a session, so that sessions
// can be given the same.
//
// PAM itself is a C library with modules that are loaded into the program, which one without cgo cannot do. What the
// common session modules do is known, though: limits, the environment, the login manager, the message of the day. This
// package says which of them the administrator wants, and with what; others are named in Session.Others. It follows jumps
// ([success=1]) where a module's answer is known; elsewhere a module that is there counts (Session.Unsure).
package pam
