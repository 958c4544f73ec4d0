// Shows one crawl, and asks for it anew every two seconds. Every text from the crawl goes through
// textContent: what a proxy or a host is called is never markup. Rows are kept and changed in place.
"use strict";

const PERIOD = 2000;
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const state = { crawl: "", acts: false, sort: "requests", order: "desc", open: new Map(), shown: null, heard: 0 };

// Writing numbers

const number = (value) => (value === null ? "–" : value.toLocaleString("en"));
const percent = (value) => (value === null ? "–" : (100 * value).toFixed(1) + " %");
const digits = (value) => (value === null ? "∞" : Number(value.toPrecision(3)).toLocaleString("en"));
function seconds(value) {
  if (value === null) return "–";
  if (value < 1) return Math.round(value * 1000) + " ms";
  if (value < 120) return value.toFixed(value < 10 ? 1 : 0) + " s";
  const minutes = Math.round(value / 60);
  return minutes < 120 ? minutes + " min" : (value / 3600).toFixed(1) + " h";
}
const left = (value) => (value ? seconds(value) : "");

// Making and changing elements

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "data-act" || key === "colspan") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const STATES = { healthy: "good", open: "good", recovering: "warn", ramping: "warn", probing: "warn",
  cooling: "warn", paused: "warn", drained: "warn", unreachable: "bad", out: "bad", suspended: "bad" };

function showState(cell, text) {
  setText(cell, text);
  const kind = "text " + (STATES[text] || "");
  if (cell.className !== kind) cell.className = kind;
}

function showUse(cell, row) {
  if (!cell.firstChild) cell.append(element("span"), element("meter"));
  setText(cell.firstChild, row.in_flight + " / " + row.max_in_flight);
  const bar = cell.lastChild;
  bar.max = Math.max(row.max_in_flight, 1);
  bar.value = row.in_flight;
  bar.setAttribute("aria-hidden", "true");
}

const PROXY_COLUMNS = [
  { key: "name", title: "Proxy", text: true, show: showName },
  { key: "state", title: "State", text: true, show: (cell, row) => showState(cell, row.state) },
  { key: "in_flight", title: "In flight", show: showUse },
  { key: "requests", title: "Requests", show: (cell, row) => setText(cell, number(row.requests)) },
  { key: "share", title: "Share", show: (cell, row) => setText(cell, percent(row.share)) },
  { key: "success_rate", title: "Success", show: (cell, row) => setText(cell, percent(row.success_rate)) },
  { key: "p95", title: "p95", show: (cell, row) => setText(cell, seconds(row.p95)) },
  { key: "score", title: "Score", show: showScore },
  { key: "cooldowns", title: "Cooldowns", show: (cell, row) => setText(cell, number(row.cooldowns)) },
  { key: "cooldown_left", title: "Cooldown left", show: (cell, row) => setText(cell, left(row.cooldown_left)) },
  { key: "sessions", title: "Sessions", show: (cell, row) => setText(cell, number(row.sessions)) },
];
const TARGET_COLUMNS = [
  { title: "Target", text: true, show: showName },
  { title: "State", text: true, show: (cell, row) => showState(cell, row.state) },
  { title: "Time left", show: (cell, row) => setText(cell, left(row.seconds_left)) },
  { title: "In flight", show: (cell, row) => setText(cell, number(row.in_flight)) },
  { title: "In queue", show: (cell, row) => setText(cell, number(row.queued)) },
  { title: "Requests", show: (cell, row) => setText(cell, number(row.requests)) },
  { title: "Refusals", show: (cell, row) => setText(cell, number(row.refusals)) },
  { title: "Pauses", show: (cell, row) => setText(cell, number(row.pauses)) },
  { title: "Proxies resting", show: (cell, row) => setText(cell, number(row.resting)) },
];
const GATEWAY_COLUMNS = [
  { title: "Gateway", text: true, show: showName },
  { title: "In flight", show: (cell, row) => setText(cell, number(row.in_flight)) },
  { title: "Limit", show: (cell, row) => setText(cell, digits(row.limit)) },
];
const SESSION_COLUMNS = [
  { title: "Session", text: true, show: showName },
  { title: "Proxy", text: true, show: (cell, row) => setText(cell, row.proxy) },
];

