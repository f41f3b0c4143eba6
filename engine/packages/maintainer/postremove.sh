#!/bin/sh
# After the package is removed: systemd forgets the unit. Must not remove the user: files may be
# its own.
set -e

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
