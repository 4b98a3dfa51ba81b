#!/bin/sh
# Why the browser's device can be neither checked nor built here, in one line; nothing where it can be.
set -euf
cd "$(dirname "$0")"
wanted=$(sed -n 's/^ *"node": "\(.*\)".*$/\1/p' package.json) # ranges like ^20.19 || >=24
if ! command -v npm >/dev/null || ! version=$(node --version 2>/dev/null); then
  echo "node with npm is not installed (node $wanted)"
  exit 0
fi
numbers=${version#v}
major=${numbers%%.*}
minor=${numbers#*.}
minor=${minor%%.*}
for range in $wanted; do
  least=${range#*.}
  case $range in
    '^'*) if [ "$range" = "^$major.$least" ] && [ "$minor" -ge "$least" ]; then exit 0; fi ;;
    '>='*) if [ "$major" -ge "${range#>=}" ]; then exit 0; fi ;;
  esac
done
echo "node $version is installed, and node $wanted is needed"
