#!/bin/sh
if [ "$1" -eq 0 ]; then
	if command -v systemctl >/dev/null; then
		systemctl --no-reload disable --now @NAME@.service >/dev/null 2>&1 || :
	fi
	#PEER#
	/usr/bin/lanyard service ssh-config remove || :
	#END#
fi
exit 0
