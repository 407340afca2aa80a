// Package hostfw names the host's own firewall, for the sentence that tells a person why something is dropped. It
// decides nothing: whether packets pass is found by trying. The one change that it makes is the rule of an installed
// program in Windows Firewall, which lets in nothing unasked for without one.
//
// Every file named for a system has the function Name.
package hostfw
