// What the run is about, what it is doing, and how far it is.

function showAbout({ title, facts, labels }) {
  say(byId("title"), title);
  document.title = `${title} · topobench live`;
  list(byId("facts"), [...facts, ...labels]);
}

function showNow(now) {
  say(byId("doing"), now.doing);
  isOver = now.ended;
  const { point } = now;
  const bar = byId("progress");
  bar.hidden = !point;
  const ended = point ? point.done + (point.failed ?? 0) : 0;
  if (point) {
    bar.max = Math.max(1, point.offered);
    bar.value = Math.min(ended, point.offered);
  }
  const place = point && (point.of ? `${point.number} of ${point.of}` : `${point.number}`);
  const inFlight = point?.sent === null || !point ? null : String(Math.max(0, point.sent - ended));
  list(byId("counts"), [
    ["Point", place],
    ["Requests", point && String(point.offered)],
    ["Sent", point?.sent?.toString()],
    ["In flight", inFlight],
    [point?.failed === null ? "Ended" : "Completed", point && String(point.done)],
    ["Failed", point?.failed ? String(point.failed) : null, "bad"],
    ["Last one due in", point?.due_left ? spanWords(Math.round(point.due_left)) : null],
    ["Time left", now.left],
    ["Known so far", now.known],
    ["Not shown", now.problem, "bad"],
    ["Events missed", now.unheard ? String(now.unheard) : null, "bad"],
  ]);
}

// The deployments, and how far each is.
function showArms(arms) {
  byId("arms").hidden = arms.length === 0;
  const cells = ({ name, engines, loads, points, state }) => [name, state, points, loads, engines];
  fill(byId("arms-table"), ["Deployment", "State", "Points", "Loads", "Engines"], arms.map((arm) => ({ cells: cells(arm) })));
}

// Engines that are not ready yet, and where they are.
function showStarting(starting) {
  const host = byId("starting");
  host.replaceChildren();
  for (const [name, phase] of starting) {
    const entry = element(host, "li");
    element(entry, "b", name);
    entry.append(` ${phase}`);
  }
}

function showTold(lines) {
  byId("told-none").hidden = lines.length > 0;
  const host = byId("told-lines");
  host.replaceChildren();
  for (const { at, text } of [...lines].reverse()) {
    const line = element(host, "li");
    element(line, "time", at);
    element(line, "span", text);
  }
}

// Each log keeps its place, so that what is read stays under the reader's eyes.
function showLogs(logs) {
  byId("logs-none").hidden = logs.length > 0;
  const host = byId("logs-all");
  const known = new Map([...host.children].map((node) => [node.dataset.of, node]));
  const nodes = logs.map(({ of, lines }) => {
    const node = known.get(of) ?? element(null, "article", undefined, { class: "log" });
    if (!known.has(of)) {
      node.dataset.of = of;
      element(node, "h3", of);
      element(element(node, "pre", undefined, { tabindex: "0", "aria-label": `Log of ${of}` }), "code");
    }
    const code = node.querySelector("code");
    const text = lines.join("\n");
    if (code.textContent !== text) {
      code.textContent = text;
      code.parentElement.scrollTop = code.parentElement.scrollHeight;
    }
    return node;
  });
  if (nodes.some((node, i) => host.children[i] !== node) || host.children.length !== nodes.length) host.replaceChildren(...nodes);
}
