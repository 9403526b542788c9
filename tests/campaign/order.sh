#!/bin/sh
# order.sh BUILD DATA: whole runs are watched, and what a power cut after each of their file
# operations may leave is checked (powercut.c), then gone on from.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
data=$2
tools=$build/tests/campaign
export AWQ_PLUGIN_PATH="$build/lib/awq" OMP_WAIT_POLICY=passive
work=$(mktemp -d "${TMPDIR:-/tmp}/awq-order.XXXXXX")
trap 'rm -rf "$work"' EXIT
# The libraries that watch come before AddressSanitizer's.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"
cd "$work"
. "$here/model.sh"
make_mini "$build" "$data" 32

fail() {
    echo "FAILED: $*"
    exit 1
}

# watched LOG COMMAND...: what the command does in ./disk is logged.
watched() {
    log=$1
    shift
    LD_PRELOAD="$tools/preload_files.so" FILES_ROOT=disk FILES_LOG="$log" "$@" >out.txt 2>err.txt
}

# recorded NAME OUTPUT COMMAND...: ./disk before the command is kept in NAME.before, and every state
# of it is checked.
recorded() {
    name=$1 output=$2
    shift 2
    cp -r disk "$name.before"
    watched "$name.log" "$@" || fail "$name: $(cat err.txt)"
    "$tools/powercut" check "$name.before" "$name.log" disk "$output" >verdict.txt ||
        fail "$name: $(tail -20 verdict.txt)"
    echo "$name: $(cat verdict.txt)"
}


# gone_on NAME EVERY OPTION...: from the states of a recorded run, one operation in EVERY, the same
# command comes to the same result.
gone_on() {
    name=$1 every=$2
    shift 2
    operations=$("$tools/powercut" count "$name.before" "$name.log")
    states=0 at=1
    while [ "$at" -le "$operations" ]; do
        rm -rf disk
        "$tools/powercut" state "$name.before" "$name.log" "$at" $((at % 12)) disk
        if ! "$build/bin/awqc" quantize recipe.yaml "$@" >out.txt 2>err.txt; then
            # A cut after the commit leaves what needs no more work.
            diff -r whole disk/out >/dev/null || fail "$name, operation $at: $(cat err.txt)"
        fi
        diff -r whole disk/out || fail "$name, operation $at: another result"
        [ ! -e disk/out.partial ] && [ ! -e disk/out.replaced ] || fail "$name, operation $at: left"
        states=$((states + 1)) at=$((at + every))
    done
    echo "$name: gone on from $states states"
}

# A writer that makes nothing durable before the commit.
mkdir disk
recorded write out "$tools/write_output" disk/out

# A new result, in directories that are not there yet.
rm -rf disk && mkdir disk
recorded parents a/b/out "$build/bin/awqc" quantize recipe.yaml --set output=disk/a/b/out
rm -rf disk && mkdir disk
recorded new out "$build/bin/awqc" quantize recipe.yaml
cp -r disk/out whole

# One that goes on after two kills, the second in what went on after the first.
rm -rf disk && mkdir disk
FILES_KILL=$(($("$tools/powercut" count new.before new.log) / 2))
export FILES_KILL
for log in killed.log again.log; do
    watched "$log" "$build/bin/awqc" quantize recipe.yaml && fail "was not killed"
    [ -f disk/out.partial/awq_journal.json ] || fail "$log: a killed run kept nothing"
done
unset FILES_KILL
recorded resumed out "$build/bin/awqc" quantize recipe.yaml
diff -r whole disk/out || fail "a resumed run has another result"

# One that replaces another.
"$build/bin/awqc" quantize recipe.yaml --force --set calibration.samples=1 >out.txt 2>err.txt
recorded replaced out "$build/bin/awqc" quantize recipe.yaml --force

gone_on new 17
gone_on replaced 17 --force
