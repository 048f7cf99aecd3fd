#!/usr/bin/env bash
# Installs a wheel into a clean environment, as `pip install topobench` does, and asks the README's first question of it.
#   usage: try_wheel.sh [DIR]    DIR holds the wheel
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=$(realpath "${1:-target/wheels}")
commit=$(git rev-parse --short=9 HEAD 2>/dev/null || true)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check --no-index --find-links "$wheels" topobench

# Nothing of this machine but the shell's own programs: no Rust, no checkout, an empty home.
cd "$place"
clean() { env -i HOME="$place" PATH="$place/venv/bin:/usr/bin:/bin" LANG=C.UTF-8 "$@"; }
version=$(clean topobench --version)
echo "$version"
case $version in *"$commit"*) ;; *) echo "error: --version does not name commit $commit" >&2; exit 1 ;; esac

clean python -c 'import topobench; from topobench import BenchmarkVisualizer; print(topobench.program())'

seconds=$SECONDS
# 4: a point is in doubt, which a busy machine may cause; everything is written all the same.
clean topobench ab simple nixl --engine sim --goodput ttft:300 tpot:8 --request-rate 4,8 --num-prompts 40 || [ $? = 4 ]
seconds=$((SECONDS - seconds))
for file in compare.json vllm_comparison_plots.pdf report.html; do
  ls results/comparisons/*/$file >/dev/null
done
clean python -c '
import topobench
rows = topobench.load("results")
assert len(rows) >= 4 and rows[0]["request_throughput"] > 0, rows
assert any(row["arm"] == "nixl" for row in topobench.load(__import__("glob").glob("results/comparisons/*")[0]))
print(len(rows), "rows in Python")
'
echo "asked and answered in $seconds s"
