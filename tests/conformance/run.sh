#!/bin/sh
# run.sh BUILD_DIR: what awqc writes and how libawq tokenizes, beside other people's readers. Makes
# a virtual environment in BUILD_DIR at first. Ends with how many checks passed.
set -eu
[ $# -eq 1 ] || { echo "usage: run.sh BUILD_DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
environment=$build/conformance-venv
# Threads that wait leave the cores to others.
export OMP_WAIT_POLICY=passive

for program in bin/awqc tests/conformance/dump_weights tests/conformance/gguf_tensors \
        tests/conformance/tokenize; do
    [ -x "$build/$program" ] || { echo "run.sh: $build/$program is not built" >&2; exit 1; }
done

# Whole, and of these versions?
if ! cmp -s "$here/requirements.txt" "$environment/requirements.txt"; then
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo "run.sh: python3 cannot make virtual environments; on Debian and Ubuntu:" >&2
        echo "    apt-get install --no-install-recommends python3-venv" >&2
        exit 1
    fi
    python3 -m venv --clear "$environment"
    # Without what they ask for: tokenizers wants a hub's client, which only downloads use.
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$environment/requirements.txt"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
run()
{
    echo "== $*"
    # -B: the source tree stays as it is.
    if ! "$environment/bin/python" -B "$here/$1" "$build" ${2:+"$2"} >"$log" 2>&1; then
        status=1
    fi
    cat "$log"
    counted=$(sed -n 's/^[a-z-]*: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
    # What broke down before it could count is a failure too.
    [ -n "$counted" ] || { counted="0 1"; status=1; }
    passed=$((passed + ${counted% *}))
    failed=$((failed + ${counted#* }))
}

passed=0 failed=0
run formats.py
run formats.py --self-test
run tokens.py
run gguf_files.py
echo "$passed passed, $failed failed"
exit $status
