#!/usr/bin/env bash
# 1 to 1000 prompts at once.    usage: run_scaling_bench.sh [FLAGS of `topobench sweep`]
# OUTPUT_DIR (scaling_results): scale_n5_<stamp>.json ..
set -euo pipefail
exec "$(dirname "$0")/grid.sh" scaling "${OUTPUT_DIR:-scaling_results}" --preset "${PRESET:-scaling}" "$@"
