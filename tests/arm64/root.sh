#!/usr/bin/env bash
# Makes a Debian for aarch64 that runs on this x86_64 under qemu-user, with skerry's agent in it as a device has it: the wheel
# that this clone builds, its extra `device`, exact versions, no torch. Prints the root's folder, or runs a command that
# finds it in $SKERRY_ARM64_ROOT, while nobody else makes it anew.
#
#   root.sh PYTHON [COMMAND…]        PYTHON: has pip and what builds the wheel
#
# Exit code 75, and one line why, where it cannot be made: nothing is wrong with the clone then. It is kept in
# $XDG_CACHE_HOME/skerry/arm64 (else ~/.cache) and made anew when what it is made of changes. Needs root, for chroot.
#
# Neither /proc nor /sys is mounted in it: with them the runtimes' search for processor features crashes under qemu 7.2.
set -euo pipefail

python=${1:?the Python that builds the wheel}
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clone=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/skerry/arm64
suite=bookworm packages=python3,libstdc++6
tools='qemu-user-static binfmt-support debootstrap'

cannot() { echo "make test-arm64 is skipped: $1" >&2; exit 75; }
say() { echo "arm64: $1" >&2; }
digest() { sha256sum | cut -c1-16; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || cannot "this is $(uname -s) on $(uname -m); the emulated device is tried from Linux on x86_64"
[ "$(id -u)" -eq 0 ] || cannot "chroot needs root"
command -v apt-get >/dev/null || cannot "there is no apt-get to install $tools with"
if ! command -v debootstrap >/dev/null || ! command -v qemu-aarch64-static >/dev/null || ! command -v update-binfmts >/dev/null; then
  say "installing $tools"
  # shellcheck disable=SC2086 # a list
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $tools; } >/dev/null 2>&1 \
    || cannot "apt-get cannot install $tools"
fi
registered=/proc/sys/fs/binfmt_misc
[ -e "$registered/register" ] || mount -t binfmt_misc none "$registered" 2>/dev/null || cannot "binfmt_misc cannot be mounted"
[ -e "$registered/qemu-aarch64" ] || update-binfmts --enable qemu-aarch64 >/dev/null 2>&1 || cannot "qemu-aarch64 cannot be registered with binfmt_misc"
grep -q '^flags:.*F' "$registered/qemu-aarch64" || cannot "qemu-aarch64 is registered without the flag F, so it is not found within a chroot"
mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
mirror=${mirror:-$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; exit}}' /etc/apt/sources.list 2>/dev/null || true)}
[ -n "$mirror" ] || cannot "apt's sources name no mirror to take Debian from"

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # two at once would make the same

# Debian: once.
system=$cache/debian-$(printf '%s' "$suite $packages" | digest)
if [ ! -e "$system/made" ]; then
  say "making Debian $suite for arm64 in $system (ten minutes)"
  rm -rf --one-file-system "$system"
  mkdir -p "$system"
  debootstrap --arch=arm64 --foreign --variant=minbase --include="$packages" "$suite" "$system/root" "$mirror" >"$system/log" 2>&1 \
    || cannot "debootstrap cannot take Debian from $mirror; it says why in $system/log"
  mkdir -p "$system/root/etc/dpkg/dpkg.cfg.d"
  echo force-unsafe-io >"$system/root/etc/dpkg/dpkg.cfg.d/unsafe" # a root that a crash spoiled is made anew
  chroot "$system/root" /debootstrap/debootstrap --second-stage >>"$system/log" 2>&1 || { tail -20 "$system/log" >&2; exit 1; }
  for below in $(awk -v root="$system/root/" 'index($2, root) == 1 {print $2}' /proc/mounts | sort -r); do umount "$below"; done
  touch "$system/made"
fi
root=$system/root

# What the agent needs: when its requirements change. Wheels are unpacked from here, which takes seconds instead of minutes.
requirements=$(sed -n '/^dependencies = \[/,/^\]/p; /^device = \[/,/^\]/p' "$clone/pyproject.toml"; cat "$clone/constraints.txt")
site=/opt/skerry-$(printf '%s' "$requirements" | digest)
# shellcheck disable=SC2054 # commas are pip's
cross=(--quiet --disable-pip-version-check --no-compile --only-binary=:all: --python-version 3.11 --implementation cp
  --constraint "$clone/constraints.txt" --root-user-action=ignore)
for glibc in 2_17 2_26 2_27 2_28 2_31 2_34 2_35; do cross+=(--platform "manylinux_${glibc}_aarch64"); done
cross+=(--platform manylinux2014_aarch64)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "building the wheel"
mkdir "$work/clone"
git -C "$clone" ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do if [ -e "$clone/$file" ]; then printf '%s\0' "$file"; fi; done |
  tar -C "$clone" --null -T - -c | tar -C "$work/clone" -x
SKERRY_PURE=1 "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w "$work" "$work/clone" >"$work/log" 2>&1 \
  || { cat "$work/log" >&2; exit 1; }
wheel=$(echo "$work"/skerry-*-py3-none-any.whl)
[ -e "$wheel" ] || { echo "arm64: the clone built no wheel for any machine" >&2; exit 1; }

if [ ! -e "$root$site/made" ]; then
  say "installing what skerry[device] needs"
  rm -rf "$root"/opt/skerry-*
  "$python" -m pip install "${cross[@]}" --target "$root$site" "$wheel[device]"
  rm -rf "$root$site"/skerry "$root$site"/skerry-*.dist-info
  touch "$root$site/made"
fi
rm -rf "$root/opt/skerry"
"$python" -m pip install "${cross[@]}" --no-deps --target "$root/opt/skerry" "$wheel"
printf '%s\n' /opt/skerry "$site" >"$root/usr/lib/python3/dist-packages/skerry-agent.pth"
ready=$(chroot "$root" /usr/bin/python3 -B -c 'import platform, skerry; print("skerry on", platform.machine(), "Python", platform.python_version())')
say "ready: $ready"
if [ $# -eq 0 ]; then
  echo "$root"
else
  SKERRY_ARM64_ROOT=$root "$@" 9>&- # the lock is held by this shell, and not by what the command may leave behind
fi
