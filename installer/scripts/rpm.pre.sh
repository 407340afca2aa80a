#!/bin/sh
#SERVER#
getent group @NAME@ >/dev/null || groupadd -r @NAME@ || :
getent passwd @NAME@ >/dev/null || useradd -r -g @NAME@ -d /var/lib/@NAME@ -M -s /usr/sbin/nologin -c "Lanyard's management server" @NAME@ || :
#END#
exit 0
