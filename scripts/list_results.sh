#!/usr/bin/env bash
# History of runs, newest first.    usage: list_results.sh [FLAGS of `topobench list`]
set -euo pipefail
exec "${TOPOBENCH:-topobench}" list "$@"
