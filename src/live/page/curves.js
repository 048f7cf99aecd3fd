// Attainment over load, as far as it is known.

let curvesChart;

const KINDS = { measured: "", invalid: "not valid", pilot: "pilot", stopped: "ended early", under_way: "under way" };

function percentWords(point) {
  if (point.percent === null) return "unknown";
  return `${point.kind === "stopped" ? "at most " : ""}${point.percent.toFixed(1)} %`;
}

function rangeWords({ low, high }) {
  if (low === null && high === null) return "";
  return `${(low ?? 0).toFixed(1)} to ${(high ?? 100).toFixed(1)}`;
}

// One line through the points that are judged, and each other point by itself.
function curveLines(arm, slot) {
  const drawn = arm.points.filter((p) => p.x !== null && p.percent !== null).sort((a, b) => a.x - b.x);
  const place = (p) => {
    const range = p.low === null && p.high === null ? {} : { low: p.low ?? 0, high: p.high ?? 100 };
    return { x: p.x, y: p.percent, hollow: p.kind !== "measured", of: p, ...range };
  };
  const judged = drawn.filter((p) => p.kind === "measured" || p.kind === "invalid");
  const others = drawn.filter((p) => !judged.includes(p));
  return [judged, ...others.map((p) => [p])].filter((points) => points.length > 0)
    .map((points) => ({ arm: arm.hue, slot, name: arm.name, kind: "both", points: points.map(place) }));
}

function showCurves(curves) {
  byId("curves-none").hidden = true;
  say(byId("curves-verdict"), curves.verdict ? `${curves.verdict}.` : "");
  const legend = byId("curves-legend");
  legend.replaceChildren();
  for (const arm of curves.arms) {
    const entry = element(legend, "li");
    element(entry, "span", undefined, { class: "chip", style: colorOf(arm.hue) });
    element(entry, "b", arm.name);
    if (arm.carries) entry.append(` carries ${arm.carries}`);
  }
  const lines = curves.arms.flatMap(curveLines);
  const stops = [...new Set(lines.flatMap((line) => line.points.map((p) => p.x)))].sort((a, b) => a - b);
  curvesChart ??= new LineChart(byId("curves-chart"), "Attainment over load");
  redrawn(curvesChart, {
    x: { low: 0, high: 1.08 * (Math.max(curves.highest ?? 0, ...stops) || 10), label: `Load (${curves.unit})`, show: short },
    target: curves.target,
    arms: curves.arms.length,
    lines,
    callouts: [],
    stops,
    nothing: "no request of a point has ended yet",
    read: (x) => ({ title: `${short(x)} ${curves.unit}`, rows: readCurves(lines, x) }),
  });
  const rows = curves.arms.flatMap((arm) => arm.points.map((p) => ({
    hue: arm.hue,
    cells: [arm.name, p.load, percentWords(p), rangeWords(p), String(p.requests), p.note || KINDS[p.kind]],
  })));
  fill(byId("curves-table"), ["Arm", "Load", `Met ${curves.slo}`, "95 % interval", curves.judged, "Remark"], rows);
}

function readCurves(lines, x) {
  const found = lines.flatMap((line) => line.points.filter((p) => p.x === x).map((p) => [line, p]));
  return found.map(([line, p]) => {
    const kind = KINDS[p.of.kind] ? ` (${KINDS[p.of.kind]})` : "";
    const range = rangeWords(p.of) ? `, ${rangeWords(p.of)}` : "";
    return [`${line.name}${kind}`, `${percentWords(p.of)}${range}`, line.arm];
  });
}
