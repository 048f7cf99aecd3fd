// Lines over time: what engines and GPUs did in the last minutes.

const byId = (id) => document.getElementById(id);

// Keeps what is read where a chart is drawn anew under the reader.
function redrawn(chart, model) {
  const reading = !chart.frame.tooltip.hidden && chart.at !== undefined ? chart.at : null;
  chart.draw(model);
  if (reading !== null && model.stops.includes(reading)) chart.inspect(reading);
}

// `4 min 30 s`, to the whole second.
function spanWords(secs) {
  const [minutes, rest] = [Math.floor(secs / 60), Math.round(secs % 60)];
  return [minutes && `${minutes} min`, (rest || !minutes) && `${rest} s`].filter(Boolean).join(" ");
}

// `model`: { span (s), high, show(value), lines: [{ hue, second, name, points: [[at, value]] }], newest, end }.
class TimeChart extends CrossChart {
  draw(model) {
    this.model = model;
    const { frame } = this;
    frame.hide();
    const width = frame.host.clientWidth || 560;
    const steps = [5, 10, 15, 30, 60, 120, 300];
    const step = steps.find((s) => (model.span / s) * 95 <= width) ?? 300;
    const ticks = Array.from({ length: Math.floor(model.span / step) + 1 }, (_, i) => -i * step || 0);
    const x = { low: -model.span, high: 0, ticks, label: "", show: (t) => (t === 0 ? model.end : `−${spanWords(-t)}`) };
    const y = { low: 0, high: model.high, ticks: ticksOf(0, model.high, 4), show: model.show };
    frame.begin(x, y, { height: 170, top: 10 });
    for (const { hue, second, points } of model.lines) {
      const d = points.map(([at, value], i) => `${i && at - points[i - 1][0] < 10 ? "L" : "M"}${frame.x(at - model.newest).toFixed(1)} ${frame.y(value).toFixed(1)}`);
      svg(frame.plot, "path", { class: second ? "line series second" : "line series", d: d.join(""), style: colorOf(hue) });
    }
  }

  read(at) {
    const { model } = this;
    const close = (points) => points.find(([t]) => Math.abs(t - model.newest - at) <= 1.5);
    const rows = model.lines.map((line) => [line, close(line.points)]).filter(([, point]) => point);
    const title = at === 0 ? model.end : `${spanWords(-at)} before ${model.end}`;
    return { title, rows: rows.map(([line, [, value]]) => [line.name, model.show(value), line.hue]) };
  }

  // Always with what is newest.
  start() {
    return this.model.stops.length - 1;
  }
}

// A table's rows: heads, then lines of cells; the first cell of each names it.
function fill(table, heads, lines) {
  table.replaceChildren();
  const head = element(element(table, "thead"), "tr");
  for (const name of heads) element(head, "th", name, { scope: "col" });
  const body = element(table, "tbody");
  for (const { cells, hue, down } of lines) {
    const row = element(body, "tr", undefined, down ? { class: "down" } : {});
    cells.forEach((text, i) => {
      const cell = element(row, i === 0 ? "th" : "td", undefined, i === 0 ? { scope: "row" } : {});
      if (i === 0 && hue !== undefined) element(cell, "span", undefined, { class: "chip", style: colorOf(hue) });
      cell.append(text);
    });
  }
}

// Pairs of names and values; what has no value is left out.
function list(host, pairs) {
  host.replaceChildren();
  for (const [name, value, kind] of pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")) {
    const pair = element(host, "div");
    element(pair, "dt", name);
    element(pair, "dd", value, kind ? { class: kind } : {});
  }
}

// Text only where it is another one: what is the same is not read out again.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
