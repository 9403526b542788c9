#!/bin/sh
# layers.sh ROOT: who may include whom.
#   libawq/src  a room includes itself, rooms below it, and public headers
#   plugins/    awq/plugin.h, and describe.h, which those that are built in share; cuda/
#               backend/device.h, which includes nothing of ours
#   cli/        its own headers and public ones
#   public      public headers alone, and plugin.h types.h alone
# A system header that ties a place to one library is allowed in that place alone.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$1
. "$here/rooms.sh"
cd "$root"

files=$(find libawq plugins cli -name '*.[ch]' | sort)
[ -n "$files" ] || { echo "layers.sh: no sources under $root"; exit 1; }

# shellcheck disable=SC2086 # a list of names without spaces
awk -f "$here/code.awk" $files | awk -v rooms="$rooms" '
function wrong(why)
{
    print where ": includes " name ", but " why
    faults++
}
BEGIN {
    split(rooms, list, " ")
    for (i in list) {
        split(list[i], pair, ":")
        floor_of[pair[1]] = pair[2]
    }
    home["yaml.h"] = "^cli/"
    home["xxhash.h"] = "^libawq/src/core/"
    home["openssl/evp.h"] = "^libawq/src/core/"
    home["openssl/crypto.h"] = "^libawq/src/core/"
    home["omp.h"] = "^libawq/src/core/"
    home["dlfcn.h"] = "^libawq/src/(arch|backend)/"
    home["pcre2.h"] = "^libawq/src/text/"
    home["cblas.h"] = "^libawq/src/(core|compute)/"
    home["backend/cpu.h"] = "^libawq/src/backend/"
}
{
    # FILE:LINE:text
    match($0, /^[^:]*:[0-9]*:/)
    where = substr($0, 1, RLENGTH - 1)
    text = substr($0, RLENGTH + 1)
    file = where
    sub(/:.*/, "", file)
}
text !~ /^[ \t]*#[ \t]*include/ { next }
{
    includes++
    name = text
    sub(/^[ \t]*#[ \t]*include[ \t]*/, "", name)
    sub(/[ \t]*$/, "", name)
    if (name !~ /^(<[^>]*>|"[^"]*")$/) {
        wrong("an include names its file")
        next
    }
    system_header = name ~ /^</
    target = substr(name, 2, length(name) - 2)
    public = target ~ /^awq\/[a-z_]*\.h$/
}
target ~ /\.\./ { wrong("a path may not climb") }
target in home && file !~ home[target] {
    wrong("that belongs to " home[target])
    next
}
system_header {
    if (public)
        wrong("our headers stand in quotes")
    next
}
file ~ /^libawq\/include\// {
    if (!public)
        wrong("a public header includes public headers alone")
    else if (file ~ /\/plugin\.h$/ && target != "awq/types.h")
        wrong("the ABI of plugins builds on awq/types.h alone")
    next
}
file ~ /^plugins\/cuda\// {
    if (target !~ /^(backend\/device|awq\/types|device|kernels|inside)\.h$/)
        wrong("a plugin of devices sees backend/device.h and awq/types.h alone")
    next
}
file ~ /^plugins\// {
    if (target != "awq/plugin.h" && target != "describe.h")
        wrong("a plugin sees awq/plugin.h alone")
    next
}
file ~ /^cli\// {
    if (!public && target ~ /\//)
        wrong("cli/ sees its own headers and public ones")
    next
}
public { next }
{
    room = file
    sub(/^libawq\/src\//, "", room)
    sub(/\/.*/, "", room)
    other = target
    sub(/\/.*/, "", other)
    if (!(room in floor_of))
        wrong(room " is not a room of the design")
    else if (target !~ /\// || !(other in floor_of))
        wrong("a private header is named ROOM/NAME.h")
    else if (other != room && floor_of[other] + 0 >= floor_of[room] + 0)
        wrong(other "/ is not below " room "/")
}
END {
    print includes + 0 " includes looked at, " faults + 0 " wrong"
    exit faults > 0 || includes == 0
}'
