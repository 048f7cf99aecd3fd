// The race of `best`: what each candidate was predicted and measured to carry, as bars that share one axis.

const BAR = 1000;

function showRace(race) {
  byId("race").hidden = byId("race-link").hidden = false;
  say(byId("race-sentence"), race.sentence);
  const { candidates } = race;
  const most = Math.max(0.001, ...candidates.flatMap((c) => [c.predicted, c.rate, c.high].filter((v) => v !== null)));
  const ticks = ticksOf(0, most, 4);
  const at = (value) => (BAR * Math.min(value, most * 1.05)) / (most * 1.05);
  const table = byId("race-table");
  table.replaceChildren();
  // A phone shows each row as a block, which would take the table's meaning away; roles keep it.
  table.setAttribute("role", "table");
  const head = element(element(table, "thead", undefined, { role: "rowgroup" }), "tr", undefined, { role: "row" });
  const column = { scope: "col", role: "columnheader" };
  element(head, "th", "Candidate", column);
  axis(element(head, "th", undefined, { ...column, class: "bar" }), ticks, at);
  for (const name of ["Carries", "Points", "State"]) element(head, "th", name, column);
  const body = element(table, "tbody", undefined, { role: "rowgroup" });
  for (const candidate of candidates) {
    const busy = candidate.state === "being measured" ? { class: "busy" } : {};
    const row = element(body, "tr", undefined, { role: "row", ...busy });
    element(row, "th", candidate.label, { scope: "row", role: "rowheader" });
    bar(element(row, "td", undefined, { role: "cell", class: "bar" }), candidate, ticks, at);
    const predicted = candidate.predicted === null ? "not measured" : `predicted ${short(candidate.predicted)} req/s`;
    element(row, "td", candidate.measured || predicted, { role: "cell", class: candidate.measured ? "measured" : "measured down" });
    element(row, "td", candidate.points === 0 ? "" : `${candidate.points} point${candidate.points === 1 ? "" : "s"}`, { role: "cell" });
    element(row, "td", candidate.state, { role: "cell" });
  }
  const spent = `${spanWords(Math.round(race.spent_secs))} of ${spanWords(Math.round(race.budget_secs))} with engines up are spent.`;
  const others = race.others ? ` ${race.others} others were dropped by prediction.` : "";
  say(byId("race-hint"), `Diamond: predicted, not measured. Circle and bar: measured, with its 95 % interval; hollow: only a bound. ${spent}${others}`);
}

// The svg is as wide as its cell, so that places are shares of it, and marks keep their shape.
function strip(cell) {
  return svg(cell, "svg", { "aria-hidden": "true", focusable: "false" });
}

const share = (place) => `${(place / BAR) * 100}%`;

function axis(cell, ticks, at) {
  element(cell, "span", "req/s", { class: "hidden" });
  const place = strip(cell);
  ticks.forEach((tick, i) => {
    const anchor = i === 0 ? "start" : "middle";
    svg(place, "text", { x: share(at(tick)), y: "1.1rem", "text-anchor": anchor }, i === 0 ? `${short(tick)} req/s` : short(tick));
  });
}

function bar(cell, { kind, predicted, rate, side, low, high }, ticks, at) {
  const place = strip(cell);
  const group = svg(place, "g", { style: colorOf(kind === "nixl" ? 1 : 0) });
  for (const tick of ticks) svg(place, "line", { x1: share(at(tick)), x2: share(at(tick)), y1: 0, y2: "100%", style: "stroke:var(--grid)" });
  place.append(group);
  if (predicted !== null) {
    const holder = svg(group, "svg", { x: share(at(predicted)), y: "50%", style: "overflow:visible" });
    svg(holder, "path", { d: "M0 -6L5 0L0 6L-5 0Z", style: "fill:none;stroke:var(--ink-2)" });
  }
  if (low !== null && high !== null) {
    svg(group, "line", { x1: share(at(low)), x2: share(at(high)), y1: "50%", y2: "50%", style: "stroke:var(--c);stroke-width:3;opacity:.6" });
  }
  if (rate !== null) {
    const fill = side === "at" ? "var(--c)" : "var(--paper)";
    svg(group, "circle", { cx: share(at(rate)), cy: "50%", r: 5, style: `fill:${fill};stroke:var(--c);stroke-width:2` });
  }
}
