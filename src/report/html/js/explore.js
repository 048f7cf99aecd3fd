// The interactive part: an SLO in, judged arms out, drawn and told.

const KIND_NAMES = { both: "all limits", ttft: "TTFT only", tpot: "TPOT only", e2el: "E2EL only" };

class Explorer {
  constructor(data) {
    this.data = data;
    armHues.push(...data.arms.map((arm) => arm.hue));
    const { slo } = data;
    this.reported = { ttft: slo.ttft_ms, tpot: slo.tpot_ms, ...(slo.e2el_ms === undefined ? {} : { e2el: slo.e2el_ms }) };
    this.question = { slo: { ...this.reported }, target: data.target, scaleRate: data.scaleRate };
    this.hidden = new Set();
    this.gpusKnown = data.arms.every((arm) => arm.gpus);
    // Unequal deployments are compared per GPU, or the larger one wins by its size.
    this.perGpu = this.gpusKnown && new Set(data.arms.map((arm) => arm.gpus)).size > 1;
    this.rateChart = new LineChart(byId("rate-chart"), "Attainment over rate");
    this.scaleChart = new LineChart(byId("scale-chart"), "Attainment over SLO scale");
    this.requestChart = new RequestChart(byId("request-chart"));
    this.legend();
    this.selects();
    this.sliders = limitControls(this);
  }

  get changed() {
    const { slo, target } = this.question;
    return target !== this.data.target || Object.keys(slo).some((key) => slo[key] !== this.reported[key]);
  }

  ask(change) {
    Object.assign(this.question, change);
    this.update();
  }

  reset() {
    this.ask({ slo: { ...this.reported }, target: this.data.target, scaleRate: this.data.scaleRate });
  }

  update() {
    this.judged = judge(this.data, this.question);
    for (const control of this.sliders) control.show();
    byId("reset").disabled = !this.changed;
    byId("scale-rate").value = String(this.question.scaleRate);
    this.answer();
    this.draw();
    this.remember();
  }

  answer() {
    byId("answer").classList.toggle("other", this.changed);
    byId("answer-origin").textContent = this.changed
      ? "Recomputed in the page from every request, without intervals: no difference is claimed."
      : "The report's own SLO, and its verdict:";
    // With its intervals, which the page can't recompute.
    byId("answer-verdict").textContent = this.changed ? verdictWords(this.judged, this.question) : `${this.data.verdict}.`;
    const table = byId("answer-table");
    table.replaceChildren();
    const head = element(element(table, "thead"), "tr");
    element(head, "td");
    for (const { arm } of this.judged) {
      const cell = element(head, "th", undefined, { scope: "col" });
      element(cell, "span", undefined, { class: "chip", style: colorOf(arm.index) });
      cell.append(arm.name);
    }
    const body = element(table, "tbody");
    for (const [name, cells] of answerRows(this.judged, this.question)) {
      const row = element(body, "tr");
      element(row, "th", name, { scope: "row" });
      for (const cell of cells) element(row, "td", cell);
    }
  }

  visible(arm, kind) {
    return !this.hidden.has(`${arm.index} ${kind}`);
  }

  draw() {
    this.drawRates();
    this.drawScales();
    this.drawRequests();
  }

  drawRates() {
    const over = (arm) => (this.perGpu ? arm.gpus : 1);
    const lines = [];
    for (const { arm, rates, kinds } of this.judged) {
      for (const kind of kinds.filter((k) => rates.length > 0 && this.visible(arm, k)).reverse()) {
        const points = rates.map((r) => ({ x: r.rate / over(arm), y: r.attained[kind], ...this.mark(r, kind) }));
        lines.push({ arm: arm.index, kind, points });
      }
    }
    const stops = [...new Set(lines.flatMap((l) => l.points.map((p) => p.x)))].sort((a, b) => a - b);
    const unit = this.perGpu ? "req/s per GPU" : "req/s";
    const crossings = this.judged.filter((j) => j.maxRate.value !== null && this.visible(j.arm, "both"));
    this.rateChart.draw({
      x: { low: 0, high: 1.05 * Math.max(...this.data.arms.flatMap((a) => a.finite.map((r) => r.rate / over(a))), 0.001), label: `Rate (${unit})`, show: short },
      target: this.question.target,
      arms: this.data.arms.length,
      lines,
      callouts: crossings.map((j) => ({ arm: j.arm.index, x: j.maxRate.value / over(j.arm), text: short(j.maxRate.value / over(j.arm)) })),
      stops,
      nothing: "no line is shown, or no finite rate was measured",
      read: (x) => ({ title: `${short(x)} ${unit}`, rows: this.readings(lines, (l) => l.points.find((p) => p.x === x)?.y) }),
    });
  }

