// Package hostfw names the host's own firewall, for the sentence that tells a person why something is dropped. It
// changes nothing and decides nothing: whether packets pass is found by trying.
//
// Every file named for a system has the function Name.
package hostfw
