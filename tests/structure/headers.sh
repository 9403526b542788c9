#!/bin/sh
# headers.sh ROOT CC CXX: each public header compiles alone, as C11 and as C++17, without a warning,
# and brings in nothing but public headers and those of the standard. And the library compiles for
# little-endian processors alone.
set -eu
root=$1
cc=$2
cxx=$3
include=$root/libawq/include
warnings="-Wall -Wextra -Wpedantic -Werror"

status=0
fail()
{
    echo "$1"
    status=1
}

count=0
for path in "$include"/awq/*.h; do
    [ -e "$path" ] || break
    count=$((count + 1))
    header=awq/$(basename "$path")
    # Twice: it must also guard itself.
    source="#include \"$header\"
#include \"$header\"
int awq_header_was_read = AWQ_VERSION_MAJOR;"
    # shellcheck disable=SC2086 # a list of flags
    {
        echo "$source" | "$cc" -std=c11 $warnings -I"$include" -x c -fsyntax-only - ||
            fail "$header is not clean as C11"
        echo "$source" | "$cxx" -std=c++17 $warnings -I"$include" -x c++ -fsyntax-only - ||
            fail "$header is not clean as C++17"
    }
    grep -q 'extern "C"' "$path" || fail "$header lacks extern \"C\""
    outside=$(grep -E '^[[:space:]]*#[[:space:]]*include' "$path" |
        grep -vE '<(stdbool|stddef|stdint|inttypes|limits|float)\.h>|"awq/[a-z_]+\.h"' || true)
    [ -z "$outside" ] || fail "$header includes $outside"
done

# Files are read as they lie in memory: other processors are refused when this is compiled.
for order in LITTLE BIG; do
    compiled=no
    echo '#include "core/core.h"' |
        "$cc" -std=c11 -w -I"$include" -I"$root/libawq/src" -U__BYTE_ORDER__ \
            "-D__BYTE_ORDER__=__ORDER_${order}_ENDIAN__" -x c -fsyntax-only - 2>/dev/null &&
        compiled=yes
    case $order$compiled in
    LITTLEyes | BIGno) ;;
    *) fail "core/core.h on a processor that is $order-endian: compiled: $compiled" ;;
    esac
done
[ "$count" -gt 0 ] || fail "no public headers under $include"
echo "$count headers looked at"
exit $status
