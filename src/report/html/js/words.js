// Numbers and the verdict in words. Recomputed numbers have no intervals, so no sentence here claims a difference.

// Three significant digits without trailing zeros: 6.68, 0.875, 1250.
function short(x) {
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "–";
  const decimals = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(x), 1e-9)))));
  return String(Number(x.toFixed(decimals)));
}

function sloWords(slo, target) {
  const e2el = slo.e2el === undefined ? "" : `, E2EL ${short(slo.e2el)} ms`;
  return `at ${short(target)} % attainment (TTFT ${short(slo.ttft)} ms, TPOT ${short(slo.tpot)} ms${e2el})`;
}

// "carries 6.68 req/s", or on which side of the rates tested its crossing lies.
function carries(judged) {
  const { maxRate, rates, arm } = judged;
  if (rates.length === 0) return "was measured at no finite rate";
  if (arm.rates.every((r) => r.points.every((p) => p.ttft.every((t) => t === NOT_SERVED)))) return "served nothing";
  if (maxRate.value !== null) return `carries ${short(maxRate.value)} req/s`;
  if (maxRate.censored === "above_tested") {
    return `still meets the target at the highest rate tested, ${short(rates.at(-1).rate)} req/s`;
  }
  return `misses the target already at the lowest rate tested, ${short(rates[0].rate)} req/s`;
}

function pairWords(base, other) {
  const both = `${base.arm.name} ${carries(base)}, ${other.arm.name} ${carries(other)}`;
  if (base.maxRate.value === null || other.maxRate.value === null) return both;
  const perGpu = base.arm.gpus && other.arm.gpus;
  const [a, b] = perGpu ? [base.arm.gpus, other.arm.gpus] : [1, 1];
  const ratio = other.maxRate.value / b / (base.maxRate.value / a);
  const [more, less, times] = ratio >= 1 ? [other, base, ratio] : [base, other, 1 / ratio];
  if (times < 1.005) return `${both}: as many requests${perGpu ? " per GPU" : ""}`;
  return `${both}: ${times.toFixed(2)} times the requests${perGpu ? " per GPU" : ""} for ${more.arm.name} over ${less.arm.name}`;
}

function verdictWords(judged, question) {
  const [base, ...others] = judged;
  const body = others.length === 0 ? `${base.arm.name} ${carries(base)}` : others.map((o) => pairWords(base, o)).join("; ");
  const goal = sloWords(question.slo, question.target);
  return `${goal[0].toUpperCase()}${goal.slice(1)}, ${body}.`;
}

// Rows of the table below the verdict: name, one cell an arm.
function answerRows(judged, question) {
  const side = { above_tested: "above what was tested", below_tested: "below what was tested" };
  const rate = (j, over) => (j.maxRate.value === null ? side[j.maxRate.censored] ?? "–" : short(j.maxRate.value / over));
  const several = (j) => (j.maxRate.all.length > 1 ? ` (crosses at ${j.maxRate.all.map(short).join(", ")})` : "");
  const rows = [["Highest rate at the target (req/s)", judged.map((j) => rate(j, 1) + several(j))]];
  if (judged.every((j) => j.arm.gpus)) rows.push(["The same per GPU", judged.map((j) => rate(j, j.arm.gpus))]);
  const scale = (j) => (j.scale !== null ? j.scale.toFixed(3) : j.curves ? "none: too many not served" : "no such point");
  if (question.scaleRate !== null) rows.push([`Tightest SLO scale at ${short(question.scaleRate)} req/s`, judged.map(scale)]);
  return rows;
}
