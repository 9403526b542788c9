#!/bin/sh
# campaign.sh [-j JOBS] SECONDS OUTDIR [TARGET...]: runs ready-built fuzz targets, JOBS at a time (as
# many as there are processors), each alone on a core for so long. Lies in the folder of programs,
# corpora, dictionaries and libraries that `run.sh --pack` makes; needs no compiler and writes to
# OUTDIR alone: for each target a log, the corpus as it grew and what it found, and summary.md. Fails
# if anything was found.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

usage()
{
    sed -n '2,6s/^# //p' "$0" >&2
    exit 2
}

# The last number behind a word of libFuzzer's lines, or ?.
number_after()
{
    found=$(grep -a -o "$1 *[0-9][0-9]*" "$2" | tail -n 1 | grep -o '[0-9]*$' || true)
    echo "${found:-?}"
}

# A row of the summary.
row()
{
    log=$2/log
    executions=$(number_after 'stat::number_of_executed_units:' "$log")
    finding=none
    [ "$3" -eq 0 ] || finding=$(cd "$2" && ls finding-* 2>/dev/null | head -n 1 || true)
    echo "| $1 | $4 | $executions | $(number_after 'cov:' "$log") | $(number_after 'ft:' "$log") |" \
        "$(find "$2/corpus" -type f | wc -l) | ${finding:-see its log} |"
}

# Runs one target: SECONDS OUTDIR TARGET
run_one()
{
    work=$2/$3
    program=$(sed -n "s/^$3 \([^ ]*\) .*/\1/p" "$here/targets.txt")
    dictionary=$(sed -n "s/^$3 .* //p" "$here/targets.txt")
    [ -n "$program" ] || { echo "campaign.sh: there is no target $3" >&2; exit 2; }
    rm -rf "$work"
    mkdir -p "$work/corpus"
    cp "$here/corpus/$3"/* "$work/corpus/"
    base=/dev/shm
    [ -w "$base" ] || base=${TMPDIR:-/tmp}
    temporary=$(mktemp -d "$base/awq-fuzz.XXXXXX")
    begun=$(date +%s)
    status=0
    env TMPDIR="$temporary" OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 \
        LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
        ASAN_OPTIONS="strict_string_checks=1:detect_stack_use_after_return=1" \
        UBSAN_OPTIONS=print_stacktrace=1 \
        "$here/fuzz_$program" -max_total_time="$1" -print_final_stats=1 -timeout=25 -rss_limit_mb=4096 \
        -dict="$here/dict/$dictionary.dict" -artifact_prefix="$work/finding-" "$work/corpus" \
        >"$work/log" 2>&1 || status=$?
    rm -rf "$temporary"
    echo "$status" >"$work/status"
    row "$3" "$work" "$status" $(($(date +%s) - begun)) | tee "$work/row"
}

if [ "${1:-}" = --one ]; then
    run_one "$2" "$3" "$4"
    exit 0
fi
jobs=$(nproc)
if [ "${1:-}" = -j ]; then
    jobs=$2
    shift 2
fi
[ $# -ge 2 ] || usage
seconds=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
shift 2
targets=$*
[ -n "$targets" ] || targets=$(cut -d ' ' -f 1 "$here/targets.txt")

# shellcheck disable=SC2086 # a list of names without spaces
printf '%s\n' $targets | xargs -P "$jobs" -n 1 sh "$here/campaign.sh" --one "$seconds" "$out"
{
    echo '| target | seconds | executions | edges | features | inputs | finding |'
    echo '| --- | --- | --- | --- | --- | --- | --- |'
    for target in $targets; do
        cat "$out/$target/row"
    done
} >"$out/summary.md"
findings=0
for target in $targets; do
    [ "$(cat "$out/$target/status")" -eq 0 ] || findings=$((findings + 1))
done
echo "$out/summary.md: $findings of $(echo "$targets" | wc -w) targets found something"
[ "$findings" -eq 0 ]
