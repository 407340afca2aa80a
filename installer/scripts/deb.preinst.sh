#!/bin/sh
set -e

# What a newer version has written, this one may not understand.
if [ "$1" = upgrade ] && [ -z "$LANYARD_ALLOW_DOWNGRADE" ] && dpkg --compare-versions "$2" gt "@VERSION@"; then
	echo "@NAME@: version $2 is installed, and @VERSION@ is older; the older one may not understand what the newer one keeps." >&2
	echo "@NAME@: nothing was changed. Remove the package first, or set LANYARD_ALLOW_DOWNGRADE=1 when you know that it does." >&2
	exit 1
fi
