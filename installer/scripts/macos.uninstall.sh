#!/bin/sh
# Takes Lanyard off this Mac. With --purge, this machine's identity and settings go too.
set -e
if [ "$(id -u)" != 0 ]; then
	echo "Run this with sudo." >&2
	exit 1
fi
if [ "$1" = --purge ] && [ -x /usr/local/bin/lanyard ]; then
	/usr/local/bin/lanyard service may-purge
fi
person=$(stat -f %Su /dev/console)
if [ -n "$person" ] && [ "$person" != root ]; then
	launchctl bootout "gui/$(id -u "$person")/lanyard-tray" 2>/dev/null || :
fi
launchctl bootout system/lanyard 2>/dev/null || :
/usr/local/bin/lanyard service ssh-config remove || :
rm -f /Library/LaunchDaemons/lanyard.plist /Library/LaunchAgents/lanyard-tray.plist \
	/usr/local/bin/lanyard /usr/local/bin/lanyard-tray /usr/local/share/man/man1/lanyard*.1 /var/log/lanyard.log
# The sockets of other profiles stay: somebody may run their services.
rm -f /var/run/lanyard/default.*
[ ! -d /var/run/lanyard ] || rmdir /var/run/lanyard 2>/dev/null || :
rm -rf /usr/local/share/lanyard
# A setup key that no service came to use is a secret for nothing.
rm -f /etc/lanyard/setup-key
[ ! -d /etc/lanyard ] || rmdir /etc/lanyard 2>/dev/null || :
if [ "$1" = --purge ]; then
	rm -rf "/Library/Application Support/Lanyard" /etc/lanyard /var/run/lanyard
fi
pkgutil --forget lanyard >/dev/null 2>&1 || :
echo "Lanyard is gone."
