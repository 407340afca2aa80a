#!/bin/sh
#SERVER#
addgroup -S @NAME@ 2>/dev/null || :
adduser -S -D -H -h /var/lib/@NAME@ -s /sbin/nologin -G @NAME@ -g "Lanyard's management server" @NAME@ 2>/dev/null || :
#END#
#PEER#
/usr/bin/lanyard service ssh-config install || :
#END#
exit 0
