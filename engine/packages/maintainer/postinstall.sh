#!/bin/sh
# After installing or upgrading the package: makes the user, and lets it read /etc/gridcast. Must
# not start or restart the server: a restart sends every client away, so that is for people to say.
set -e

if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers gridcast.conf
elif ! getent passwd gridcast >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin gridcast
fi
chgrp gridcast /etc/gridcast /etc/gridcast/gridcast.toml

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
