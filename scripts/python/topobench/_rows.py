"""Results as plain rows: a list of dicts, which pandas and polars take as they are."""

import csv
import json
import os
import tempfile
from typing import Any, Dict, List, Union

from ._program import run

Row = Dict[str, Any]


def load(place: Union[str, "os.PathLike[str]"]) -> List[Row]:
    """One row a point of a run, of a tree of runs, of a comparison, or of an aggregate CSV.

    Columns are those of `topobench aggregate --columns`; what nobody had is None. A comparison's rows hold what
    compare.json says of each point, its arm among it.
    """
    path = os.fspath(place)
    compared = os.path.join(path, "compare.json")
    if os.path.isfile(compared):
        return _of_comparison(compared)
    if os.path.isfile(path):
        return _of_table(path)
    with tempfile.TemporaryDirectory() as scratch:
        table = os.path.join(scratch, "aggregate_results.csv")
        run(["aggregate", path, "--output", table])
        return _of_table(table)


def _of_table(path: str) -> List[Row]:
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> Any:
    if text == "":
        return None
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _of_comparison(path: str) -> List[Row]:
    with open(path, encoding="utf-8") as file:
        comparison = json.load(file)
    rows = []
    for arm in comparison["arms"]:
        shared = {"arm": arm["label"], "dir": arm["dir"], "gpus": arm["gpus"]}
        for point in arm["points"]:
            row = dict(shared)
            for key, value in point.items():
                _flatten(row, key, value)
            rows.append(row)
    return rows


def _flatten(row: Row, key: str, value: Any) -> None:
    if isinstance(value, dict):
        for inner, one in value.items():
            _flatten(row, f"{key}_{inner}", one)
    elif isinstance(value, list) and len(value) == 2 and all(one is None or isinstance(one, float) for one in value):
        row[f"{key}_low"], row[f"{key}_high"] = value
    elif isinstance(value, list):
        row[key] = "; ".join(str(one) for one in value)
    else:
        row[key] = value
