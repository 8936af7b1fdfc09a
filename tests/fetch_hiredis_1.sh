#!/usr/bin/env bash
# Unpacks hiredis 1.2, as Debian 13 (trixie) packages it, under build/trixie/root: the CMake preset
# "hiredis-1" builds against it. Nothing is installed, and the system's apt configuration stays as it
# is: the suite is read through private lists and a private cache in build/trixie/apt.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD/build/trixie/root
apt=$PWD/build/trixie/apt
packages=(libhiredis-dev libhiredis1.1.0)

if [[ -e $root/.complete ]]; then
  exit 0
fi

# The mirror this machine already uses for its own Debian packages, however it is configured: apt
# says where it would fetch the index of "main" from.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get update --print-uris |
  sed -nE "s#^'(.*)/dists/($codename|stable)/main/binary-.*#\\1#p" | sed -n 1p)
if [[ -z $mirror ]]; then
  echo "$0: apt has no source for \"$codename main\" that would say which Debian mirror to use" >&2
  exit 1
fi

rm -rf "$root" "$apt"
mkdir -p "$root" "$apt"/{lists/partial,cache/archives/partial,downloads}
: >"$apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"

private_apt=(apt-get -q
  -o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=/dev/null"
  -o "Dir::State::Lists=$apt/lists" -o "Dir::State::Status=$apt/status"
  -o "Dir::Cache=$apt/cache"
  -o "APT::Sandbox::User=$(id -un)")
"${private_apt[@]}" update
(cd "$apt/downloads" && "${private_apt[@]}" download "${packages[@]}")
for package in "$apt"/downloads/*.deb; do
  dpkg -x "$package" "$root"
done
touch "$root/.complete"
