#!/bin/sh
daemon=/Library/LaunchDaemons/@NAME@.plist
disabled=$(launchctl print-disabled system 2>/dev/null | grep -cE '"@NAME@" => (true|disabled)')
launchctl bootout system/@NAME@ 2>/dev/null || :
if [ "$disabled" = 0 ]; then
	# The old one may take a moment to go.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		launchctl bootstrap system "$daemon" 2>/dev/null && break
		sleep 1
	done
fi
/usr/local/bin/lanyard service ssh-config install || :
#TRAY#
person=$(stat -f %Su /dev/console)
if [ -n "$person" ] && [ "$person" != root ]; then
	uid=$(id -u "$person")
	launchctl bootout "gui/$uid/lanyard-tray" 2>/dev/null || :
	launchctl bootstrap "gui/$uid" /Library/LaunchAgents/lanyard-tray.plist 2>/dev/null || :
fi
#END#
exit 0
