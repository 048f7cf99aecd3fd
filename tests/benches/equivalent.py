"""What topobench's analysis does, the way one would write it with numpy and matplotlib. Run by the bench `analysis`.

    equivalent.py curves FILE TTFT,TPOT       exact SLO-scale curves and crossings of one arm
    equivalent.py bootstrap FILE TTFT,TPOT    1,000 paired block-bootstrap rounds of two arms
    equivalent.py compare RUN RUN DIR         reads two run directories and draws attainment over rate and over SLO scale

FILE holds rows of (rate, ttft, tpot) as 64-bit floats. Prints the seconds that the work took, and one result.
"""

import json
import os
import sys
import time

import numpy as np

TARGET = 90.0


def crossing(rates, attained):
    """The first sign change against the target, on the straight line between neighbours; NaN without one."""
    distance = attained - TARGET
    signs = np.nonzero((distance[:-1] >= 0) != (distance[1:] >= 0))[0]
    if len(signs) == 0:
        return np.nan
    i = signs[0]
    return rates[i] + (rates[i + 1] - rates[i]) * distance[i] / (distance[i] - distance[i + 1])


def load(path):
    rows = np.fromfile(path).reshape(-1, 3)
    rates, starts = np.unique(rows[:, 0], return_index=True)
    return rows, rates, starts


def curves(path, limits):
    rows, rates, starts = load(path)
    points = [(p[:, 1].copy(), p[:, 2].copy()) for p in np.split(rows, np.sort(starts)[1:])]

    def work():
        found = []
        for pick in (lambda t, p: np.maximum(t, p), lambda t, _: t, lambda _, p: p):
            attained = []
            for ttft, tpot in points:
                scales = np.sort(pick(ttft / limits[0], tpot / limits[1]))
                scales[int(np.ceil(len(scales) * TARGET / 100)) - 1]
                attained.append(100 * np.searchsorted(scales, 1.0, side="right") / len(scales))
            found.append(crossing(rates, np.array(attained)))
        return found[0]

    return timed(work)


def bootstrap(path, limits, rounds=1000):
    rows, rates, _ = load(path)
    met = ((rows[:, 1] <= limits[0]) & (rows[:, 2] <= limits[1])).reshape(2, len(rates), -1)
    n = met.shape[2]
    block = round(n ** (1 / 3) * 3)

    def work():
        random = np.random.default_rng(0)
        attained = np.empty((2, len(rates), rounds))
        for rate in range(len(rates)):
            starts = random.integers(0, n, (rounds, -(-n // block)))
            picked = ((starts[:, :, None] + np.arange(block)) % n).reshape(rounds, -1)[:, :n]
            attained[:, rate] = 100 * met[:, rate][:, picked].mean(axis=2)
        ratios = [crossing(rates, attained[1, :, i]) / crossing(rates, attained[0, :, i]) for i in range(rounds)]
        return np.nanpercentile(ratios, [2.5, 97.5])[0]

    return timed(work)


def timed(work, times=5):
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        value = work()
        spent.append(time.perf_counter() - start)
    return sorted(spent)[times // 2], value


def read(run):
    points = {}
    with open(os.path.join(run, "requests.jsonl")) as lines:
        for line in map(json.loads, lines):
            if line["outcome"] != "completed":
                times = (np.inf, np.inf)
            else:
                gaps = max(line["output_tokens"] - 1, 1)
                times = (line["first_token"] - line["due"], (line["last_token"] - line["first_token"]) / gaps)
            points.setdefault(line["rate"], []).append(times)
    return {rate: np.array(times) for rate, times in sorted(points.items())}


def compare(runs, out, limits=(0.25, 0.01)):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (over_rate, over_scale) = plt.subplots(1, 2, figsize=(10, 4))
    scales = np.linspace(0.1, 2.0, 400)
    for run, color in zip(runs, ("red", "blue")):
        points = read(run)
        rates = np.array(list(points))
        for pick, style in (((0, 1), "-o"), ((0,), "--"), ((1,), ":")):
            worst = [np.max(p[:, pick] / np.array(limits)[list(pick)], axis=1) for p in points.values()]
            over_rate.plot(rates, [100 * np.mean(w <= 1) for w in worst], style, color=color)
            over_scale.plot(scales, [100 * np.mean(worst[0] <= s) for s in scales], style, color=color)
    for axes, label in ((over_rate, "Request rate (req/s)"), (over_scale, "SLO scale")):
        axes.axhline(TARGET, color="grey")
        axes.set(xlabel=label, ylabel="SLO attainment (%)")
    over_scale.invert_xaxis()
    figure.savefig(os.path.join(out, "python.pdf"))


if __name__ == "__main__":
    task, *words = sys.argv[1:]
    if task == "compare":
        compare(words[:2], words[2])
    else:
        ours = {"curves": curves, "bootstrap": bootstrap}[task]
        print(*ours(words[0], [float(x) for x in words[1].split(",")]))