  // What a marker tells beside its height: invalid points, and the interval where it holds.
  mark(rate, kind) {
    if (kind !== "both") return {};
    const hollow = rate.points.some((p) => p.valid === false);
    const one = rate.points.length === 1 && !this.changed ? rate.points[0].ci95 : null;
    return one ? { hollow, low: one[0] ?? 0, high: one[1] ?? 100 } : { hollow };
  }

  readings(lines, value) {
    const rows = [...lines].reverse().map((l) => [l, value(l)]).filter(([, y]) => y !== undefined);
    rows.sort(([a], [b]) => a.arm - b.arm);
    return rows.map(([l, y]) => [`${this.data.arms[l.arm].name}, ${KIND_NAMES[l.kind]}`, `${y.toFixed(1)} %`, l.arm]);
  }

  drawScales() {
    const scales = this.judged.map((j) => j.scale).filter((s) => s !== null);
    const high = Math.min(20, Math.max(1.5, 1.3 * Math.max(...scales, 0)));
    const lines = [];
    for (const { arm, curves, kinds } of this.judged.filter((j) => j.curves)) {
      for (const kind of kinds.filter((k) => this.visible(arm, k)).reverse()) {
        lines.push({ arm: arm.index, kind, stepped: true, points: steps(curves[kind], high), curve: curves[kind] });
      }
    }
    const crossings = this.judged.filter((j) => j.scale !== null && j.scale <= high && this.visible(j.arm, "both"));
    const count = 120;
    this.scaleChart.draw({
      x: { low: 0, high, reversed: true, label: "SLO scale (tighter to the right)", show: short },
      target: this.question.target,
      arms: this.data.arms.length,
      lines,
      callouts: crossings.map((j) => ({ arm: j.arm.index, x: j.scale, text: j.scale.toFixed(3) })),
      stops: lines.length === 0 ? [] : Array.from({ length: count + 1 }, (_, i) => (high * i) / count),
      nothing: "no line is shown, or no arm has this rate",
      read: (x) => ({ title: `limits × ${x.toFixed(2)}`, rows: this.readings(lines, (l) => attainmentAt(l.curve, x)) }),
    });
  }

  drawRequests() {
    const [rate, attempt] = byId("request-point").value.split(" ").map(Number);
    const metric = byId("request-metric").value;
    const found = this.data.arms.map((arm) => ({ arm: arm.index, name: arm.name, point: arm.points.find((p) => p.rate === rate && p.attempt === attempt) }));
    const points = found.filter((f) => f.point);
    this.requestChart.draw({ metric, unit: this.data.units[metric], limit: this.question.slo[metric], points });
    const most = Math.max(0, ...points.map((f) => f.point.offered));
    const thin = most > MOST_DOTS ? ` Of ${most} requests, the highest and lowest of each short stretch are drawn.` : "";
    byId("request-hint").textContent = `Round or square: the arm. Strong: missed. A latency counts from the moment a request was due.${thin}`;
  }

  legend() {
    const host = byId("legend");
    for (const arm of this.data.arms) {
      const group = element(host, "div", undefined, { class: "arm" });
      element(group, "span", arm.name);
      const kinds = this.reported.e2el === undefined ? ["both", "ttft", "tpot"] : ["both", "ttft", "tpot", "e2el"];
      for (const kind of kinds) {
        const button = element(group, "button", undefined, { type: "button", "aria-pressed": "true", "aria-label": `${arm.name}, ${KIND_NAMES[kind]}` });
        const holder = element(button, "span", undefined, { class: "chart" });
        const sample = svg(holder, "svg", { viewBox: "0 0 34 12", width: 34, height: 12, "aria-hidden": "true", style: `${colorOf(arm.index)};width:34px` });
        svg(sample, "path", { class: `line ${kind}`, d: "M1 6H33" });
        if (kind === "both") svg(sample, "path", { class: "marker", d: markerPath(arm.index, 17, 6, 4) });
        button.append(KIND_NAMES[kind]);
        button.addEventListener("click", () => {
          const key = `${arm.index} ${kind}`;
          if (!this.hidden.delete(key)) this.hidden.add(key);
          button.setAttribute("aria-pressed", String(!this.hidden.has(key)));
          this.draw();
        });
      }
    }
  }

  selects() {
    const rates = [...new Set(this.data.arms.flatMap((a) => a.rates.map((r) => r.rate)))].sort((a, b) => a - b);
    for (const rate of rates) element(byId("scale-rate"), "option", short(rate), { value: String(rate) });
    byId("scale-rate").addEventListener("change", (event) => this.ask({ scaleRate: Number(event.target.value) }));
    const keys = [...new Set(this.data.arms.flatMap((a) => a.points.map((p) => `${p.rate} ${p.attempt}`)))];
    const repeated = keys.some((key) => !key.endsWith(" 1"));
    for (const key of keys) {
      const [rate, attempt] = key.split(" ");
      element(byId("request-point"), "option", `${rate === "Infinity" ? "inf" : rate} req/s${repeated ? `, attempt ${attempt}` : ""}`, { value: key });
    }
    const preferred = keys.find((key) => Number(key.split(" ")[0]) === this.data.scaleRate);
    if (preferred) byId("request-point").value = preferred;
    for (const id of ["request-point", "request-metric"]) byId(id).addEventListener("change", () => this.drawRequests());
    byId("per-gpu-label").hidden = !this.gpusKnown;
    byId("per-gpu").checked = this.perGpu;
    byId("per-gpu").addEventListener("change", (event) => {
      this.perGpu = event.target.checked;
      this.drawRates();
    });
    byId("reset").addEventListener("click", () => this.reset());
  }

