#!/usr/bin/env bash
# 1 to 200 prompts at once.    usage: run_scaling_bench_200.sh [FLAGS of `topobench sweep`]
set -euo pipefail
PRESET=${PRESET:-scaling-200} exec "$(dirname "$0")/run_scaling_bench.sh" "$@"
