#!/usr/bin/env bash
# 1K to 96K tokens in, 1 to 20 in flight, 500 out.    usage: run_production_bench.sh [FLAGS of `topobench sweep`]
# OUTPUT_DIR (production_results): input_1K_n1_<stamp>.json ..
set -euo pipefail
exec "$(dirname "$0")/grid.sh" production "${OUTPUT_DIR:-production_results}" --preset "${PRESET:-production}" "$@"
