#!/bin/sh
if command -v rc-service >/dev/null; then
	rc-service --quiet --ifstarted @NAME@ restart || :
fi
exit 0
