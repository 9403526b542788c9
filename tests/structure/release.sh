#!/bin/sh
# release.sh ROOT: a function that releases what a struct holds leaves no pointer to it behind, since
# its caller may release again: it frees the struct too, or clears it, or the member.
set -eu
cd "$1"
files=$(find libawq/src -name '*.c' | sort)
[ -n "$files" ] || { echo "release.sh: no sources under $1"; exit 1; }
# shellcheck disable=SC2086 # a list of names without spaces
awk '
/^(static )?void [a-z_]*(free|release|close|drop)[a-z_]*\([a-z_]+ \*[a-z_]+\)$/ && !/\(void/ {
    name = $0
    sub(/^.*\*/, "", name)
    sub(/\)$/, "", name)
    where = FILENAME ":" FNR ": " $0
    frees = 0
    leaves = 1
}
name == "" { next }
$0 ~ "(free|Delete)[a-z_]*\\(" name "->" { frees = 1 }
index($0, "*" name " = (") || index($0, "free(" name ")") || $0 ~ name "->.* = (NULL|-1|0);" {
    leaves = 0
}
/^}/ {
    count++
    if (frees && leaves) {
        print where ": leaves pointers to what it has released"
        faults++
    }
    name = ""
}
END {
    print count + 0 " functions looked at"
    exit faults > 0 || count == 0
}' $files
