# Sourced by the scripts that install something large for tests: a Python environment in $dest, by uv, made once for the same
# inputs. Needs $dest; $PYTHON names the interpreter (python3.11).

python=${PYTHON:-python3.11}

say() { echo "[${SECONDS}s] $*"; }

# Ends the script if a program is missing.
need() { # TOOL..
  local tool
  for tool; do
    command -v "$tool" >/dev/null || { echo "error: $tool is not on PATH; install it and try again" >&2; exit 1; }
  done
}

# Ends the script if these inputs were installed already. The stamp names everything that went in: other inputs are always
# installed.
once() { # FILE..
  mkdir -p "$dest"
  stamp=$(cat "$@" | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$dest/stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "already installed in $dest"
    exit 0
  fi
}

# A fresh $dest/venv, and $uv to fill it.
make_venv() {
  uv=$dest/tool/bin/uv
  if [ ! -x "$uv" ]; then
    "$python" -m venv "$dest/tool"
    "$dest/tool/bin/pip" -q install uv==0.13.9
  fi
  export UV_CACHE_DIR=${UV_CACHE_DIR:-$dest/uv-cache}
  rm -rf "$dest/venv"
  "$uv" venv -q --python "$python" "$dest/venv"
}
