#!/usr/bin/env bash
# What the other grid scripts share: a grid, then files under their old names.    usage: grid.sh KIND OUTPUT SWEEP-WORDS..
# KIND: production, scaling or logs, as old_files.py has it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kind=$1 output=$2
shift 2
said=$(mktemp)
trap 'rm -f "$said"' EXIT
code=0
"${TOPOBENCH:-topobench}" sweep "$@" | tee "$said" || code=$?
table=$(sed -n 's/^table: //p' "$said")
# A point in doubt (4) or below the gate (5) is measured all the same.
[ -n "$table" ] || exit "$code"
python3 "$here/old_files.py" "$kind" "$table" "$output"
exit "$code"
