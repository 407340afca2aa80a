#!/bin/sh
set -e

#PEER#
# The system runs the default profile only; where somebody runs the service of another one, what it keeps would go from
# under it. The program is gone: the kernel tells which sockets there are.
others_silent() {
	[ -r /proc/net/unix ] || return 0
	while read -r _ _ _ _ _ _ _ path; do
		case "$path" in
		/run/lanyard/default.sock | /run/lanyard/*.*.sock) continue ;;
		/run/lanyard/*.sock) ;;
		*) continue ;;
		esac
		profile=${path##*/}
		profile=${profile%.sock}
		case "$profile" in *[!a-z0-9-]*) continue ;; esac
		[ -d /var/lib/lanyard/"$profile" ] || continue
		echo "@NAME@: nothing was purged: the service of the profile '$profile' still runs ('lanyard service run --profile $profile'); end it, or whatever starts it, and purge again." >&2
		return 1
	done </proc/net/unix
}

#END#
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = remove ] && command -v deb-systemd-helper >/dev/null; then
	deb-systemd-helper mask @NAME@.service >/dev/null || true
fi
#PEER#
# A key that was left for the first start, and that the service did not come to use, is a secret for nothing.
if [ "$1" = remove ]; then
	rm -f /etc/lanyard/setup-key /run/lanyard/default.*
	[ ! -d /run/lanyard ] || rmdir --ignore-fail-on-non-empty /run/lanyard
	[ ! -d /etc/lanyard ] || rmdir --ignore-fail-on-non-empty /etc/lanyard
fi
#END#
if [ "$1" = purge ]; then
	#PEER#
	others_silent
	#END#
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
