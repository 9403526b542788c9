#!/bin/sh
# lint.sh BUILD_DIR: clang-tidy by .clang-tidy, and cppcheck, find nothing in library, program and
# plugins. BUILD_DIR is that of a configured dev preset, which need not be built. It takes minutes, and
# tools that building and testing do not need: .ci/run runs it, the tests do not.
set -eu
cd "$(dirname "$0")/../.."
build=$1
[ -e "$build/compile_commands.json" ] || { echo "lint.sh: no compile_commands.json in $build"; exit 1; }
for tool in clang-tidy cppcheck; do
    command -v $tool >/dev/null || { echo "lint.sh: $tool is not installed"; exit 1; }
done
jobs=$(nproc)
status=0

# The host's side of the CUDA plugin is there where its headers are.
cuda='plugins/cuda/*'
grep -q plugins/cuda "$build/compile_commands.json" && cuda=
files=$(find libawq/src cli plugins -name '*.c' ! -path plugins/template/template.c ! -path "$cuda" | sort)
[ -n "$files" ] || { echo "lint.sh: no sources"; exit 1; }
# What is left out of the output are counts of warnings in other people's headers.
echo "$files" | xargs -P "$jobs" -n 4 clang-tidy -p "$build" --quiet --warnings-as-errors='*' \
    >"$build/clang-tidy.txt" 2>"$build/clang-tidy.log" || status=1
grep -E 'warning:|error:' "$build/clang-tidy.txt" "$build/clang-tidy.log" | sort -u || true

# cppcheck does not know on its own which end of a number comes first, nor cJSON's loop.
cppcheck --project="$build/compile_commands.json" -i tests -j "$jobs" --quiet --inline-suppr \
    -D__BYTE_ORDER__=1234 -D__ORDER_LITTLE_ENDIAN__=1234 \
    '-DcJSON_ArrayForEach(item,array)=for(item=(array)?(array)->child:0;item;item=item->next)' \
    --enable=warning,performance,portability --error-exitcode=1 \
    --suppressions-list=tests/structure/cppcheck.txt \
    --template='{file}:{line}: {severity}: {message} [{id}]' || status=1

[ $status -eq 0 ] && echo "lint.sh: nothing found in $(echo "$files" | wc -l) files"
exit $status
