#!/bin/sh
# What OpenRC wrote for the service; "lanyard service uninstall --purge" before the removal takes the data, too.
rm -f /var/log/@NAME@.log
#SERVER#
rm -rf /run/@NAME@
#END#
#PEER#
# The sockets of other profiles stay: somebody may run their services.
rm -f /run/lanyard/default.*
[ ! -d /run/lanyard ] || rmdir /run/lanyard 2>/dev/null || :
# A setup key that no service came to use is a secret for nothing.
rm -f /etc/lanyard/setup-key
[ ! -d /etc/lanyard ] || rmdir /etc/lanyard 2>/dev/null || :
#END#
exit 0
