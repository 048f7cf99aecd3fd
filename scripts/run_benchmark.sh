#!/usr/bin/env bash
# One pair of lengths over a range of requests in flight, doubled from step to step.
#   usage: run_benchmark.sh [--single] [--input-len N] [--output-len N] [--min-concurrency N] [--max-concurrency N]
#                           [--num-prompts N|Nx] [FLAGS of `topobench simple`]
set -euo pipefail
single= input=1024 output=128 least=1 most=32 prompts=10x rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --single) single=1 ;;
    --input-len) input=$2; shift ;;
    --output-len) output=$2; shift ;;
    --min-concurrency) least=$2; shift ;;
    --max-concurrency) most=$2; shift ;;
    --num-prompts) prompts=$2; shift ;;
    -h | --help) sed -n '2,4s/^# *//p' "$0"; exit 0 ;;
    *) rest+=("$1") ;;
  esac
  shift
done
[ "$least" -ge 1 ] 2>/dev/null && [ "$most" -ge "$least" ] 2>/dev/null || [ -n "$single" ] || {
  echo "error: --min-concurrency $least and --max-concurrency $most are no range" >&2
  exit 2
}
levels=$least
if [ -z "$single" ]; then
  for ((n = least * 2; n <= most; n *= 2)); do levels+=,$n; done
fi
exec "${TOPOBENCH:-topobench}" simple --random-input-len "$input" --random-output-len "$output" \
  --concurrency "$levels" --num-prompts "$prompts" ${rest[@]+"${rest[@]}"}
