#!/bin/sh
# Installs what building and testing libawq needs, on Debian and Ubuntu. Does nothing when all of it
# is there already.
set -eu

packages="gcc g++ libc6-dev cmake ninja-build pkg-config
libopenblas-dev libcjson-dev libyaml-dev libpcre2-dev libutf8proc-dev libxxhash-dev
libssl-dev libcmocka-dev"

refuse()
{
    echo "third_party/install.sh: $1" >&2
    echo "Please install what corresponds to these Debian packages:" >&2
    echo "$packages" >&2
    exit 1
}

id=unknown like=
if [ -r /etc/os-release ]; then
    id=$(. /etc/os-release && echo "${ID:-unknown}")
    like=$(. /etc/os-release && echo "${ID_LIKE:-}")
fi
case " $id $like " in
*" debian "* | *" ubuntu "*) ;;
*) refuse "this system ($id) is neither Debian nor Ubuntu nor made from them" ;;
esac

missing=
for package in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "third_party/install.sh: everything is installed"
    exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || refuse "neither root nor able to become root with sudo"
    as_root=sudo
fi
echo "third_party/install.sh: installing$missing"
$as_root apt-get update
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
