#!/bin/sh
set -e

if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	deb-systemd-invoke stop @NAME@.service >/dev/null || true
fi
#PEER#
if [ "$1" = remove ]; then
	/usr/bin/lanyard service ssh-config remove || true
fi
#END#
