#!/bin/sh
if service @RC@ onestatus >/dev/null 2>&1; then
	service @RC@ onestop || :
fi
#PEER#
if [ "${PKG_UPGRADE:-false}" != true ]; then
	/usr/local/bin/lanyard service ssh-config remove || :
fi
#END#
