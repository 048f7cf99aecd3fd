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
python=${PYTHON:-python3.11}

command -v "$python" >/dev/null || { echo "error: $python is not on PATH; install it and try again" >&2; exit 1; }
mkdir -p "$dest"

# The stamp names everything that went in: the same inputs are never installed twice, other inputs always are.
stamp=$(cat "$0" "$lock" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$dest/stamp" 2>/dev/null)" = "$stamp" ]; then
  echo "already installed in $dest"
  exit 0
fi

say() { echo "[${SECONDS}s] $*"; }
uv=$dest/tool/bin/uv
if [ ! -x "$uv" ]; then
  "$python" -m venv "$dest/tool"
  "$dest/tool/bin/pip" -q install uv==0.13.9
fi
export UV_CACHE_DIR=${UV_CACHE_DIR:-$dest/uv-cache}
rm -rf "$dest/venv"
"$uv" venv -q --python "$python" "$dest/venv"
# Every worker of Ray's imports much of it: compiled once, a replica starts in seconds and not in half a minute.
"$uv" pip install -q --python "$dest/venv/bin/python" --no-deps --compile-bytecode -r "$lock"
"$dest/venv/bin/python" -c 'import ray.serve; print("ray", ray.__version__)'
echo "$stamp" >"$dest/stamp"
say "done: $(du -sh "$dest/venv" | cut -f1) in $dest"
