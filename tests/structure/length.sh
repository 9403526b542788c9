#!/bin/sh
# length.sh ROOT: a source file is one idea; past 700 lines it is more than one.
set -eu
limit=700
cd "$1"
find libawq plugins cli tests -name '*.[ch]' -exec wc -l {} + | awk -v limit=$limit '
$2 == "total" { next }
{ count++ }
$1 > limit { print $2 " has " $1 " lines, more than " limit; faults++ }
END { print count + 0 " files looked at"; exit faults > 0 || count == 0 }'
