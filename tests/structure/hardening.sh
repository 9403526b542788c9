#!/bin/sh
# hardening.sh ROOT BUILD_TYPE FILE...: what was built is hardened as cmake/hardening.cmake says. The
# first FILE is the program, others are shared objects. Debug builds check no sizes of buffers.
set -eu
build_type=$2
shift 2
program=$1
status=0

fault() {
    echo "$1: $2"
    status=1
}

for file in "$@"; do
    dynamic=$(readelf -dW "$file")
    segments=$(readelf -lW "$file")
    [ -n "$dynamic" ] && [ -n "$segments" ] || { echo "hardening.sh: $file: no ELF file"; exit 1; }
    echo "$dynamic" | grep -q 'BIND_NOW\|FLAGS_1.* NOW' || fault "$file" "binds symbols lazily"
    echo "$segments" | grep -q GNU_RELRO || fault "$file" "has no read-only relocations"
    echo "$segments" | grep 'GNU_STACK' | grep -q 'RW ' || fault "$file" "has an executable stack"
    # A plugin may have no arrays and call nothing that is checked.
    case $file in
    *awq-arch-*) continue ;;
    esac
    imported=$(nm -D --undefined-only "$file")
    echo "$imported" | grep -q '__stack_chk_fail' || fault "$file" "has no stack protector"
    if [ "$build_type" != Debug ]; then
        echo "$imported" | grep -q '__[a-z]*_chk\(@\|$\)' || fault "$file" "checks no buffer sizes"
    fi
done
readelf -hW "$program" | grep -q 'Type: *DYN' || fault "$program" "is not position-independent"
readelf -dW "$program" | grep -q 'FLAGS_1.* PIE' || fault "$program" "is not marked PIE"
exit $status
