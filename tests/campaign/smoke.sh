#!/bin/sh
# smoke.sh BUILD DATA PART...: a few events of each part of the campaign, so that it stays whole.
command -v python3 >/dev/null || exit 77 # skipped
build=$1 data=$2
shift 2
exec python3 "$(dirname "$0")/campaign.py" "$@" --count 4 --jobs 2 --recipes shards \
    --build "$build" --data "$data"
