# To be sourced: packages of another Debian release, without installing anything.

# unpack_debian <folder> "<suite>..." <package>...
#
# Downloads the packages (<name> or <name>/<suite>) and unpacks them under <folder>/root. The system's apt
# configuration stays as it is: the suites are read through private lists and a private cache in
# <folder>/apt, from the mirror that this machine uses already. Does nothing where the same has been
# unpacked before.
unpack_debian() {
  local folder=$1 suites=$2 apt root codename mirror suite package wanted
  shift 2
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  apt=$folder/apt
  root=$folder/root
  wanted="$suites: $*"
  if [[ -e $root/.complete && $(<"$root/.complete") == "$wanted" ]]; then
    return
  fi

  # However the mirror is configured: apt says where it would fetch the index of "main" from.
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  mirror=$(apt-get update --print-uris |
    sed -nE "s#^'(.*)/dists/($codename|stable)/main/binary-.*#\\1#p" | sed -n 1p)
  if [[ -z $mirror ]]; then
    echo "$0: apt has no source for \"$codename main\" that would say which Debian mirror to use" >&2
    return 1
  fi

  rm -rf "$root" "$apt"
  mkdir -p "$root" "$apt"/{lists/partial,cache/archives/partial,downloads}
  : >"$apt/status"
  for suite in $suites; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
  done >"$apt/sources.list"

  local private_apt=(apt-get -q
    -o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=/dev/null"
    -o "Dir::State::Lists=$apt/lists" -o "Dir::State::Status=$apt/status"
    -o "Dir::Cache=$apt/cache"
    -o "APT::Sandbox::User=$(id -un)")
  "${private_apt[@]}" update || return
  (cd "$apt/downloads" && "${private_apt[@]}" download "$@") || return
  for package in "$apt"/downloads/*.deb; do
    dpkg -x "$package" "$root" || return
  done
  echo "$wanted" >"$root/.complete"
}
