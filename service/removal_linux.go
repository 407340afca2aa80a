package main

import "context"

// leaveTheRest removes the service's options, with the copies that rpm and pacman put beside them, and OpenRC's log.
func leaveTheRest(context.Context) error {
	return removeFiles("/etc/default/lanyard", "/etc/default/lanyard.pac*", "/etc/default/lanyard.apk-new", "/etc/sysconfig/lanyard", "/etc/sysconfig/lanyard.rpm*",
		"/var/log/lanyard.log")
}
