#!/bin/sh
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	if [ "$1" -ge 1 ]; then
		systemctl try-restart @NAME@.service || :
	fi
fi
exit 0
