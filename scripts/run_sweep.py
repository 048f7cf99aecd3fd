#!/usr/bin/env python3
"""A grid of lengths and loads.   run_sweep.py COMBOS.YAML [FLAGS of `topobench sweep`]"""
import os
import sys

program = os.environ.get("TOPOBENCH", "topobench")
os.execvp(program, [program, "sweep", *sys.argv[1:]])
