#!/bin/sh
# ladders.sh ROOT: steps that may fail are written in one way, AWQ__TRY and AWQ__CHECK of core/core.h: no
# step asks whether those before it went well, and no failure is passed on by hand.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
files=$(find libawq/src -name '*.[ch]' | sort)
[ -n "$files" ] || { echo "ladders.sh: no sources under $1"; exit 1; }

# shellcheck disable=SC2086 # a list of names without spaces
awk -f "$here/code.awk" $files | awk '
function wrong(why)
{
    print where ": " why
    faults++
}
{
    match($0, /^[^:]*:[0-9]*:/)
    where = substr($0, 1, RLENGTH - 1)
    text = substr($0, RLENGTH + 1)
}
text ~ /^[ \t]*(#|$)/ { next }
{
    lines++
    # One statement with the conditions before it, up to its end outside of brackets.
    gsub(/^[ \t]+|[ \t]+$/, "", text)
    statement = statement (statement == "" ? "" : " ") text
    depth += gsub(/\(/, "(", text) - gsub(/\)/, ")", text)
    if (depth > 0 || text !~ /[;{}:]$/)
        next
    if (statement ~ /if \(([^;]*[ (])?status == AWQ_OK[^;]*\) (status = |\{)/)
        wrong("a step under \"if (status == AWQ_OK)\", use AWQ__TRY")
    if (statement ~ /(for|while) \(.*status == AWQ_OK/)
        wrong("a loop that ends at a failure, use AWQ__TRY in it")
    if (statement ~ /status == AWQ_OK [^;]*\?[^;]*: status;|status != AWQ_OK \? status/)
        wrong("a choice between a step and a failure, use AWQ__CHECK before")
    if (statement ~ /if \(([^;]* \|\| )?status != AWQ_OK[^;]*\) return status;|\) != AWQ_OK\) return status;/)
        wrong("a failure that is passed on by hand, use AWQ__CHECK")
    statement = ""
    depth = 0
}
END {
    print lines + 0 " lines looked at"
    exit faults > 0 || lines == 0
}'
