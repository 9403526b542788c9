#!/bin/sh
# Runs one case: run.sh CASE_FILE AWQC PLUGIN_DIR SOURCE_DIR
# A case runs in an empty directory of its own, with the functions below, and fails at the first
# expectation that does not hold.
case_file=$1 awqc=$2 plugins=$3 source=$4
data=$source/tests/data/mixtral-tiny
export AWQ_PLUGIN_PATH="$plugins"
unset LC_ALL LANG LD_LIBRARY_PATH

top=$(mktemp -d "${TMPDIR:-/tmp}/awqc-test.XXXXXX") || exit 1
trap 'rm -rf "$top"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$top/work" && cd "$top/work" || exit 1

fail() {
    echo "FAILED: $*"
    echo "command: awqc $command"
    echo "exit code: $code"
    echo "--- standard output"; cat "$top/out"
    echo "--- standard error"; cat "$top/err"
    exit 1
}

# Runs awqc and keeps its exit code and what it printed.
run() {
    command=$*
    "$awqc" "$@" >"$top/out" 2>"$top/err" </dev/null
    code=$?
}

# expect CODE ARGUMENT...: runs awqc and compares the exit code.
expect() {
    wanted=$1
    shift
    run "$@"
    [ "$code" = "$wanted" ] || fail "expected exit code $wanted"
}

# The whole of standard error, or of standard output.
err_is() { [ "$(cat "$top/err")" = "$1" ] || fail "expected standard error: $1"; }
out_is() { [ "$(cat "$top/out")" = "$1" ] || fail "expected standard output: $1"; }
# A part of a line; a basic regular expression that matches a line.
err_has() { grep -qF -e "$1" "$top/err" || fail "expected in standard error: $1"; }
out_has() { grep -qF -e "$1" "$top/out" || fail "expected in standard output: $1"; }
err_like() { grep -q -e "$1" "$top/err" || fail "expected like standard error: $1"; }
out_like() { grep -q -e "$1" "$top/out" || fail "expected like standard output: $1"; }

# The whole of standard output is as in expected/FILE, where DATA stands for the data directory, but for
# what depends on the machine.
out_as() {
    sed "s|$data|DATA|g; /^peak memory /d; /^time  /d; /^assumed /d; /^  *weights read at /d
         /^  \"estimate\": /d" "$top/out" | diff "$source/tests/cli/expected/$1" - >"$top/diff" 2>&1 ||
        fail "expected as in expected/$1: $(cat "$top/diff")"
}

# refused MESSAGE ARGUMENT...: a usage error with this message, after which no file is new.
refused() {
    message=$1
    shift
    before=$(find . | sort)
    expect 2 "$@"
    err_is "awqc: error: $message"
    out_is ""
    [ "$(find . | sort)" = "$before" ] || fail "a usage error changed the directory"
}

# A recipe for the small model with few samples in recipe.yaml, its output in ./out. It names an
# engine, so that nothing is said of others.
write_recipe() {
    cat >recipe.yaml <<END
model: $data
output: out
engine: vllm
calibration:
  data: $data/calib.jsonl
  samples: 4
  sequence_length: 128
quantize:
  ratio_steps: 4
END
}

code=none command=none
touch "$top/out" "$top/err"
# shellcheck disable=SC1090 # any case
. "$case_file"
