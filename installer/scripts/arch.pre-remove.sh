#!/bin/sh
if [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now @NAME@.service >/dev/null 2>&1 || :
fi
#PEER#
/usr/bin/lanyard service ssh-config remove || :
rm -f /run/lanyard/default.*
[ ! -d /run/lanyard ] || rmdir --ignore-fail-on-non-empty /run/lanyard || :
# A setup key that no service came to use is a secret for nothing.
rm -f /etc/lanyard/setup-key
[ ! -d /etc/lanyard ] || rmdir --ignore-fail-on-non-empty /etc/lanyard || :
#END#