function showName(cell, row) {
  setText(cell, row.name);
  if (cell.title !== row.name) cell.title = row.name;
  cell.classList.add("text", "name");
}

function showScore(cell, row) {
  if (!cell.firstChild) {
    const button = element("button", { type: "button", title: "What it is made of" });
    button.addEventListener("click", () => toggleFactors(row.name));
    cell.append(button);
  }
  const button = cell.firstChild;
  setText(button, digits(row.score));
  button.setAttribute("aria-expanded", String(state.open.has(row.name)));
  button.setAttribute("aria-label", "Score of " + row.name + ": " + digits(row.score) + ", its factors");
}

// A table whose rows stay where they are for as long as they can

class Table {
  constructor(id, columns, actions = null) {
    this.columns = columns;
    this.actions = actions;
    this.head = document.querySelector("#" + id + " thead tr");
    this.body = document.querySelector("#" + id + " tbody");
    this.rows = new Map();
    for (const column of columns) {
      const cell = element("th", { scope: "col", className: column.text ? "text" : "" });
      if (column.key) {
        const button = element("button", { type: "button", textContent: column.title });
        button.addEventListener("click", () => sortBy(column.key));
        cell.append(button);
        column.head = cell;
      } else {
        cell.textContent = column.title;
      }
      this.head.append(cell);
    }
    if (actions) {
      this.actsHead = element("th", { scope: "col", hidden: true });
      this.actsHead.append(element("span", { className: "unseen", textContent: "Actions" }));
      this.head.append(this.actsHead);
    }
  }

  // The order of rows as they come, but while somebody points at one: who clicks is to hit what was there.
  inOrder(rows) {
    const pointed = this.body.matches(":hover") || this.body.querySelector(":focus-visible");
    const held = pointed && !this.reordered;
    this.reordered = false;
    if (!held) return rows;
    const places = new Map([...this.body.children].map((line, place) => [line, place]));
    const place = (row) => places.get(this.rows.get(row.name)) ?? Infinity;
    return [...rows].sort((one, other) => {
      const [here, there] = [place(one), place(other)];
      return here === there ? 0 : here - there;
    });
  }

  show(unordered, details = () => null) {
    const rows = this.inOrder(unordered);
    const wanted = [];
    const names = new Set();
    for (const row of rows) {
      names.add(row.name);
      let line = this.rows.get(row.name);
      if (!line) {
        line = element("tr");
        for (const column of this.columns) line.append(element("td", { className: column.text ? "text" : "" }));
        if (this.actions) line.append(element("td", { className: "acts", hidden: true }));
        this.rows.set(row.name, line);
      }
      this.columns.forEach((column, index) => column.show(line.children[index], row));
      if (this.actions) this.showActions(line.lastChild, row);
      wanted.push(line);
      const more = details(row);
      if (more) wanted.push(more);
    }
    for (const [name, line] of this.rows) {
      if (!names.has(name)) { line.remove(); this.rows.delete(name); }
    }
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    wanted.forEach((line, index) => {
      const there = this.body.children[index];
      if (there !== line) this.body.insertBefore(line, there || null);
    });
    while (this.body.children.length > wanted.length) this.body.lastChild.remove();
    // An element that is moved loses the focus.
    if (focused && focused !== document.activeElement) focused.focus({ preventScroll: true });
  }

  showActions(cell, row) {
    cell.hidden = this.actsHead.hidden = !mayAct();
    if (cell.hidden) return;
    const possible = this.actions(row);
    const there = [...cell.children].map((button) => button.dataset.act).join(" ");
    if (there === possible.map((one) => one.act).join(" ")) return;
    const focused = cell.contains(document.activeElement);
    cell.replaceChildren(...possible.map((one) => {
      const button = element("button", { type: "button", textContent: one.title, "data-act": one.act,
        "aria-label": one.title + " " + row.name });
      button.addEventListener("click", () => act(one, row.name));
      return button;
    }));
    if (focused) cell.firstChild.focus({ preventScroll: true });
  }
}

