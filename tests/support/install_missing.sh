# To be sourced: what the scripts under tests/ have in common.

heading() { printf '\n=== %s\n' "$*"; }

# On Debian, installs those of the named packages that are missing (as root, or through sudo).
install_missing() {
  local missing=() as_root=() package
  if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian: make sure that there are the equivalents of $*"
    return
  fi
  for package in "$@"; do
    if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
      missing+=("$package")
    fi
  done
  if ((${#missing[@]} == 0)); then
    return
  fi
  heading "Installing what is missing: ${missing[*]}"
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "Neither root nor sudo: please install these packages first: ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
}
