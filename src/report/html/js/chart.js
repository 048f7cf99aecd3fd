// A small line chart in SVG: linear axes, steps, whiskers, callouts, a crosshair for mouse, touch and keyboard.

const SVG = "http://www.w3.org/2000/svg";

// Styles are set as styles: a strict content security policy refuses the attribute.
function dress(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") node.style.cssText = value;
    else node.setAttribute(key, value);
  }
}

function svg(parent, name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  dress(node, attributes);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

function element(parent, name, text, attributes = {}) {
  const node = document.createElement(name);
  dress(node, attributes);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

const colorOf = (index) => `--c:var(--arm-${index % 8})`;

// Round numbers covering [low, high], about `wanted` of them.
function ticksOf(low, high, wanted) {
  const raw = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// Powers of ten and, where there is room, 2 and 5 between them.
function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const digits = decades > 4 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    for (const digit of digits) ticks.push(Number((digit * 10 ** p).toPrecision(3)));
  }
  return ticks.filter((t) => t >= low * 0.999 && t <= high * 1.001);
}

// Which of the static figures' hues and markers each arm wears; filled when the data is read.
const armHues = [];

// Marker outlines of the arms, as in the static figures.
function markerPath(arm, x, y, r = 4.5) {
  const index = armHues[arm] ?? arm;
  const corners = { 1: [4, 1.25, 45], 2: [3, 1.4, 0], 3: [4, 1.35, 0], 4: [3, 1.4, 180], 5: [5, 1.15, 0], 6: [6, 1.1, 30] }[index % 7];
  if (!corners) return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  const [n, stretch, turn] = corners;
  const corner = (i) => {
    const angle = ((i * 360) / n + turn) * (Math.PI / 180);
    return `${(x + r * stretch * Math.sin(angle)).toFixed(1)} ${(y - r * stretch * Math.cos(angle)).toFixed(1)}`;
  };
  return `M${Array.from({ length: n }, (_, i) => corner(i)).join("L")}Z`;
}

// The frame that line charts and scatters share: axes, grid, a place to draw, a tooltip.
class Frame {
  constructor(host, label) {
    this.host = host;
    this.svg = svg(host, "svg", { role: "img", tabindex: "0", "aria-label": label });
    this.tooltip = element(host, "div", undefined, { class: "tooltip", hidden: "" });
    this.spoken = element(host, "div", undefined, { class: "hidden", role: "status" });
    new ResizeObserver(() => this.host.clientWidth !== this.width && this.redraw?.()).observe(host);
  }

  // Axes are { low, high, ticks, label, reversed?, log?, show }.
  begin(x, y, { height, top = 14 }) {
    this.width = this.host.clientWidth || 560;
    this.box = { left: 50, top, right: this.width - 14, bottom: height - 40 };
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.svg.replaceChildren();
    const { left, right, bottom } = this.box;
    const share = (axis, v) => (axis.log ? Math.log(v / axis.low) / Math.log(axis.high / axis.low) : (v - axis.low) / (axis.high - axis.low));
    this.x = (v) => (x.reversed ? right - share(x, v) * (right - left) : left + share(x, v) * (right - left));
    this.y = (v) => bottom - share(y, v) * (bottom - top);
    this.fromX = (px) => x.low + (x.high - x.low) * ((x.reversed ? right - px : px - left) / (right - left));
    for (const tick of y.ticks) {
      const at = Math.round(this.y(tick)) + 0.5;
      svg(this.svg, "line", { class: "grid", x1: left, x2: right, y1: at, y2: at });
      svg(this.svg, "text", { x: left - 7, y: at + 4, "text-anchor": "end" }, y.show(tick));
    }
    for (const tick of x.ticks) {
      const at = Math.round(this.x(tick)) + 0.5;
      svg(this.svg, "line", { class: "frame", x1: at, x2: at, y1: bottom, y2: bottom + 4 });
      const text = x.show(tick);
      // A wide one at the edge stays within the chart.
      const over = at + 3.4 * text.length > this.width;
      svg(this.svg, "text", { x: over ? this.width - 1 : at, y: bottom + 17, "text-anchor": over ? "end" : "middle" }, text);
    }
    svg(this.svg, "text", { x: (left + right) / 2, y: height - 5, "text-anchor": "middle" }, x.label);
    svg(this.svg, "path", { class: "frame", d: `M${left + 0.5} ${top}V${bottom + 0.5}H${right}` });
    const clip = `clip-${this.host.id}`;
    svg(svg(this.svg, "clipPath", { id: clip }), "rect", { x: left, y: top - 6, width: right - left + 6, height: bottom - top + 12 });
    this.plot = svg(this.svg, "g", { "clip-path": `url(#${clip})` });
  }

  // A line across the plot; its name goes to whichever end and side is free.
  rule(value, text, taken) {
    const { left, right } = this.box;
    const at = this.y(value);
    svg(this.svg, "line", { class: "target", x1: left, x2: right, y1: at, y2: at });
    const sides = [at + 15, at - 6];
    const places = [...sides.map((y) => ({ x: left + 8, y, anchor: "start" })), ...sides.map((y) => ({ x: right - 4, y, anchor: "end" }))];
    this.text({ class: "halo" }, text, places, taken);
  }

  // Writes at the first place that covers none of the points taken, else at the first.
  text(attributes, text, places, taken) {
    const width = 7.2 * text.length;
    const bounds = ({ x, y, anchor }) => {
      const left = anchor === "end" ? x - width : x;
      return { left, right: left + width, top: y - 14, bottom: y + 7 };
    };
    const { box } = this;
    const fits = (r) => r.left >= box.left && r.right <= box.right + 8 && r.top >= box.top - 8 && r.bottom <= box.bottom;
    // Where no place is free, the one that covers least: better a line than another text.
    const inside = (r, [x, y]) => x >= r.left && x <= r.right && y >= r.top && y <= r.bottom;
    const covered = (r) => taken.reduce((sum, point) => sum + (inside(r, point) ? (point[2] ?? 1) : 0), 0);
    const fitting = places.map((p) => ({ p, r: bounds(p) })).filter(({ r }) => fits(r));
    const costs = fitting.map(({ p, r }) => ({ p, cost: covered(r) }));
    const place = costs.reduce((best, next) => (next.cost < best.cost ? next : best), costs[0] ?? { p: places[0] }).p;
    svg(this.svg, "text", { ...attributes, x: place.x, y: place.y, "text-anchor": place.anchor }, text);
    const r = bounds(place);
    for (let x = r.left; x <= r.right; x += 6) for (const y of [r.top, (r.top + r.bottom) / 2, r.bottom]) taken.push([x, y, 10]);
  }

  empty(text) {
    const { left, right, top, bottom } = this.box;
    svg(this.svg, "text", { class: "empty", x: (left + right) / 2, y: (top + bottom) / 2, "text-anchor": "middle" }, text);
  }

  show(px, py, title, rows) {
    this.tooltip.replaceChildren();
    element(this.tooltip, "b", title);
    const table = element(this.tooltip, "table");
    for (const [name, value, index] of rows) {
      const line = element(table, "tr");
      const cell = element(line, "td");
      if (index !== undefined) element(cell, "span", undefined, { class: "chip", style: colorOf(index) });
      cell.append(name);
      element(line, "td", value);
    }
    this.tooltip.hidden = false;
    const ratio = this.host.clientWidth / this.width || 1;
    const { offsetWidth: w, offsetHeight: h } = this.tooltip;
    const [x, y] = [px * ratio, py * ratio];
    const beside = x + 14 + w > this.host.clientWidth ? x - w - 14 : x + 14;
    this.tooltip.style.left = `${Math.max(0, Math.min(beside, this.host.clientWidth - w))}px`;
    this.tooltip.style.top = `${Math.max(0, Math.min(y - h / 2, this.host.clientHeight - h))}px`;
  }

  hide() {
    this.tooltip.hidden = true;
    this.mark?.remove();
  }

  // Calls back with the pointer's place in the chart's own pixels.
  onPointer(move) {
    this.svg.addEventListener("pointermove", (event) => {
      const rect = this.svg.getBoundingClientRect();
      const scale = this.width / rect.width;
      move((event.clientX - rect.left) * scale, (event.clientY - rect.top) * scale);
    });
    for (const name of ["pointerleave", "blur"]) this.svg.addEventListener(name, () => this.hide());
    this.svg.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
  }
}

// A chart whose crosshair rests on the model's `stops`, by pointer and by arrow keys. Drawn by `draw(model)`, read by
// `read(at)` -> { title, rows }.
class CrossChart {
  constructor(host, label) {
    this.frame = new Frame(host, label);
    this.frame.redraw = () => this.model && this.draw(this.model);
    this.frame.onPointer((px) => this.model?.stops.length > 0 && this.inspect(this.nearest(this.frame.fromX(px))));
    this.frame.svg.addEventListener("keydown", (event) => this.key(event));
  }

  nearest(value) {
    return this.model.stops.reduce((best, stop) => (Math.abs(stop - value) < Math.abs(best - value) ? stop : best));
  }

  inspect(at) {
    const { frame } = this;
    this.at = at;
    frame.mark?.remove();
    const px = frame.x(at);
    frame.mark = svg(frame.svg, "line", { class: "cross", x1: px, x2: px, y1: frame.box.top, y2: frame.box.bottom });
    const { title, rows } = this.read(at);
    frame.show(px, (frame.box.top + frame.box.bottom) / 2, title, rows);
    return `${title}: ${rows.map(([name, text]) => `${name} ${text}`).join(", ")}`;
  }

  // Where the first key goes: to the end that is left behind in that direction.
  start(step) {
    return step > 0 ? 0 : this.model.stops.length - 1;
  }

  key(event) {
    const direction = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const stops = this.model?.stops ?? [];
    if (!direction || stops.length === 0) return;
    event.preventDefault();
    const step = this.model.x?.reversed ? -direction : direction;
    const known = stops.indexOf(this.at);
    const next = known < 0 ? this.start(step) : Math.min(Math.max(known + step, 0), stops.length - 1);
    this.frame.spoken.textContent = this.inspect(stops[next]);
  }
}

// Lines over one axis. `model`: { x, target, arms, lines, callouts, stops, read(x) -> { title, rows } }; a line is
// { arm, slot?, kind, points: [{ x, y, hollow?, low?, high? }], stepped }, `slot` the arm's place among those shown, `stops` are where the crosshair may rest.
class LineChart extends CrossChart {
  draw(model) {
    this.model = model;
    const { frame } = this;
    frame.hide();
    const width = frame.host.clientWidth || 560;
    const percent = { low: 0, high: 100, ticks: [0, 20, 40, 60, 80, 100], show: (t) => `${t} %` };
    const height = Math.round(Math.min(380, Math.max(270, width * 0.64)));
    frame.begin({ ...model.x, ticks: ticksOf(model.x.low, model.x.high, width / 85) }, percent, { height });
    const taken = model.lines.flatMap((line) => this.course(line));
    frame.rule(model.target, `${short(model.target)} % target`, taken);
    for (const callout of model.callouts) this.drop(callout, taken);
    for (const line of model.lines) this.line(line);
    for (const callout of model.callouts) this.callout(callout, taken);
    if (model.lines.length === 0) frame.empty(model.nothing);
  }

  line({ arm, slot = arm, kind, points, stepped }) {
    const { frame } = this;
    const group = svg(frame.plot, "g", { style: colorOf(arm) });
    const at = (p) => `${frame.x(p.x).toFixed(1)} ${frame.y(p.y).toFixed(1)}`;
    const step = (p) => `V${frame.y(p.y).toFixed(1)}`;
    const path = points.map((p, i) => (i === 0 ? `M${at(p)}` : stepped ? `H${frame.x(p.x).toFixed(1)}${step(p)}` : `L${at(p)}`));
    svg(group, "path", { class: `line ${kind}`, d: path.join("") });
    if (stepped || kind !== "both") return;
    for (const p of points) {
      const [x, y] = [frame.x(p.x), frame.y(p.y)];
      if (p.low !== undefined) this.whisker(group, x + 5 * (slot - (this.model.arms - 1) / 2), p);
      svg(group, "path", { class: p.hollow ? "marker hollow" : "marker", d: markerPath(arm, x, y) });
    }
  }

  // Beside each other where the arms share a rate.
  whisker(group, x, { low, high }) {
    const [top, bottom] = [high, low].map((v) => this.frame.y(v).toFixed(1));
    svg(group, "path", { class: "whisker", d: `M${x - 3} ${top}h6m-3 0V${bottom}m-3 0h6` });
  }

  // Points along a line and its whiskers, a few pixels apart: texts keep clear of them.
  course({ points, stepped }) {
    const whiskers = points.filter((p) => p.low !== undefined).flatMap((p) => {
      const heights = Array.from({ length: 41 }, (_, i) => p.low + ((p.high - p.low) * i) / 40);
      return heights.map((v) => [this.frame.x(p.x), this.frame.y(v)]);
    });
    const corners = points.flatMap((p, i) => {
      const [x, y] = [this.frame.x(p.x), this.frame.y(p.y)];
      return stepped && i > 0 ? [[x, this.frame.y(points[i - 1].y)], [x, y]] : [[x, y]];
    });
    const along = corners.slice(1).flatMap(([x1, y1], i) => {
      const [x0, y0] = corners[i];
      const n = Math.max(1, Math.ceil(Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0)) / 5));
      return Array.from({ length: n + 1 }, (_, k) => [x0 + ((x1 - x0) * k) / n, y0 + ((y1 - y0) * k) / n]);
    });
    return [...whiskers, ...along];
  }

  drop({ arm, x }, taken) {
    const { frame } = this;
    const at = frame.x(x);
    for (let y = frame.y(this.model.target); y < frame.box.bottom; y += 6) taken.push([at, y]);
    svg(frame.plot, "line", { class: "drop", style: colorOf(arm), x1: at, x2: at, y1: frame.y(this.model.target), y2: frame.box.bottom });
  }

  // The number beside its drop line, low where there is room.
  callout({ arm, x, text }, taken) {
    const at = this.frame.x(x);
    const heights = Array.from({ length: 13 }, (_, i) => this.frame.box.bottom - 9 - 17 * i);
    const beside = (y) => [{ x: at + 6, y, anchor: "start" }, { x: at - 6, y, anchor: "end" }];
    this.frame.text({ class: "callout halo", style: colorOf(arm) }, text, heights.flatMap(beside), taken);
  }

  read(at) {
    return this.model.read(at);
  }
}
