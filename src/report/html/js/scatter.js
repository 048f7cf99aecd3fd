// Every request of one point: latency over the time it fell due, so that misses in clusters are seen.

const MOST_DOTS = 1500;

// At most MOST_DOTS of the requests: of each short stretch the highest and the lowest, and all that were not served.
function thinned(values) {
  const all = Array.from(values.keys());
  if (all.length <= MOST_DOTS) return all;
  const stretch = Math.ceil((2 * all.length) / MOST_DOTS);
  const kept = new Set();
  for (let from = 0; from < all.length; from += stretch) {
    const some = all.slice(from, from + stretch).filter((i) => values[i] !== NOT_SERVED);
    if (some.length === 0) continue;
    kept.add(some.reduce((a, b) => (values[b] > values[a] ? b : a)));
    kept.add(some.reduce((a, b) => (values[b] < values[a] ? b : a)));
  }
  return all.filter((i) => kept.has(i) || values[i] === NOT_SERVED);
}

class RequestChart {
  constructor(host) {
    this.frame = new Frame(host, "Latency of every request over the time it fell due");
    this.frame.redraw = () => this.model && this.draw(this.model);
    this.frame.onPointer((px, py) => this.inspect(px, py));
  }

  // `model`: { metric, unit, limit (ms), points: [{ arm, name, point }] }.
  draw(model) {
    this.model = model;
    this.dots = [];
    const { frame } = this;
    frame.hide();
    const shown = model.points.map((p) => ({ ...p, values: p.point[model.metric], kept: thinned(p.point[model.metric]) }));
    // One token has no TPOT: it lies at the lower edge.
    const millis = shown.flatMap((s) => s.kept.map((i) => s.values[i])).filter((v) => v !== NOT_SERVED && v > 0).map((v) => v / model.unit);
    const low = Math.min(model.limit, ...millis) / 1.15;
    const high = Math.max(model.limit, ...millis) * 1.15;
    const end = 1.01 * Math.max(1, ...shown.map((s) => (s.point.due.at(-1) ?? 0) / 1000));
    const width = frame.host.clientWidth || 560;
    const x = { low: 0, high: end, ticks: ticksOf(0, end, width / 90), show: short, label: "Seconds since the first request was due" };
    const y = { low, high, log: true, ticks: logTicks(low, high), show: (t) => `${short(t)}` };
    frame.begin(x, y, { height: 320, top: 34 });
    svg(frame.svg, "text", { x: 2, y: 14 }, `${model.metric.toUpperCase()}, ms`);
    const lost = shown.some((s) => s.values.includes(NOT_SERVED));
    if (lost) svg(frame.svg, "text", { x: frame.box.right, y: 14, "text-anchor": "end" }, "top edge: not served");
    for (const one of shown) this.cloud(one, low);
    frame.rule(model.limit, `limit ${short(model.limit)} ms`, this.dots.map((dot) => [dot.px, dot.py]));
    if (shown.length === 0) frame.empty("no such point was measured");
  }

  cloud({ arm, name, point, values, kept }, low) {
    const { frame, model } = this;
    const paths = { met: "", missed: "" };
    for (const i of kept) {
      const served = values[i] !== NOT_SERVED;
      const ms = values[i] / model.unit;
      const px = frame.x(point.due[i] / 1000);
      const py = served ? frame.y(Math.max(ms, low)) : frame.box.top - 4;
      paths[served && ms <= model.limit ? "met" : "missed"] += `M${px.toFixed(1)} ${py.toFixed(1)}h.01`;
      this.dots.push({ px, py, arm, name, text: served ? `${short(ms)} ms` : "not served", due: point.due[i] / 1000, index: i });
    }
    const cap = arm % 2 === 0 ? "round" : "square";
    for (const [kind, d] of Object.entries(paths)) {
      const size = (cap === "round" ? 5 : 4.2) * (kind === "missed" ? 1.15 : 1);
      if (d) svg(frame.plot, "path", { class: `dots ${kind}`, d, style: colorOf(arm), "stroke-linecap": cap, "stroke-width": size });
    }
  }

  inspect(px, py) {
    const { frame } = this;
    const distance = (dot) => Math.hypot(dot.px - px, dot.py - py);
    const dot = this.dots?.reduce((best, d) => (!best || distance(d) < distance(best) ? d : best), null);
    if (!dot || distance(dot) > 40) return frame.hide();
    frame.mark?.remove();
    frame.mark = svg(frame.svg, "circle", { class: "ring", cx: dot.px, cy: dot.py, r: 6 });
    const rows = [[this.model.metric.toUpperCase(), dot.text], ["due at", `${dot.due.toFixed(2)} s`], ["request", String(dot.index + 1)]];
    frame.show(dot.px, dot.py, dot.name, rows);
  }
}
