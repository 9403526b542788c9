#!/bin/sh
# run.sh [SECONDS] [TARGET...]: builds the fuzz targets with libFuzzer and runs each in turn on one
# core for so long (60 seconds), from a copy of its corpus. Fails if anything was found; that is kept.
# run.sh --pack DIR: builds them, and makes DIR a folder from which campaign.sh runs them on another
# machine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
built=$root/build/fuzz/tests/fuzz

refuse()
{
    echo "run.sh: $1" >&2
    exit 2
}

# What is missing, by the names of Debian's packages.
check_compiler()
{
    command -v clang >/dev/null || refuse "clang is missing: apt-get install clang"
    version=$(clang -dumpversion | cut -d . -f 1)
    work=$(mktemp -d)
    source='#include <stdint.h>
    #include <stddef.h>
    int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n) { (void)d; (void)n; return 0; }'
    echo "$source" | clang -fsanitize=fuzzer,address,undefined -x c - -o "$work/try" 2>/dev/null ||
        missing="libFuzzer and the sanitizers are missing: apt-get install libclang-rt-$version-dev"
    echo 'int main(void) { return 0; }' | clang -fopenmp -x c - -o "$work/try" 2>/dev/null ||
        missing="OpenMP for clang is missing: apt-get install libomp-dev"
    rm -rf "$work"
    [ -z "${missing:-}" ] || refuse "$missing"
}

build()
{
    check_compiler
    cd "$root"
    cmake --preset fuzz >"$root/build/fuzz.log" 2>&1 || { cat "$root/build/fuzz.log" >&2; exit 2; }
    cmake --build --preset fuzz >"$root/build/fuzz.log" 2>&1 ||
        { cat "$root/build/fuzz.log" >&2; exit 2; }
}

# The libraries of a program that are not the C library's own.
libraries_of()
{
    ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' |
        grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so'
}

pack()
{
    rm -rf "$1/corpus"
    mkdir -p "$1/dict" "$1/corpus" "$1/lib"
    cp "$here/campaign.sh" "$built/targets.txt" "$1/"
    while read -r target program dictionary; do
        cp "$built/fuzz_$program" "$1/"
        cp "$here/dict/$dictionary.dict" "$1/dict/"
        cp -r "$here/corpus/$target" "$1/corpus/"
        for library in $(libraries_of "$built/fuzz_$program"); do
            cp -L "$library" "$1/lib/"
        done
    done <"$built/targets.txt"
}

mkdir -p "$root/build"
if [ "${1:-}" = --pack ]; then
    [ $# -eq 2 ] || refuse "expected --pack DIR"
    mkdir -p "$2"
    folder=$(cd "$2" && pwd)
    build
    pack "$folder"
    du -sh "$folder"
    exit 0
fi
seconds=60
case ${1:-} in
[0-9]*)
    seconds=$1
    shift
    ;;
esac
build
pack "$root/build/fuzz/pack"
exec sh "$root/build/fuzz/pack/campaign.sh" -j 1 "$seconds" "$root/build/fuzz/findings" "$@"