  // The address leads back to what is seen: #ttft=150&tpot=10&target=90.
  remember() {
    const { slo, target, scaleRate } = this.question;
    const words = new URLSearchParams({ ...slo, target });
    if (scaleRate !== this.data.scaleRate && scaleRate !== null) words.set("rate", scaleRate);
    const moved = this.changed || words.has("rate");
    const ours = new URLSearchParams(location.hash.slice(1)).has("ttft");
    if (moved || ours) history.replaceState(null, "", moved ? `#${words}` : location.pathname + location.search);
  }

  recall() {
    const words = new URLSearchParams(location.hash.slice(1));
    const read = (key, fallback, most = Infinity) => {
      const value = words.has(key) ? Number(words.get(key)) : NaN;
      return value > 0 && value <= most ? value : fallback;
    };
    const slo = Object.fromEntries(Object.entries(this.reported).map(([key, value]) => [key, read(key, value, 1e7)]));
    const rate = read("rate", this.data.scaleRate);
    const known = this.data.arms.some((arm) => arm.rates.some((r) => r.rate === rate));
    this.ask({ slo, target: read("target", this.data.target, 100), scaleRate: known ? rate : this.data.scaleRate });
  }
}

// The curve's steps up to `high`, thinned to what a screen can show.
function steps(curve, high) {
  const { sorted, offered } = curve;
  const stride = Math.max(1, Math.floor(sorted.length / 800));
  const points = [{ x: 0, y: 0 }];
  let i = 0;
  for (; i < sorted.length && sorted[i] <= high; i += stride) {
    const last = Math.min(i + stride, sorted.length) - 1;
    points.push({ x: Math.min(sorted[last], high), y: (100 * (last + 1)) / offered });
  }
  points.push({ x: high, y: attainmentAt(curve, high) });
  return points;
}

const byId = (id) => document.getElementById(id);

// Sliders and entries of the limits and the target: two ways to the same number.
function limitControls(explorer) {
  const { data } = explorer;
  const control = (key, { get, set, slider, entry }) => {
    const [range, number] = [byId(`${key}-slider`), byId(`${key}-number`)];
    range.addEventListener("input", () => set(slider.from(Number(range.value))));
    number.addEventListener("input", () => {
      const value = Number(number.value);
      const sound = value > 0 && value <= entry.most;
      number.setAttribute("aria-invalid", String(!sound));
      if (sound) set(value);
    });
    number.addEventListener("change", () => show());
    const show = () => {
      range.value = slider.to(get());
      range.setAttribute("aria-valuetext", `${short(get())} ${entry.unit}`);
      // What is being typed is left alone.
      if (document.activeElement !== number || Number(number.value) !== get()) number.value = String(get());
      number.setAttribute("aria-invalid", "false");
    };
    return { show };
  };
  const limit = (key) => {
    const [low, high] = limitRange(data, key, explorer.reported[key]);
    const range = byId(`${key}-slider`);
    Object.assign(range, { min: "0", max: "1000", step: "1" });
    const to = (ms) => Math.round((1000 * Math.log(ms / low)) / Math.log(high / low));
    const from = (position) => Number((low * (high / low) ** (position / 1000)).toPrecision(3));
    return control(key, {
      get: () => explorer.question.slo[key],
      set: (value) => explorer.ask({ slo: { ...explorer.question.slo, [key]: value } }),
      slider: { to, from },
      entry: { most: 1e7, unit: "milliseconds" },
    });
  };
  const same = (value) => value;
  const target = control("target", {
    get: () => explorer.question.target,
    set: (value) => explorer.ask({ target: value }),
    slider: { to: same, from: same },
    entry: { most: 100, unit: "percent" },
  });
  return [...Object.keys(explorer.reported).map(limit), target];
}

// From half the shortest latency to twice the longest, the report's limit among them.
function limitRange(data, key, reported) {
  let [low, high] = [reported / 4, reported * 4];
  for (const point of data.arms.flatMap((arm) => arm.points)) {
    for (const value of point[key]) {
      if (value === NOT_SERVED || value === 0) continue;
      low = Math.min(low, value / data.units[key] / 2);
      high = Math.max(high, (value / data.units[key]) * 2);
    }
  }
  return [Math.max(low, 0.001), high];
}
