#!/usr/bin/env bash
# One deployment through the sweep, then its figures.    usage: run_benchmark_and_plot_simple.sh DATASET [FLAGS..]
# DATASET: random, sharegpt, custom, hf or timed_trace; FLAGS go to `topobench simple`.
# Environment: TENSOR_PARALLEL_SIZE GPU_MEMORY_UTILIZATION TTFT_SLO TPOT_SLO TARGET_ATTAINMENT
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
dataset=$1
shift
exec "${TOPOBENCH:-topobench}" simple --dataset-name "$dataset" "$@"
