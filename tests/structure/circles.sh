#!/bin/sh
# circles.sh OBJECT...: object files take symbols from one another without a circle, and those of a
# room of libawq/src from their own and from lower rooms alone. layers.sh sees what is included; a
# public function needs no include of the room where it lives.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/rooms.sh"

[ $# -gt 0 ] || { echo "circles.sh: no objects"; exit 1; }
nm -A "$@" | awk -v rooms="$rooms" '
# "PATH/src/core/alloc.c.o:0123 T awq__alloc"
function file_of(object)
{
    sub(/\.c\.o:.*/, "", object)
    sub(/.*\/src\//, "", object)
    sub(/.*\/awqc\.dir\//, "cli/", object)
    return object
}
function room_of(file)
{
    sub(/\/.*/, "", file)
    return file
}
function is_up(from, to,    a, b)
{
    a = room_of(from)
    b = room_of(to)
    return a != b && a in floor_of && floor_of[b] + 0 >= floor_of[a] + 0
}
# Takes away files that use no other or that no other uses, until only circles are left, and what
# lies between them.
function open_circles(    pair, part, uses, used, gone)
{
    do {
        gone = 0
        delete uses
        delete used
        for (pair in edge) {
            split(pair, part, SUBSEP)
            uses[part[1]] = used[part[2]] = 1
        }
        for (pair in edge) {
            split(pair, part, SUBSEP)
            if (!(part[1] in used) || !(part[2] in uses)) {
                delete edge[pair]
                gone = 1
            }
        }
    } while (gone)
}
BEGIN {
    count = split(rooms, list, " ")
    for (i = 1; i <= count; i++) {
        split(list[i], part, ":")
        floor_of[part[1]] = part[2]
    }
}
{
    file = file_of($0)
    files += !(file in seen)
    seen[file] = 1
}
$(NF - 1) ~ /^[TDRBVWC]$/ { home[$NF] = file }
$(NF - 1) == "U" { wants[file, $NF] = 1 }
END {
    for (pair in wants) {
        split(pair, part, SUBSEP)
        from = part[1]
        if (!(part[2] in home) || home[part[2]] == from)
            continue
        to = home[part[2]]
        edge[from, to] = edge[from, to] " " part[2]
        if (is_up(from, to)) {
            print from " uses " part[2] " of " to ", which is not below it"
            faults++
        }
    }
    open_circles()
    for (pair in edge) {
        split(pair, part, SUBSEP)
        print "in a circle: " part[1] " uses" edge[pair] " of " part[2]
        faults++
    }
    print files + 0 " objects looked at, " faults + 0 " wrong"
    exit faults > 0 || files == 0
}'
