#!/usr/bin/env python3
"""Points of many runs as one table.   aggregate_result.py DIR.. [--output FILE]"""
import os
import sys

program = os.environ.get("TOPOBENCH", "topobench")
os.execvp(program, [program, "aggregate", *sys.argv[1:]])
