#!/usr/bin/env bash
# Builds the wheel for PyPI: the program alone, for every Linux with glibc 2.28 or newer.    usage: wheel.sh [DIR]
# zig links against that old glibc, whichever this machine has. It and maturin come from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/wheels}
tools=target/wheel-tools
[ -x $tools/bin/maturin ] || python3 -m venv $tools
$tools/bin/pip -q install --disable-pip-version-check 'maturin==1.16.0' 'ziglang==0.17.1'
rm -f "$out"/topobench-*.whl
PATH=$PWD/$tools/bin:$PATH $tools/bin/maturin build --release --locked --zig --compatibility manylinux_2_28 --out "$out"
ls -l "$out"/topobench-*.whl
