#!/bin/sh
#SERVER#
pw groupshow @NAME@ >/dev/null 2>&1 || pw groupadd @NAME@
pw usershow @NAME@ >/dev/null 2>&1 || pw useradd @NAME@ -g @NAME@ -d /var/db/@NAME@ -s /usr/sbin/nologin -c "Lanyard's management server"
#END#
#PEER#
/usr/local/bin/lanyard service ssh-config install || :
#END#
if service @RC@ enabled 2>/dev/null; then
	service @RC@ restart || :
fi
