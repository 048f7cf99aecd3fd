#!/usr/bin/env bash
# Prefill and decode instances through the sweep, then the figures.    usage: run_benchmark_and_plot_nixl.sh DATASET [FLAGS..]
# DATASET: random, sharegpt, custom, hf or timed_trace; FLAGS go to `topobench nixl`.
# Environment: NUM_PREFILL_INSTANCES NUM_DECODE_INSTANCES PREFILLER_TP_SIZE DECODER_TP_SIZE GPU_MEMORY_UTILIZATION
#              TTFT_SLO TPOT_SLO TARGET_ATTAINMENT
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
dataset=$1
shift
exec "${TOPOBENCH:-topobench}" nixl --dataset-name "$dataset" "$@"
