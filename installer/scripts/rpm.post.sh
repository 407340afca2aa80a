#!/bin/sh
# $1: how many versions of the package are installed after this step.
#PEER#
/usr/bin/lanyard service ssh-config install || :
#END#
if [ "$1" -eq 1 ] && command -v systemctl >/dev/null; then
	systemctl --no-reload preset @NAME@.service >/dev/null 2>&1 || :
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || :
		# Where the distribution's presets enable it, it runs at once.
		if systemctl --quiet is-enabled @NAME@.service; then
			systemctl start @NAME@.service || :
		fi
	fi
fi
exit 0
