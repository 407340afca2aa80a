#!/bin/sh
# What a newer version has written, this one may not understand.
installed=$(pkgutil --pkg-info @NAME@ 2>/dev/null | sed -n 's/^version: //p')
if [ -n "$installed" ] && [ -z "$LANYARD_ALLOW_DOWNGRADE" ] && [ -x /usr/local/bin/@NAME@ ]; then
	newest=$(printf '%s\n%s\n' "$installed" "@VERSION@" | sort -t. -k1,1n -k2,2n -k3,3n -k4,4n | tail -n 1)
	if [ "$newest" != "@VERSION@" ]; then
		echo "@NAME@: version $installed is installed, and @VERSION@ is older; nothing was changed. Remove it first." >&2
		exit 1
	fi
fi
exit 0
