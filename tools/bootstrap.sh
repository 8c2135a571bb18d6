#!/usr/bin/env bash
# Installs what this machine lacks to build and run, or to build and test.   usage: tools/bootstrap.sh run|test
# With apt, as root or through sudo; otherwise prints the exact list of packages and stops.  tools/packages.txt is the
# list.  Prints nothing when nothing is missing.
set -u
step=${1:?usage: bootstrap.sh run|test}
here=$(cd "$(dirname "$0")" && pwd)

present() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

missing() {
    local package sign from
    while read -r package sign from; do
        case $package in '' | '#'*) continue ;; esac
        [ "$from" = run ] || [ "$from" = "$step" ] || continue
        present "$sign" || echo "$package"
    done <"$here/packages.txt"
}

refuse() {
    echo "$1" >&2
    echo "Please install: $packages" >&2
    exit 1
}

packages=$(missing | paste -sd' ')
[ -n "$packages" ] || exit 0
command -v apt-get >/dev/null || refuse "This machine lacks packages, and has no apt-get."
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root=(sudo)
else
    refuse "This machine lacks packages, and they cannot be installed without root or sudo."
fi
echo "Installing $packages" >&2
install() {
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y --no-install-recommends $packages >&2
}
{ "${as_root[@]}" apt-get update >&2 && install; } || install || refuse "apt-get failed."
packages=$(missing | paste -sd' ')
[ -z "$packages" ] || refuse "These were installed, but what they bring was not found."
