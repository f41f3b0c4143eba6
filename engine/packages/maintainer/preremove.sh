#!/bin/sh
# Before the package is removed: drains and ends the server, and disables it. Must not do so on an
# upgrade: dpkg says "upgrade", rpm says that one package is left.
set -e

case "${1:-}" in
    remove | 0)
        if [ -d /run/systemd/system ]; then
            systemctl disable --now gridcast.service || true
        fi
        ;;
esac