const proxies = new Table("proxies", PROXY_COLUMNS, (row) => [
  ["drained", "out"].includes(row.state)
    ? { kind: "proxies", act: "enable", title: "Enable" }
    : { kind: "proxies", act: "drain", title: "Drain" },
  ...(row.state === "cooling" ? [{ kind: "proxies", act: "end-cooldown", title: "End cooldown" }] : []),
]);
const targets = new Table("targets", TARGET_COLUMNS, (row) => [
  ["open", "ramping"].includes(row.state)
    ? { kind: "targets", act: "pause", title: "Pause 10 min", body: { seconds: 600 } }
    : { kind: "targets", act: "resume", title: "Resume" },
]);
const gateways = new Table("gateways", GATEWAY_COLUMNS);
const sessions = new Table("sessions", SESSION_COLUMNS);

// The factors of a score, on demand

const FACTORS = { weight: "weight", success: "success", slowness: "slowness", lost: "time lost by a failure",
  cost: "time per success", load: "load", doubt: "doubt", recovery: "recovery", forgiven: "failures forgiven" };

async function toggleFactors(name) {
  if (state.open.has(name)) {
    state.open.get(name).remove();
    state.open.delete(name);
  } else {
    const cell = element("td", { colspan: PROXY_COLUMNS.length + 1 });
    state.open.set(name, element("tr", { className: "factors" }, cell));
    await showFactors(name);
  }
  if (state.shown) show(state.shown);
}

async function showFactors(name) {
  const line = state.open.get(name);
  if (!line) return;
  try {
    const score = await ask("proxies", name);
    const factors = Object.entries(FACTORS).map(([key, title]) => title + " " + digits(score[key]));
    setText(line.firstChild, "Score " + digits(score.score) +
      " = weight × recovery × doubt ÷ (time per success × load): " + factors.join(", "));
  } catch (error) {
    setText(line.firstChild, error.message);
  }
}

// The summary and the last few minutes

function showSummary(shown) {
  const summary = shown.summary;
  const tiles = [
    ...Object.entries(summary.states).filter(([name, count]) => count || name === "healthy"),
    ["in flight", number(summary.in_flight) + " / " + number(summary.capacity)],
    ["requests", number(summary.requests)],
    ["success", percent(summary.success_rate)],
    ["retries", number(summary.retries)],
    ["held", number(summary.held)],
    ["paused targets", number(summary.paused_targets)],
    ["sessions", number(summary.sessions)],
    ["running for", seconds(shown.seconds)],
  ];
  const list = byId("summary");
  while (list.children.length > tiles.length) list.lastChild.remove();
  tiles.forEach(([title, value], index) => {
    if (!list.children[index]) list.append(element("div", {}, element("dt"), element("dd")));
    setText(list.children[index].firstChild, title);
    setText(list.children[index].lastChild, String(value));
  });
}

const LINES = [
  ["in_flight", "in flight", (value) => number(value)],
  ["requests_per_second", "requests per second", (value) => digits(value)],
  ["success_rate", "success", percent],
  ["held", "held", (value) => number(value)],
];

function showHistory(history) {
  const box = byId("history");
  LINES.forEach(([key, title, write], index) => {
    if (!box.children[index]) {
      const drawing = document.createElementNS(SVG, "svg");
      drawing.setAttribute("viewBox", "0 0 150 40");
      drawing.setAttribute("preserveAspectRatio", "none");
      drawing.setAttribute("aria-hidden", "true");
      drawing.append(document.createElementNS(SVG, "polyline"));
      box.append(element("figure", {}, element("figcaption"), drawing));
    }
    const values = history[key];
    const known = values.filter((value) => value !== null);
    const most = key === "success_rate" ? 1 : Math.max(1, ...known);
    const last = known.length ? write(known[known.length - 1]) : "–";
    const figure = box.children[index];
    setText(figure.firstChild, title + ": " + last + (known.length ? ", at most " + write(Math.max(...known)) : ""));
    const steps = Math.max(30, values.length);  // a minute at least
    const points = values.map((value, at) => [(150 * (steps - values.length + at)) / (steps - 1), value])
      .filter(([, value]) => value !== null)
      .map(([x, value]) => x.toFixed(1) + "," + (38 - (36 * value) / most).toFixed(1));
    figure.lastChild.firstChild.setAttribute("points", points.join(" "));
  });
}

