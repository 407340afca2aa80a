#!/bin/sh
if command -v rc-service >/dev/null; then
	rc-service --quiet --ifstarted @NAME@ stop || :
	rc-update --quiet delete @NAME@ 2>/dev/null || :
fi
#PEER#
/usr/bin/lanyard service ssh-config remove || :
#END#
exit 0
