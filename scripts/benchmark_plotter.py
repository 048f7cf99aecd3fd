#!/usr/bin/env python3
"""Figures of a run, or of two compared.   benchmark_plotter.py --result-dir RUN | --compare --simple-dir DIR --nixl-dir DIR"""
import os
import sys

words = sys.argv[1:]
if "--compare" in words:
    words.remove("--compare")
    command = ["compare", *words]
else:
    # `--result-dir RUN` named the run here; topobench's --result-dir is where runs are kept.
    command = ["plot", *(word[13:] if word.startswith("--result-dir=") else word for word in words if word != "--result-dir")]
program = os.environ.get("TOPOBENCH", "topobench")
os.execvp(program, [program, *command])