function show(shown) {
  showSummary(shown);
  showHistory(shown.history);
  setText(byId("matching"), shown.matching > shown.proxies.length
    ? number(shown.proxies.length) + " of " + number(shown.matching) : number(shown.matching));
  for (const column of PROXY_COLUMNS) {
    if (column.key === state.sort) column.head.setAttribute("aria-sort", state.order === "asc" ? "ascending" : "descending");
    else column.head.removeAttribute("aria-sort");
  }
  proxies.show(shown.proxies, (row) => state.open.get(row.name));
  targets.show(shown.targets);
  byId("gateways-section").hidden = !shown.gateways.length;
  gateways.show(shown.gateways);
  byId("sessions-section").hidden = !shown.sessions.length;
  setText(byId("sessions-count"), number(shown.summary.sessions));
  sessions.show(shown.sessions.map((one) => ({ ...one, name: one.session })));
}

// Asking and acting

async function answerOf(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || "status " + response.status);
  return answer;
}

// Of the crawl whose rows are there, which may not be the one that has been asked for since.
const pathTo = (...parts) => ["api", "crawls", state.shown.crawl, ...parts].map(encodeURIComponent).join("/");

async function ask(...parts) {
  return answerOf(await fetch(pathTo(...parts), { signal: AbortSignal.timeout(8000) }));
}

const token = () => sessionStorage.getItem("token") || "";
const mayAct = () => state.acts && token() !== "";

async function act(one, name) {
  const said = byId("said");
  try {
    const answer = await answerOf(await fetch(pathTo(one.kind, name, one.act),
      { method: "POST", headers: { Authorization: "Bearer " + token() }, body: JSON.stringify(one.body || {}) }));
    said.className = "";
    setText(said, one.title + " " + name + ": " + (answer.changed ? "done" : "nothing to change"));
  } catch (error) {
    said.className = "bad";
    setText(said, one.title + " " + name + ": " + error.message);
  }
  await refresh();
}

function showAccess() {
  byId("read-only").hidden = state.acts || !state.crawl;
  byId("token-form").hidden = !state.acts;
  byId("token-forget").hidden = token() === "";
  byId("token").placeholder = token() === "" ? "to act from here" : "in use";
}

let asked = 0;

async function refresh() {
  const mine = ++asked;
  try {
    const { crawls } = await answerOf(await fetch("api/crawls", { signal: AbortSignal.timeout(8000) }));
    const select = byId("crawl");
    const names = crawls.map((crawl) => crawl.name);
    if ([...select.options].map((option) => option.value).join("\n") !== names.join("\n")) {
      select.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
    }
    if (!names.includes(state.crawl)) {
      state.crawl = names[0] || "";
      state.open.clear();
    }
    select.value = state.crawl;
    document.title = "Proxies of " + state.crawl;
    if (!state.crawl) throw new Error("no crawl is running");
    const query = new URLSearchParams({ sort: state.sort, order: state.order, filter: byId("filter").value });
    const shown = await answerOf(await fetch("api/crawls/" + encodeURIComponent(state.crawl) + "?" + query,
      { signal: AbortSignal.timeout(8000) }));
    if (mine !== asked) return;
    state.acts = shown.acts;
    state.shown = shown;
    state.heard = Date.now();
    showAccess();
    show(shown);
    const there = new Set(shown.proxies.map((row) => row.name));
    for (const name of state.open.keys()) if (there.has(name)) showFactors(name);
    setText(byId("age"), "");
    byId("age").className = "";
  } catch (error) {
    if (mine !== asked) return;
    byId("age").className = "late";
    // A moment and not a duration: it is read out when it changes.
    const since = state.heard ? " since " + new Date(state.heard).toLocaleTimeString() : "";
    setText(byId("age"), "No answer" + since + ": " + error.message);
  }
}

function sortBy(key) {
  if (state.sort === key) state.order = state.order === "asc" ? "desc" : "asc";
  else { state.sort = key; state.order = ["name", "state"].includes(key) ? "asc" : "desc"; }
  proxies.reordered = true;
  refresh();
}

byId("crawl").addEventListener("change", (event) => {
  state.crawl = event.target.value;
  state.open.clear();
  refresh();
});
byId("filter").addEventListener("input", refresh);
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("token").value) sessionStorage.setItem("token", byId("token").value);
  byId("token").value = "";
  refresh();
});
byId("token-forget").addEventListener("click", () => { sessionStorage.removeItem("token"); refresh(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

(async function run() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((resolve) => setTimeout(resolve, PERIOD));
  }
})();
