#!/usr/bin/env bash
# Install skerry's agent on a Raspberry Pi or another Linux machine with systemd. Run again, it brings it up to date.
#
#   sudo ./install.sh [--from WHEEL|FOLDER|REQUIREMENT] [--train] [--name NAME --invitation FILE [--terms FILE]]
#
#   --from        what pip installs; a wheel, a folder of the source, or a requirement. Without it: skerry
#   --train       torch too, for training more than a head (hundreds of MB)
#   --name        of this device; with an invitation it is enrolled at once
#   --invitation  a file with what `skerry fleet invite` printed; it is erased when the device has applied
#   --terms       a prepared device.toml; else one to fill in is written
#
# It makes /opt/skerry/venv, /etc/skerry/device.env (the passphrase of the keys), the unit skerry-device.service, and the
# command skerry-device. Keys, ledger and models lie in /var/lib/skerry-device, which belongs to the service.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
from=skerry extras=device name='' invitation='' terms=''

fail() { echo "install.sh: $1" >&2; exit "${2:-1}"; }

while [ $# -gt 0 ]; do
    case $1 in
        --from) from=${2:?--from needs a value}; shift 2 ;;
        --train) extras=device,train; shift ;;
        --name) name=${2:?--name needs a value}; shift 2 ;;
        --invitation) invitation=${2:?--invitation needs a value}; shift 2 ;;
        --terms) terms=${2:?--terms needs a value}; shift 2 ;;
        -h | --help) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) fail "unknown option $1; see --help" 2 ;;
    esac
done

[ "$(id -u)" -eq 0 ] || fail "run it with sudo" 2
command -v systemctl >/dev/null || fail "this machine has no systemd; see docs/agent.md for how to run the agent by hand"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed (Raspberry Pi OS 12)"
python3 -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv is missing: apt install python3-venv"
[ "$(getconf LONG_BIT)" = 64 ] || fail "a 64-bit system is needed: there are no wheels of onnxruntime for 32 bits"
if [ -n "$invitation" ]; then
    [ -n "$name" ] || fail "--invitation needs --name" 2
fi
[ -z "$terms" ] || [ -r "$terms" ] || fail "$terms cannot be read" 2

echo "installing $from with extras: $extras"
/opt/skerry/venv/bin/pip --version >/dev/null 2>&1 || python3 -m venv --clear /opt/skerry/venv
if [ -e "$from" ]; then from=$(realpath "$from"); fi
/opt/skerry/venv/bin/pip install --quiet --upgrade pip
/opt/skerry/venv/bin/pip install --quiet --upgrade "${from}[${extras}]"

install -d -m 0755 /etc/skerry
if [ ! -e /etc/skerry/device.env ]; then
    (umask 077 && python3 -c 'import secrets; print("SKERRY_PASSPHRASE=" + secrets.token_hex(32))' >/etc/skerry/device.env.new)
    sync /etc/skerry/device.env.new
    mv /etc/skerry/device.env.new /etc/skerry/device.env # whole or not there: keys are closed with it
fi
install -m 0644 "$here/skerry-device.service" /etc/systemd/system/skerry-device.service
install -m 0755 "$here/skerry-device" /usr/local/bin/skerry-device
systemctl daemon-reload

if [ -n "$invitation" ]; then
    if [ -n "$terms" ]; then
        install -m 0644 "$terms" /etc/skerry/device.toml
        terms=/etc/skerry/device.toml
    fi
    bash "$here/enrol.sh" "$name" "$invitation" "$terms" || [ $? -eq 75 ] # 75: the operator has to approve it
fi

cat <<'END'
installed. Next:
  sudo skerry-device enrol - --name NAME        (paste the invitation, then Ctrl-D), unless that is done
  sudoedit /var/lib/skerry-device/device.toml   what this device may do
  sudo skerry-device doctor                     whether anything is in the way
  sudo systemctl enable --now skerry-device     from now on, also after a restart
END
