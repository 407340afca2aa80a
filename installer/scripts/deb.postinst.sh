#!/bin/sh
set -e

#PEER#
# A silent rollout gives these in the environment; the setup key goes into a file that the service uses once and removes,
# also when the machine was installed before. On a machine that is part of a network it is removed unused, unless the
# administrator settled another one. The address that is there stays, unless a key comes with the new one: it is for that.
rollout() {
	[ -n "$LANYARD_MANAGEMENT_URL$LANYARD_SETUP_KEY" ] || return 0
	[ -d /etc/lanyard ] || mkdir -m 0755 /etc/lanyard
	if [ -n "$LANYARD_MANAGEMENT_URL" ] && { [ -n "$LANYARD_SETUP_KEY" ] || [ ! -e /etc/lanyard/rollout.env ]; }; then
		rm -f /etc/lanyard/rollout.env
		(
			umask 077
			printf 'LANYARD_MANAGEMENT_URL=%s\nLANYARD_ALLOW_SSH=%s\n' "$LANYARD_MANAGEMENT_URL" "${LANYARD_ALLOW_SSH:-no}" >/etc/lanyard/rollout.env
		)
	fi
	if [ -n "$LANYARD_SETUP_KEY" ]; then
		rm -f /etc/lanyard/setup-key
		(
			umask 077
			printf '%s\n' "$LANYARD_SETUP_KEY" >/etc/lanyard/setup-key
		)
	fi
}

#END#
case "$1" in
configure | abort-upgrade | abort-deconfigure | abort-remove)
	#PEER#
	if [ "$1" = configure ]; then
		rollout
		/usr/bin/lanyard service ssh-config install || true
	fi
	#END#
	#SERVER#
	adduser --system --group --home /var/lib/@NAME@ --no-create-home --quiet @NAME@
	#END#
	# The idiom of dh_installsystemd: what an administrator disabled stays disabled.
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper unmask @NAME@.service >/dev/null || true
		if deb-systemd-helper --quiet was-enabled @NAME@.service; then
			deb-systemd-helper enable @NAME@.service >/dev/null || true
		else
			deb-systemd-helper update-state @NAME@.service >/dev/null || true
		fi
	fi
	if [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
		if [ -n "$2" ]; then
			_dh_action=restart
		else
			_dh_action=start
		fi
		deb-systemd-invoke $_dh_action @NAME@.service >/dev/null || true
	fi
	;;
*) ;;
esac
