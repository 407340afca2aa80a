#!/bin/sh
#PEER#
/usr/bin/lanyard service ssh-config install || :
#END#
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	#SERVER#
	systemd-sysusers @NAME@.conf || :
	#END#
	systemctl try-restart @NAME@.service || :
fi
