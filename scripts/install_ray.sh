#!/usr/bin/env bash
# Installs Ray with Ray Serve, so that the tests can measure a real Serve application. Everything comes from PyPI, pinned in
# scripts/ray/requirements.lock; nothing is installed outside the given directory.
#
#   scripts/install_ray.sh [DIR]        default: ${XDG_CACHE_HOME:-~/.cache}/topobench-ray
#
# Needs Python 3.11 with venv; about 400 MB of disk and a minute. Then:
#
#   TOPOBENCH_REAL_RAY=DIR cargo test --test ray
set -euo pipefail
lock=$(cd "$(dirname "$0")/ray" && pwd)/requirements.lock
dest=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/topobench-ray}
. "$(dirname "$0")/python_venv.sh"

need "$python"
once "$0" "$(dirname "$0")/python_venv.sh" "$lock"
make_venv
# Every worker of Ray's imports much of it: compiled once, a replica starts in seconds and not in half a minute.
"$uv" pip install -q --python "$dest/venv/bin/python" --no-deps --compile-bytecode -r "$lock"
"$dest/venv/bin/python" -c 'import ray.serve; print("ray", ray.__version__)'
echo "$stamp" >"$dest/stamp"
say "done: $(du -sh "$dest/venv" | cut -f1) in $dest"
