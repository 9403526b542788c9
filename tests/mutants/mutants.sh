#!/bin/sh
# mutants.sh WORK [NAME]: do the tests see when the code is wrong?
#
# Each line of mutants.txt is a fault: its name, the file or directory that has it, a sed expression
# that makes it, and the tests that are to fail then, with @ between them. The tree is copied to WORK
# and built there; a fault is put in, those tests are built and run, and the fault is taken out. With
# NAME, only the faults whose name has it are tried. By hand, since it takes a quarter of an hour:
#
#     sh tests/mutants/mutants.sh /tmp/mutants
#
# It fails if a fault is not seen, or changes nothing any more.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$1 only=${2:-}
tree=$1/tree build=$1/build
missed=0 count=0
export OMP_WAIT_POLICY=passive

rm -rf "$tree" "$build" && mkdir -p "$tree"
git -C "$root" ls-files -co --exclude-standard | tar -C "$root" -cT - | tar -C "$tree" -x
cmake -S "$tree" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >"$work/log"

# What must be built to run a test.
targets_of() {
    case $1 in
    unit.* | golden.*) echo "${1%%.*}-test_${1#*.}" awq_plugins awq_bad_plugins ;;
    promises.*) echo awqc awq_plugins preload_files preload_memory powercut write_output ;;
    *) echo all ;;
    esac
}

# Says which of the tests fails first, or nothing.
killer() {
    for test in "$@"; do
        # shellcheck disable=SC2046
        cmake --build "$build" --target $(targets_of "$test") >"$work/log" 2>&1 || {
            echo "the compiler"
            return
        }
        ctest --test-dir "$build" --timeout 300 -R "^$test\$" --no-tests=error >"$work/log" 2>&1 || {
            echo "$test"
            return
        }
    done
}

# Puts a fault in; `changed` are the files that have it.
put_in() {
    changed=
    find "$1" -name '*.[ch]' >"$work/files"
    while read -r file; do
        sed "$2" "$file" >"$work/file"
        cmp -s "$work/file" "$file" && continue
        mv "$file" "$file.kept"
        cp "$work/file" "$file"
        changed="$changed $file"
    done <"$work/files"
}

take_out() {
    for file in $changed; do
        mv "$file.kept" "$file"
        touch "$file"
    done
}

while IFS='@' read -r name where expression tests; do
    name=${name% } where=${where# }
    case $name in '' | '#'*) continue ;; *"$only"*) ;; *) continue ;; esac
    count=$((count + 1))
    put_in "$tree/${where% }" "$expression"
    found=
    # shellcheck disable=SC2086
    [ -z "$changed" ] || found=$(killer $tests </dev/null)
    case ${changed:+there}:$found in
    :*) echo "$name: changes nothing" ;;
    there:) echo "$name: NOT SEEN" ;;
    "there:the compiler") echo "$name: does not compile" ;;
    *) echo "$name: seen by $found" && missed=$((missed - 1)) ;;
    esac
    missed=$((missed + 1))
    take_out
done <"$here/mutants.txt"
echo "$count faults, of which $missed were not seen"
[ "$count" -gt 0 ] && [ "$missed" -eq 0 ]
