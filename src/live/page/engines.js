// Engines and GPUs: their latest values as tables, the last minutes as lines.

// Samples of each engine and GPU, oldest first, and its place among them, which gives its hue.
const sampled = { engine: new Map(), gpu: new Map() };
const KEPT = 600;
// What was not sampled for so long is not up.
const DOWN = 12;
// Whether the run is over, so that its last moment is not now.
let isOver = false;

function addSamples(samples) {
  for (const sample of samples) {
    const of = sampled[sample.kind];
    if (!of.has(sample.of)) of.set(sample.of, []);
    const kept = of.get(sample.of);
    kept.push(sample);
    if (kept.length > KEPT) kept.shift();
  }
}

function forgetSamples() {
  sampled.engine.clear();
  sampled.gpu.clear();
}

const present = (value) => value !== null && value !== undefined;
const plain = (pick) => (all) => all.filter((s) => present(pick(s))).map((s) => [s.at, pick(s)]);

// A counter's growth a second; a restarted engine counts from zero, and never backwards.
function perSecond(pick) {
  return (all) => all.slice(1).flatMap((s, i) => {
    const [before, now, secs] = [pick(all[i]), pick(s), s.at - all[i].at];
    return present(before) && present(now) && now >= before && secs > 0 ? [[s.at, (now - before) / secs]] : [];
  });
}

// The growth of one counter for each of another's, where that grew.
function each(pick, of) {
  return (all) => all.slice(1).flatMap((s, i) => {
    const [a, b] = [all[i].hand_overs, s.hand_overs];
    return a && b && of(b) > of(a) ? [[s.at, (pick(b) - pick(a)) / (of(b) - of(a))]] : [];
  });
}

const transfers = (kv) => kv.transfers;
const whole = (v) => short(v);
const megabytes = (v) => (v >= 1e9 ? `${short(v / 1e9)} GB` : `${short(v / 1e6)} MB`);
const percent = (v) => `${short(v)} %`;

const MEASURES = {
  engine: [
    { id: "running", name: "Requests running", series: plain((s) => s.running), show: whole, least: 4 },
    { id: "waiting", name: "Requests waiting", series: plain((s) => s.waiting), show: whole, least: 4 },
    { id: "kv", name: "KV cache in use", series: plain((s) => (present(s.kv_usage) ? 100 * s.kv_usage : null)), show: percent, least: 10, most: 100 },
    { id: "tokens", name: "Output tokens a second", series: perSecond((s) => s.tokens), show: whole, least: 10 },
    { id: "hand-over", name: "Hand-over of a prompt", series: each((kv) => 1000 * (kv.transfer_secs + kv.post_secs), transfers), show: (v) => `${short(v)} ms`, least: 1, optional: true },
    { id: "hand-over-bytes", name: "KV of a hand-over", series: each((kv) => kv.bytes, transfers), show: megabytes, optional: true, least: 1e6, table: true },
    { id: "descriptors", name: "Descriptors of a hand-over", series: each((kv) => kv.descriptors, transfers), show: whole, optional: true, least: 10, table: true },
  ],
  gpu: [
    { id: "utilization", name: "Utilisation", series: plain((s) => s.utilization), show: percent, least: 100, most: 100 },
    { id: "memory", name: "Memory in use", series: plain((s) => s.memory_bytes), show: megabytes, least: 1e9 },
    { id: "power", name: "Power", series: plain((s) => s.watts), show: (v) => `${short(v)} W`, least: 100 },
    { id: "temperature", name: "Temperature", series: plain((s) => s.celsius), show: (v) => `${short(v)} °C`, least: 60 },
  ],
};

const timeCharts = new Map();

function showSampled(kind, table, charts) {
  const all = [...sampled[kind].entries()];
  const newest = Math.max(0, ...all.map(([, samples]) => samples.at(-1).at));
  const recent = all.filter(([, samples]) => newest - samples.at(-1).at < KEPT);
  const things = recent.map(([name, samples], i) => ({
    name,
    // The first two hues are the arms'.
    hue: 2 + (i % 6),
    second: i >= 6,
    samples: samples.filter((s) => newest - s.at <= KEPT),
    state: newest - samples.at(-1).at > DOWN ? "not up" : samples.at(-1).answered === false ? "no answer" : "",
  }));
  const measures = MEASURES[kind].map((m) => ({ ...m, lines: things.map((t) => ({ ...t, points: m.series(t.samples) })) }));
  const told = measures.filter((m) => !m.optional || m.lines.some((l) => l.points.length > 0));
  const latest = (line, measure) => {
    const last = line.points.at(-1);
    return last && !line.state ? measure.show(last[1]) : "–";
  };
  const heads = [kind === "engine" ? "Engine" : "GPU", ...told.map((m) => m.name), ""];
  fill(byId(table), heads, things.map((t, i) => ({ hue: t.hue, down: t.state !== "", cells: [t.name, ...told.map((m) => latest(m.lines[i], m)), t.state] })));
  byId(table).hidden = things.length === 0;
  const oldest = Math.min(newest, ...things.map((t) => t.samples[0].at));
  for (const measure of told.filter((m) => !m.table)) drawSeries(kind, measure, charts, { newest, oldest });
}

function drawSeries(kind, measure, charts, { newest, oldest }) {
  const lines = measure.lines.filter((line) => line.points.length > 0);
  const id = `${kind}-${measure.id}`;
  if (lines.length === 0 && !timeCharts.has(id)) return;
  if (!timeCharts.has(id)) {
    const panel = element(byId(charts), "div", undefined, { class: "panel" });
    element(panel, "h3", measure.name);
    timeCharts.set(id, new TimeChart(element(panel, "div", undefined, { class: "chart", id }), `${measure.name} over time`));
  }
  const times = [...new Set(lines.flatMap((line) => line.points.map(([at]) => at - newest)))].sort((a, b) => a - b);
  const most = Math.max(measure.least, ...lines.flatMap((line) => line.points.map(([, value]) => value)));
  redrawn(timeCharts.get(id), {
    span: Math.min(KEPT, Math.max(60, newest - oldest)),
    high: Math.min(measure.most ?? Infinity, most * 1.08),
    show: measure.show,
    lines,
    newest,
    end: isOver ? "the end" : "now",
    stops: times,
  });
}
