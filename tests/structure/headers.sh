#!/bin/sh
# headers.sh ROOT CC CXX: each public header compiles alone, as C11 and as C++17, without a warning,
# and brings in nothing but public headers and those of the standard.
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
[ "$count" -gt 0 ] || fail "no public headers under $include"
echo "$count headers looked at"
exit $status
