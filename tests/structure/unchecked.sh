#!/bin/sh
# unchecked.sh ROOT: no call is a statement of its own whose failure would be lost: neither of functions
# in our headers that return an awq_status (awq__fail records one, and may) nor of those of cJSON that
# allocate. (void) before a call says that it is meant.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
files=$(find libawq/src -name '*.[ch]' | sort)
headers=$(find libawq -name '*.h' | sort)
[ -n "$files" ] || { echo "unchecked.sh: no sources under $1"; exit 1; }

# awq__widen and awq__narrow fail for a dtype that is no float, which nobody gives them.
# shellcheck disable=SC2086 # a list of names without spaces
names=$(cat $headers | sed -n 's/^\(AWQ_API \)*awq_status \(awq_[a-z0-9_]*\)(.*/\2/p' | sort -u |
    grep -vxE 'awq__(fail|widen|narrow)' | tr '\n' '|')
# shellcheck disable=SC2086
awk -f "$here/code.awk" $files | awk -v names="^(${names}cJSON_(Add|Create|Insert|Replace|Set|Duplicate)[A-Za-z]*)\$" '
{
    match($0, /^[^:]*:[0-9]*:/)
    where = substr($0, 1, RLENGTH - 1)
    text = substr($0, RLENGTH + 1)
}
text ~ /^[ \t]*(#|$)/ { next }
{
    lines++
    # A statement begins here: behind one, behind a brace, or behind the condition of an if or a loop.
    begins = last ~ /[;{}:]$/ || last ~ /^[ \t]*else$/ || conditional
    conditional = text ~ /^[ \t]*(else )?(if|for|while) \(.*\)$/
    last = text
    sub(/[ \t]+$/, "", last)
    name = text
    sub(/^[ \t]+/, "", name)
    if (begins && text ~ /^[ \t]/ && match(name, /^[A-Za-z_][A-Za-z0-9_]*\(/)) {
        name = substr(name, 1, RLENGTH - 1)
        if (name ~ names) {
            print where ": what " name " returns is not looked at"
            faults++
        }
    }
}
END {
    print lines + 0 " lines looked at"
    exit faults > 0 || lines == 0
}'
