#!/bin/sh
# smoke.sh BUILD DATA: a few events of each part of the campaign, so that it stays whole.
command -v python3 >/dev/null || exit 77 # skipped
exec python3 "$(dirname "$0")/campaign.py" kills operations failures powercuts stacks allocations disk \
    inputs partials outputs --count 4 --jobs 2 --recipes shards --build "$1" --data "$2"
