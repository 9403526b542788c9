#!/bin/sh
# mutants.sh ROOT: each fault of tests/mutants/mutants.txt changes the code that it names.
set -eu
root=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/awq-mutants.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$root"
count=0 wrong=0
while IFS='@' read -r name where expression _; do
    name=${name% } where=${where# }
    case $name in '' | '#'*) continue ;; esac
    count=$((count + 1))
    find "${where% }" -name '*.[ch]' -exec cat {} + >"$work/as_it_is"
    sed "$expression" "$work/as_it_is" >"$work/with_it"
    cmp -s "$work/as_it_is" "$work/with_it" || continue
    echo "$name: changes nothing in ${where% }"
    wrong=$((wrong + 1))
done <tests/mutants/mutants.txt
echo "$count faults looked at, $wrong wrong"
[ "$count" -gt 0 ] && [ "$wrong" -eq 0 ]
