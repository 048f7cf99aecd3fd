"""The program that this package comes with."""

import os
import shutil
import subprocess
import sys
from typing import List, Sequence


class TopobenchError(RuntimeError):
    """The program refused; its own words are the message."""


def program() -> str:
    """Where the program is: $TOPOBENCH, beside this Python, or on PATH."""
    named = os.environ.get("TOPOBENCH")
    if named:
        return named
    beside = os.path.join(os.path.dirname(sys.executable), "topobench")
    found = beside if os.access(beside, os.X_OK) else shutil.which("topobench")
    if found is None:
        raise TopobenchError("the program `topobench` is not on PATH\nhint: pip install topobench, or set TOPOBENCH")
    return found


def run(arguments: Sequence[str]) -> List[str]:
    """The lines that the program prints."""
    ended = subprocess.run([program(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        raise TopobenchError(ended.stderr.strip() or f"topobench ended with exit code {ended.returncode}")
    return ended.stdout.splitlines()
