#!/usr/bin/env bash
# A grid on one deployment, with results and logs as older scripts left them.
#   usage: vllm_bench.sh COMBOS.YAML [--gpu-num N] [--dtype T] [--threshold "ttft:400 tpot:50"] [FLAGS of `topobench sweep`]
# bench_logs/<model>_tp<N>_dtype<T>_<time>/: <model>_vllm_result.json, client_log/, gpu_utilization_c.._in.._out../
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,4s/^# *//p' "$0" >&2; exit 2; }
gpus=1 dtype=auto model= rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --gpu-num) gpus=$2; shift ;;
    --dtype) dtype=$2; shift ;;
    --model) model=$2 rest+=(--model "$2"); shift ;;
    *) rest+=("$1") ;;
  esac
  shift
done
# A grid that names a server starts none.
own=(--tp "$gpus")
[ "$dtype" = auto ] || own+=("--engine-arg=--dtype=$dtype")
for word in ${rest[@]+"${rest[@]}"}; do
  case $word in
    --attach | --attach=*) own=() ;;
    *.yaml | *.yml) ! grep -q '^base_url:' "$word" 2>/dev/null || own=() ;;
  esac
done
name=$(basename "${model:-model}")
place=bench_logs/${name}_tp${gpus}_dtype${dtype}_$(date +%Y%m%d_%H%M%S)
exec "$(dirname "$0")/grid.sh" logs "$place" ${rest[@]+"${rest[@]}"} ${own[@]+"${own[@]}"}
