#!/bin/sh
if service @RC@ onestatus >/dev/null 2>&1; then
	service @RC@ onestop || :
fi
#PEER#
if [ "${PKG_UPGRADE:-false}" != true ]; then
	/usr/local/bin/lanyard service ssh-config remove || :
	# A setup key that no service came to use is a secret for nothing.
	rm -f /usr/local/etc/lanyard/setup-key
	[ ! -d /usr/local/etc/lanyard ] || rmdir /usr/local/etc/lanyard 2>/dev/null || :
fi
#END#
