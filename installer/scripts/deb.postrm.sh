#!/bin/sh
set -e

if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = remove ] && command -v deb-systemd-helper >/dev/null; then
	deb-systemd-helper mask @NAME@.service >/dev/null || true
fi
if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge @NAME@.service >/dev/null || true
		deb-systemd-helper unmask @NAME@.service >/dev/null || true
	fi
	rm -rf /var/lib/@NAME@
	#PEER#
	rm -rf /etc/lanyard
	#END#
	#SERVER#
	# The account goes with its files: nothing is left that its number could belong to.
	if getent passwd @NAME@ >/dev/null && command -v userdel >/dev/null; then
		userdel @NAME@ >/dev/null 2>&1 || true
	fi
	#END#
fi
