#!/bin/sh
# packages.sh BUILD [MIRROR]: by hand, as root. Makes the Debian packages of a build, installs them with
# apt into a Debian 12 root that has nothing else, and uses them there: the program quantizes the small
# model of tests/data, and a program of another's is built against libawq-dev. Needs debootstrap.
set -eu
build=$1 mirror=${2:-http://deb.debian.org/debian}
source=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "packages.sh: only root can make a root directory"; exit 1; }
command -v debootstrap >/dev/null || { echo "packages.sh: debootstrap is not installed"; exit 1; }

root=$(mktemp -d)
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root"' EXIT

(cd "$build" && rm -f ./*.deb && cpack -G DEB >/dev/null 2>&1) || { echo "cpack failed"; exit 1; }
debootstrap --variant=minbase bookworm "$root" "$mirror" >"$build/debootstrap.log" 2>&1 ||
    { tail "$build/debootstrap.log"; exit 1; }
# What this machine's apt needs to reach its archive, the root's needs too.
cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir "$root/work"
cp "$build"/*.deb "$source/tests/consumer/project/consumer.c" "$root/work"
cp -r "$source/tests/data/mixtral-tiny" "$root/work/model"
mount -t proc proc "$root/proc"

inside() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C sh -euc "cd /work; $1"; }
inside 'apt-get update -q >/dev/null; apt-get install -qy --no-install-recommends ./libawq_*.deb ./awqc_*.deb >log 2>&1 ||
    { tail log; exit 1; }'
inside 'awqc --version; awqc plugins'
cat >"$root/work/recipe.yaml" <<END
model: model
output: out
calibration:
  data: model/calib.jsonl
  samples: 8
  sequence_length: 128
END
inside 'awqc quantize recipe.yaml --quiet; awqc verify out --quiet; awqc plan /usr/share/awq/configs/mixtral-8x7b-awq.yaml --set model=model --set calibration.data=model/calib.jsonl >plan'
inside 'apt-get install -qy --no-install-recommends gcc libc6-dev pkg-config ./libawq-dev_*.deb >log 2>&1 || { tail log; exit 1; }
    gcc -std=c11 -DPLUGIN_DIR="\"$(pkg-config --variable=plugindir awq)\"" consumer.c $(pkg-config --cflags --libs awq) -o consumer
    ./consumer'
inside 'apt-get remove -qy awqc libawq libawq-dev >log 2>&1 || { tail log; exit 1; }
    ! ls -d /usr/lib/awq /usr/bin/awqc /usr/include/awq 2>/dev/null'
echo "the packages install, work, and go"
