#!/usr/bin/env python3
"""Figures of a table.   visualize.py [--csv FILE] [--throughput|--latency|--interactive|--report|--all] [--output DIR]"""
import os
import sys

words = sys.argv[1:]
if not any(word == "--csv" or word.startswith("--csv=") for word in words):
    words = ["--csv", "aggregate_results.csv", *words]
program = os.environ.get("TOPOBENCH", "topobench")
os.execvp(program, [program, "plot", *words])
