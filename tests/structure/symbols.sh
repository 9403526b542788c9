#!/bin/sh
# symbols.sh ROOT LIBRARY: the library exports exactly the functions that the public headers declare
# with AWQ_API, and is not linked to what belongs to the program alone.
set -eu
root=$1
library=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# "AWQ_API const char *awq_version(void);" over any number of lines; the definition of AWQ_API in
# types.h is a line of its own that begins with #.
grep -hv '^[[:space:]]*#' "$root"/libawq/include/awq/*.h | tr '\n' ' ' | tr ';' '\n' |
    sed -n 's/.*AWQ_API[^(]*[^a-z0-9_]\(awq_[a-z0-9_]*\)[[:space:]]*(.*/\1/p' | sort >"$work/declared"
nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $NF); print $NF }' |
    sort >"$work/exported"

status=0
[ -s "$work/declared" ] || { echo "no function is declared with AWQ_API"; status=1; }
if ! diff -u "$work/declared" "$work/exported" >"$work/diff"; then
    echo "Declared in the headers (-) and exported by $library (+) differ:"
    sed 1,2d "$work/diff" | grep '^[-+]'
    status=1
fi
if grep -vE '^awq_[a-z0-9]' "$work/exported"; then
    echo "are exported, but do not begin with awq_ and a word"
    status=1
fi

needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
if echo "$needed" | grep -E 'yaml|cmocka|stdc\+\+'; then
    echo "is linked to the library"
    status=1
fi
readelf -d "$library" | grep -q '(SONAME).*\[libawq\.so\.' ||
    { echo "$library has no SONAME libawq.so.VERSION"; status=1; }
exit $status
