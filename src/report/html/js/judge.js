// Judging in the page, by the rules of `analyse`: attainment, crossing, SLO scale. Latencies are whole units
// (`data.units` of them a millisecond); a request that was not served misses every limit at every scale.

const NOT_SERVED = 0xffffffff;

function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i, true));
}

// The arms with their columns unpacked; `rates` are the curves' points: repeats together, ascending, "inf" apart.
function load(data) {
  const dues = data.dues.map(unpack);
  const number = (rate) => (rate === "inf" ? Infinity : rate);
  const arms = data.arms.map((arm, index) => {
    const points = arm.points.map((p) => ({
      ...p,
      rate: number(p.rate),
      due: dues[p.due],
      ttft: unpack(p.ttft),
      tpot: unpack(p.tpot),
      e2el: p.e2el === undefined ? null : unpack(p.e2el),
    }));
    const sent = points.filter((p) => p.sent);
    const distinct = [...new Set(sent.map((p) => p.rate))].sort((a, b) => a - b);
    const rates = distinct.map((rate) => ({ rate, points: sent.filter((p) => p.rate === rate) }));
    return { ...arm, index, points, rates, finite: rates.filter((r) => r.rate !== Infinity) };
  });
  return { ...data, scaleRate: number(data.scale_rate), arms };
}

// An SLO in milliseconds as limits in the columns' units; products that should be whole are made so.
function limitsOf(slo, units) {
  const snap = (x) => (Math.abs(x - Math.round(x)) < 1e-6 ? Math.round(x) : x);
  return {
    ttft: snap(slo.ttft * units.ttft),
    tpot: snap(slo.tpot * units.tpot),
    e2el: slo.e2el === undefined ? Infinity : snap(slo.e2el * units.e2el),
  };
}

// Percent of the requests offered, over repeats together.
function attainment(points, limits) {
  let [offered, both, ttft, tpot, e2el] = [0, 0, 0, 0, 0];
  for (const p of points) {
    offered += p.ttft.length;
    for (let i = 0; i < p.ttft.length; i++) {
      if (p.ttft[i] === NOT_SERVED) continue;
      const kept = [p.ttft[i] <= limits.ttft, p.tpot[i] <= limits.tpot, !p.e2el || p.e2el[i] <= limits.e2el];
      ttft += kept[0];
      tpot += kept[1];
      e2el += kept[2];
      both += kept[0] && kept[1] && kept[2];
    }
  }
  const percent = (met) => (100 * met) / offered;
  return { offered, both: percent(both), ttft: percent(ttft), tpot: percent(tpot), e2el: percent(e2el) };
}

// Where a curve of [rate, percent] crosses the target: sign changes between neighbours, by linear interpolation.
// The first is the value; without any, only the side is known. A last point exactly at the target meets it.
function crossing(curve, target) {
  if (curve.length === 0) return { value: null, censored: null, all: [] };
  const all = [];
  const add = (rate) => {
    if (rate > 0 && all.at(-1) !== rate) all.push(rate);
  };
  for (let i = 1; i < curve.length; i++) {
    const [[r0, a0], [r1, a1]] = [curve[i - 1], curve[i]];
    const [d0, d1] = [a0 - target, a1 - target];
    if (d0 >= 0 !== d1 >= 0) add(r0 + (r1 - r0) * (d0 / (d0 - d1)));
  }
  if (all.length > 0) return { value: all[0], censored: null, all };
  return { value: null, censored: curve[0][1] >= target ? "above_tested" : "below_tested", all };
}

// s* of every request, ascending, those not served left out, and how many were offered: the exact scale curve.
function scaleCurve(points, limits, which) {
  const scales = [];
  let offered = 0;
  for (const p of points) {
    offered += p.ttft.length;
    for (let i = 0; i < p.ttft.length; i++) {
      if (p.ttft[i] === NOT_SERVED) continue;
      const parts = { ttft: p.ttft[i] / limits.ttft, tpot: p.tpot[i] / limits.tpot, e2el: p.e2el ? p.e2el[i] / limits.e2el : 0 };
      scales.push(which === "both" ? Math.max(parts.ttft, parts.tpot, parts.e2el) : parts[which]);
    }
  }
  return { sorted: Float64Array.from(scales).sort(), offered };
}

// The order statistic ceil(target * offered); null where too many were not served.
function scaleAtTarget(curve, target) {
  const exact = (target * curve.offered) / 100;
  const needed = Math.ceil(exact - 1e-9 * Math.max(exact, 1));
  return curve.sorted[Math.min(Math.max(needed, 1), Math.max(curve.offered, 1)) - 1] ?? null;
}

function attainmentAt(curve, scale) {
  let [low, high] = [0, curve.sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (curve.sorted[middle] <= scale) low = middle + 1;
    else high = middle;
  }
  return (100 * low) / curve.offered;
}

// Every arm judged by one question: { slo, target, scaleRate }.
function judge(data, question) {
  const limits = limitsOf(question.slo, data.units);
  return data.arms.map((arm) => {
    const rates = arm.finite.map((r) => ({ ...r, attained: attainment(r.points, limits) }));
    const maxRate = crossing(rates.map((r) => [r.rate, r.attained.both]), question.target);
    const at = arm.rates.find((r) => r.rate === question.scaleRate);
    const kinds = data.slo.e2el_ms === undefined ? ["both", "ttft", "tpot"] : ["both", "ttft", "tpot", "e2el"];
    const curves = at && Object.fromEntries(kinds.map((kind) => [kind, scaleCurve(at.points, limits, kind)]));
    return { arm, rates, kinds, maxRate, curves, scale: curves ? scaleAtTarget(curves.both, question.target) : null };
  });
}
