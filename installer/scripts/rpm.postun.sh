#!/bin/sh
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	if [ "$1" -ge 1 ]; then
		systemctl try-restart @NAME@.service || :
	fi
fi
#PEER#
if [ "$1" -eq 0 ]; then
	rm -f /run/lanyard/default.*
	[ ! -d /run/lanyard ] || rmdir --ignore-fail-on-non-empty /run/lanyard || :
	# A setup key that no service came to use is a secret for nothing.
	rm -f /etc/lanyard/setup-key
	[ ! -d /etc/lanyard ] || rmdir --ignore-fail-on-non-empty /etc/lanyard || :
fi
#END#
exit 0
