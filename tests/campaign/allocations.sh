#!/bin/sh
# allocations.sh BUILD DATA COUNT: a whole run, again and again, in which one allocation fails, or all
# from one on: COUNT of them, spread over the run. campaign.py does all of them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1 data=$2 count=$3
export AWQ_PLUGIN_PATH="$build/lib/awq" OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1
work=$(mktemp -d "${TMPDIR:-/tmp}/awq-allocations.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
. "$here/model.sh"
make_mini "$build" "$data" 64

fail() {
    echo "FAILED: $*"
    exit 1
}

quantize() {
    code=0
    timeout 100 env LD_PRELOAD="$build/tests/campaign/preload_memory.so" "$@" "$build/bin/awqc" \
        quantize recipe.yaml --threads 1 --quiet >out.txt 2>err.txt || code=$?
}

quantize MEMORY_COUNT=count
[ $code = 0 ] || fail "$(cat err.txt)"
mv disk/out whole
allocations=$(cat count)

# failing FIRST LAST: the run ends in memory shortage, or with the right result; and goes on.
failing() {
    rm -rf disk
    quantize "MEMORY_FAIL=$1" "MEMORY_LAST=$2"
    what="allocations $1 to $2 of $allocations fail: exit code $code, $(cat err.txt)"
    if [ $code = 0 ]; then # what it could not remove then, the next run does
        diff -r -x '.awq-*' -x awq_journal.json whole disk/out || fail "$what: another result"
    else
        [ $code = 1 ] || fail "$what"
        grep -Eq 'out of memory|has no memory|no more memory|Cannot allocate memory' err.txt || fail "$what"
        [ ! -e disk/out ] || fail "$what: a result is there"
        "$build/bin/awqc" quantize recipe.yaml >out.txt 2>err.txt || fail "$what, then $(cat err.txt)"
        diff -r whole disk/out || fail "$what, then another result"
    fi
}

i=0
while [ $i -lt "$count" ]; do
    first=$((1 + i * (allocations - 1) / (count - 1)))
    failing $first $first
    failing $first 0
    i=$((i + 1))
done
echo "$allocations allocations; $count times one failed, and all from there on: as they should"
