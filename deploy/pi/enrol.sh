#!/usr/bin/env bash
# Take this device's place in its federation, whether or not an earlier call was cut off, and say whether it has one.
#
#   sudo ./enrol.sh NAME INVITATION [TERMS]
#
# INVITATION is a file with what `skerry fleet invite` printed. It is erased once the device has kept what it needs of it;
# until then it stays, whatever fails. Exit code 0: enrolled; 75: not yet, ask again; else what `skerry device enrol` says.
set -euo pipefail

name=$1 invitation=$2 terms=${3:-}
home=${SKERRY_DEVICE_HOME:-/var/lib/skerry-device}

erase() { if [ -e "$invitation" ]; then shred -u "$invitation" 2>/dev/null || rm -f "$invitation"; fi; }

if [ ! -e "$home/membership.json" ]; then
    status=0
    if [ -e "$home/application" ]; then
        skerry-device enrol || status=$?
    elif [ ! -r "$invitation" ]; then
        echo "enrol.sh: $invitation cannot be read; ask the operator for an invitation" >&2
        exit 2
    else
        given=(enrol - --name "$name")
        if [ -n "$terms" ] && [ ! -e "$home/device.toml" ]; then given+=(--terms "$terms"); fi
        skerry-device "${given[@]}" <"$invitation" || status=$?
    fi
    if [ -e "$home/application" ]; then erase; fi
    [ "$status" -eq 0 ] || exit "$status"
    if [ ! -e "$home/membership.json" ]; then
        echo "enrol.sh: waits for the operator's approval" >&2
        exit 75
    fi
fi
erase
