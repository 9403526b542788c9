#!/bin/sh
# documents.sh ROOT: what the documents point to is there, and .ci/run runs what README.md promises.
set -eu
cd "$1"
status=0

count=0
for document in $(find . -name build -prune -o -name '*.md' -print); do
    for target in $(grep -o '\](\([^)]*\))' "$document" | sed 's/^](//; s/)$//; s/#.*//'); do
        case $target in
        http://* | https://*) continue ;;
        esac
        count=$((count + 1))
        if [ ! -e "$(dirname "$document")/$target" ]; then
            echo "$document points to $target, which is not there"
            status=1
        fi
    done
done
echo "$count links looked at"
[ "$count" -gt 0 ] || status=1

command='sh third_party/install.sh && cmake --workflow --preset test'
for document in README.md .ci/run; do
    if ! grep -qF "$command" "$document"; then
        echo "$document does not have: $command"
        status=1
    fi
done
exit $status
