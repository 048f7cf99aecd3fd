#!/usr/bin/env python3
"""Builds stub libraries for the NVIDIA libraries that torch's CUDA build is linked against.

usage: cuda_stubs.py TORCH_LIB_DIR

With them torch imports on a machine without a GPU, without some 2 GB of nvidia-* wheels. Every stub function returns
35 (cudaErrorInsufficientDriver), which is what the real runtime answers where there is no driver.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile

MARK = "__topobench_stub"
# Libraries whose symbols carry no version: they are told by their prefix.
PREFIX = {
    "libnccl.so.2": "nccl",
    "libcufile.so.0": "cuFile",
    "libcusparseLt.so.0": "cusparseLt",
    "libcurand.so.10": "curand",
    "libnvshmem_host.so.3": "nvshmem",
}
# A version name that isn't the library's own.
OWNER = {"NVSHMEM": "libnvshmem_host.so.3"}


def readelf(*args):
    return subprocess.run(["readelf", "-W", *args], capture_output=True, text=True, check=True).stdout


def wanted(lib):
    """The libraries that torch needs, and its undefined symbols with their version names."""
    needed, undefined = set(), {}
    for path in glob.glob(lib + "/*.so") + glob.glob(os.path.join(lib, "..", "_C*.so")):
        if os.path.basename(path) == "libcaffe2_nvrtc.so":
            continue
        needed |= set(re.findall(r"\(NEEDED\).*\[(.*?)\]", readelf("-d", path)))
        for line in readelf("--dyn-syms", path).splitlines():
            parts = line.split()
            if len(parts) >= 8 and parts[6] == "UND":
                name, _, version = parts[7].partition("@")
                undefined.setdefault(name, version.lstrip("@"))
    return needed, undefined


def is_missing(lib, name):
    path = os.path.join(lib, name)
    if not os.path.exists(path):
        return True
    with open(path, "rb") as file:
        return MARK.encode() in file.read(1 << 20)


def belongs(symbol, version, library):
    if version:
        return version == library or OWNER.get(version) == library
    return library in PREFIX and re.match(PREFIX[library] + r"[A-Z_]", symbol)


def build(lib, library, undefined):
    names = sorted(n for n, v in undefined.items() if belongs(n, v, library))
    source = f"int {MARK}(void){{return 35;}}\n"
    for name in names:
        if name == "cudaGetErrorString":
            source += 'const char*cudaGetErrorString(int e){return "no CUDA device (stub)";}\n'
        else:
            source += f"int {name}(void){{return 35;}}\n"
    versions = {}
    for name in names:
        versions.setdefault(undefined[name], []).append(name)
    versions.pop("", None)
    with tempfile.TemporaryDirectory() as scratch:
        code, script = os.path.join(scratch, "stub.c"), os.path.join(scratch, "stub.map")
        with open(code, "w") as file:
            file.write(source)
        # The loader insists on the version names that torch's libraries were linked with.
        with open(script, "w") as file:
            for version, symbols in (versions or {library: [MARK]}).items():
                file.write(version + " { global: " + "; ".join(symbols) + "; };\n")
        command = ["cc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin", f"-Wl,-soname,{library}"]
        command += [f"-Wl,--version-script={script}", "-o", os.path.join(lib, library), code]
        subprocess.run(command, check=True)
    return len(names)


def main():
    lib = os.path.abspath(sys.argv[1])
    needed, undefined = wanted(lib)
    missing = sorted(n for n in needed if re.match(r"lib(cu|nccl|nv)", n) and is_missing(lib, n))
    total = sum(build(lib, library, undefined) for library in missing)
    print(f"{len(missing)} stub libraries with {total} symbols")


main()
