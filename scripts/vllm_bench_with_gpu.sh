#!/usr/bin/env bash
# As vllm_bench.sh: GPUs are sampled wherever topobench starts the engines.
exec "$(dirname "$0")/vllm_bench.sh" "$@"
