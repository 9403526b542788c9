#!/bin/sh
# length.sh ROOT: a source file is one idea; past 600 lines it is more than one, a test past 700.
set -eu
cd "$1"
find libawq plugins cli tests -name '*.[ch]' -exec wc -l {} + | awk '
$2 == "total" { next }
{
    count++
    limit = $2 ~ /^tests/ ? 700 : 600
}
$1 > limit { print $2 " has " $1 " lines, more than " limit; faults++ }
END { print count + 0 " files looked at"; exit faults > 0 || count == 0 }'
