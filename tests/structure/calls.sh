#!/bin/sh
# calls.sh ROOT [LIBRARY]: the library ends no process, prints nothing, and reads or changes nothing
# that belongs to the whole process (environment, signals, locale, directory, standard streams). It
# maps no file: one that shrinks would end the process.
# The sources are read, and the symbols that the built library imports.
# A recipe is seen by the rooms plan/ and run/ alone: all others have its settings.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$1
library=${2:-}
cd "$root"

calls="abort|exit|_exit|_Exit|quick_exit|atexit|assert|raise|kill|longjmp|setjmp|system|popen|fork"
calls="$calls|printf|vprintf|puts|putchar|perror|psignal|syslog|err|errx|warn|warnx|error"
calls="$calls|getenv|secure_getenv|setenv|unsetenv|putenv|setlocale|chdir"
calls="$calls|mmap|mmap64|signal|sigaction|sigprocmask|rand|srand|random|srandom"
streams="stdin|stdout|stderr|environ"

files=$(find libawq/src -name '*.[ch]' | sort)
[ -n "$files" ] || { echo "calls.sh: no sources under $root"; exit 1; }
status=0

# shellcheck disable=SC2086 # a list of names without spaces
found=$(awk -f "$here/code.awk" $files |
    grep -E "(^|[^A-Za-z0-9_.>])(($calls)[[:space:]]*\(|($streams)([^A-Za-z0-9_]|\$))" || true)
if [ -n "$found" ]; then
    echo "Forbidden in the library:"
    echo "$found"
    status=1
fi

# shellcheck disable=SC2086 # a list of names without spaces
found=$(awk -f "$here/code.awk" $files | grep -vE '^libawq/src/(plan|run)/' |
    grep -E "awq_recipe|awq__recipe" || true)
if [ -n "$found" ]; then
    echo "Recipes are for plan/ and run/; below them are awq__settings:"
    echo "$found"
    status=1
fi

if [ -n "$library" ]; then
    imported=$(nm -D --undefined-only "$library" | awk '{ sub(/@.*/, "", $NF); print $NF }')
    [ -n "$imported" ] || { echo "calls.sh: $library imports nothing"; exit 1; }
    calls="$calls|__assert_fail|__(v?printf|longjmp)_chk|__printf_chk|secure_getenv"
    # A sanitizer's or a profiler's own imports begin with __ and are no match.
    found=$(echo "$imported" | grep -xE "$calls|$streams" || true)
    if [ -n "$found" ]; then
        echo "$library imports:"
        echo "$found"
        status=1
    fi
fi
exit $status
