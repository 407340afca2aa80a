#!/bin/sh
# What OpenRC wrote for the service; "lanyard service uninstall --purge" before the removal takes the data, too.
rm -f /var/log/@NAME@.log
rm -rf /run/@NAME@
exit 0
