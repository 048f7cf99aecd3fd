#!/usr/bin/env python3
"""Files under the names that older scripts gave them, from a table of topobench.

old_files.py production|scaling TABLE DIR    input_1K_n1_<stamp>.json or scale_n5_<stamp>.json, one a point
old_files.py logs TABLE DIR                  <model>_vllm_result.json, client_log/ and gpu_utilization_c<c>_in<i>_out<o>/
"""
import csv
import json
import os
import shutil
import sys
import time


def rows(table):
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text):
    return float(text) if text else None


def whole(text):
    return str(round(float(text))) if text else "unknown"


def short(row):
    """What older scripts looked for, and every column beside it."""
    named = {
        "throughput": number(row["request_throughput"]),
        "mean_ttft_ms": number(row["mean_ttft_ms"]),
        "mean_tpot_ms": number(row["mean_tpot_ms"]),
        "mean_latency_ms": number(row["mean_e2el_ms"]),
    }
    return {**row, **named}


def write(path, value):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
    print(path)


def one_a_point(kind, table, place):
    stamp = time.strftime("%Y%m%d_%H%M%S")
    taken = set()
    for row in rows(table):
        level = row["concurrency"] or row["num_prompts"]
        size = f"{round(float(row['input_len']) / 1024)}K" if row["input_len"] and float(row["input_len"]) >= 1024 else whole(row["input_len"])
        name = f"input_{size}_n{level}_{stamp}" if kind == "production" else f"scale_n{level}_{stamp}"
        # Outputs of several lengths, several arms: a point must not take the place of another.
        number, first = 2, name
        while name in taken:
            name, number = f"{first}_{number}", number + 1
        taken.add(name)
        write(os.path.join(place, f"{name}.json"), short(row))


def gpu_figures(place, row, run):
    """Raw samples of the run's GPUs, and those taken under load; nothing where there are no GPUs."""
    raw = os.path.join(run, "gpu.csv")
    summary = os.path.join(run, "gpu_summary.csv")
    if not os.path.isfile(raw):
        return {}
    folder = f"gpu_utilization_c{row['concurrency'] or row['request_rate']}_in{whole(row['input_len'])}_out{whole(row['output_len'])}"
    os.makedirs(os.path.join(place, folder), exist_ok=True)
    shutil.copyfile(raw, os.path.join(place, folder, "raw.log"))
    if not os.path.isfile(summary):
        return {"gpu_log": folder}
    # The table has every point of the run; this folder is one point's.
    loads = {f"closed:{row['concurrency']}", row["request_rate"]}
    own = [line for line in rows(summary) if line["load"] in loads]
    with open(os.path.join(place, folder, "result.log"), "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(own[0]) if own else ["load"])
        table.writeheader()
        table.writerows(own)
    return {"gpu_log": folder, "gpus": own}


def logs(table, place):
    all_rows = rows(table)
    results = []
    for row in all_rows:
        run = row["run"]
        results.append({**short(row), **gpu_figures(place, row, run)})
        kept = os.path.join(run, "logs")
        if os.path.isdir(kept):
            shutil.copytree(kept, os.path.join(place, "client_log", os.path.basename(run)), dirs_exist_ok=True)
    model = os.path.basename((all_rows[0]["model"] or "model").rstrip("/")) if all_rows else "model"
    write(os.path.join(place, f"{model}_vllm_result.json"), results)


if len(sys.argv) != 4 or sys.argv[1] not in ("production", "scaling", "logs"):
    sys.exit(__doc__)
_, kind, table, place = sys.argv
logs(table, place) if kind == "logs" else one_a_point(kind, table, place)
