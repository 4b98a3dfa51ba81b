#!/usr/bin/env bash
# What cloud-init.yaml starts: install, enrol, run. Its unit repeats it, also after a restart, until the device has its place.
#
#   first-start.sh --unit    put that unit in, unless it has done its work
#   first-start.sh           one attempt; what an earlier one did is not done again
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
installed=/opt/skerry/installed unit=skerry-first-start.service

if [ "${1:-}" = --unit ]; then
    if [ ! -e /etc/skerry/joined ]; then
        install -m 0644 "$here/$unit" "/etc/systemd/system/$unit"
        systemctl daemon-reload
        systemctl enable "$unit"
        systemctl start --no-block "$unit"
    fi
    exit
fi

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then # the power may have gone while packages were put in
    dpkg --configure -a
    apt-get update
    apt-get install --yes python3-venv
fi
if [ ! -e "$installed" ]; then
    rm -rf /opt/skerry/venv # a half-written one looks whole to pip
    bash "$here/install.sh" --from "$(echo "$here"/skerry-*.whl)"
    sync
    touch "$installed"
fi
bash "$here/enrol.sh" "$(hostname)" "$here/invitation" /etc/skerry/prepared.toml
systemctl enable --now --no-block skerry-device
touch /etc/skerry/joined
sync
systemctl disable "$unit"
