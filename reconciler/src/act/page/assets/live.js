// Keeps the numbers of a page current. What the server rendered stays readable without this module.
//
// [data-stream]: an event stream of counters; [data-reload]: a section that is fetched again every so many seconds.
// [data-live-state] says whether the numbers are live or stale.

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"];
// Five minutes of events that come every 5 s.
const POINTS = 60;
// Three events are missing.
const SILENCE = 16000;

function bytes(number) {
  if (number < 1024) return `${Math.round(number)} B`;
  let value = number / 1024;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${UNITS[unit]}`;
}

const grouped = (number) => Math.round(number).toLocaleString("en-US");
const perSecond = (number) => `${bytes(number)}/s`;

function say(text, isStale) {
  for (const place of document.querySelectorAll("[data-live-state]")) {
    // Said once, not with every event: a screen reader reads it aloud.
    if (place.textContent !== text) place.textContent = text;
    place.classList.toggle("is-stale", isStale);
  }
}

function put(within, name, text) {
  const place = within?.querySelector(`[data-live="${name}"]`);
  if (place && place.textContent !== text) place.textContent = text;
}

const BADGES = {
  up: ["state-up", "▲"],
  down: ["state-down", "▼"],
  paused: ["state-warn", "‖"],
};

function badge(within, word) {
  const place = within?.querySelector('[data-live="state"] .state');
  if (!place || place.dataset.word === word) return;
  const [kind, mark] = BADGES[word] ?? ["state-off", "○"];
  const shape = document.createElement("span");
  shape.className = "mark";
  shape.setAttribute("aria-hidden", "true");
  shape.textContent = mark;
  place.dataset.word = word;
  place.className = `state ${kind}`;
  place.replaceChildren(shape, ` ${word}`);
}

function traffic(within, figures) {
  put(within, "bytes_in", bytes(figures.bytes_in ?? 0));
  put(within, "bytes_out", bytes(figures.bytes_out ?? 0));
  put(within, "active", grouped(figures.active_connections ?? 0));
  put(within, "total", grouped(figures.connections_total ?? 0));
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.points = [];
  }

  add(rates) {
    if (!this.figure) return;
    this.points.push([rates.bytes_in_per_sec ?? 0, rates.bytes_out_per_sec ?? 0]);
    this.points = this.points.slice(-POINTS);
    if (this.points.length < 2) return;
    const most = Math.max(...this.points.flat());
    // Where nothing moves, the lines lie on the ground.
    const scale = 44 / Math.max(1, most);
    const step = 300 / (POINTS - 1);
    const first = POINTS - this.points.length;
    const line = (column) =>
      this.points.map((point, index) => `${((first + index) * step).toFixed(1)},${(46 - point[column] * scale).toFixed(1)}`).join(" ");
    this.figure.querySelector(".spark-in").setAttribute("points", line(0));
    this.figure.querySelector(".spark-out").setAttribute("points", line(1));
    put(this.figure, "most", most < 1 ? "no traffic" : perSecond(most));
    this.figure.hidden = false;
  }
}

function follow(section) {
  const chart = new Chart(section.querySelector("[data-chart]"));
  const targets = new Map([...document.querySelectorAll("[data-target]")].map((row) => [row.dataset.target, row]));
  const ports = new Map([...document.querySelectorAll("[data-port]")].map((row) => [row.dataset.port, row]));
  let heard = performance.now();
  const stats = (event) => {
    heard = performance.now();
    const found = JSON.parse(event.data);
    const rates = found.rates ?? {};
    traffic(section, found);
    put(section, "rate_in", perSecond(rates.bytes_in_per_sec ?? 0));
    put(section, "rate_out", perSecond(rates.bytes_out_per_sec ?? 0));
    put(section, "connections_rate", `${(rates.connections_per_sec ?? 0).toFixed(1)}/s`);
    chart.add(rates);
    for (const target of found.targets ?? []) {
      const row = targets.get(target.report?.target ?? `${target.host}:${target.port}`);
      if (!row) continue;
      traffic(row, target);
      if (target.report) badge(row, target.report.state);
    }
    for (const port of found.ports ?? []) {
      const row = ports.get(String(port.port));
      if (row) traffic(row, port);
    }
    say("live", false);
  };
  const source = new EventSource(section.dataset.stream);
  source.addEventListener("stats", stats);
  source.addEventListener("problem", (event) => {
    heard = performance.now();
    say(`stale: ${JSON.parse(event.data).detail}`, true);
  });
  source.addEventListener("error", () => {
    // The browser tries again by itself, unless the server refused.
    say(source.readyState === EventSource.CLOSED ? "stale: reload the page" : "stale: reconnecting", true);
  });
  setInterval(() => {
    if (performance.now() - heard > SILENCE && source.readyState === EventSource.OPEN) say("stale: no events received", true);
  }, 5000);
}

function repeat(section) {
  const every = Number(section.dataset.reload) * 1000;
  const isBusy = () => document.hidden || section.contains(document.activeElement) || section.querySelector("details[open]");
  const again = async () => {
    if (!isBusy()) {
      try {
        const response = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
        const text = await response.text();
        const fresh = new DOMParser().parseFromString(text, "text/html").getElementById(section.id);
        if (!response.ok || !fresh) throw new Error(response.statusText);
        section.replaceChildren(...fresh.childNodes);
        say("live", false);
      } catch {
        say("stale: reload the page", true);
      }
    }
    setTimeout(again, every);
  };
  setTimeout(again, every);
}

for (const section of document.querySelectorAll("[data-stream]")) follow(section);
for (const section of document.querySelectorAll("[data-reload]")) repeat(section);
