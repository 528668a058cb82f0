// Enhances pages that work without it: times stay current, views follow the fleet, and what is to be copied can be.

const UNITS = [
  [120, 1, "s"],
  [7200, 60, "min"],
  [172800, 3600, "h"],
  [Infinity, 86400, "d"],
];

// By the clock of the server: the page says when it was made.
let made = Date.parse(document.documentElement.dataset.now ?? "");
let loaded = performance.now();

function words(seconds) {
  const span = Math.abs(seconds);
  if (span < 2) return "now";
  const [, size, name] = UNITS.find(([limit]) => span < limit);
  const text = `${Math.floor(span / size)} ${name}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function refreshTimes() {
  if (Number.isNaN(made)) return;
  const now = made + performance.now() - loaded;
  for (const time of document.querySelectorAll("main time[datetime]")) {
    const text = words(Math.round((now - Date.parse(time.dateTime)) / 1000));
    if (time.textContent !== text) time.textContent = text;
  }
}

function offerCopies() {
  if (!navigator.clipboard) return;
  for (const source of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button button-quiet";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    source.before(button);
  }
}

// A view with data-live is fetched again when something changes. Nothing is taken from under a person who fills in a form.
const QUIET = 1500;
let stream;
let waiting;
let isFetching = false;
let hasOpened = false;

function isInUse(main) {
  const changed = [...main.querySelectorAll("input, textarea")].some((field) => field.value !== field.defaultValue);
  return changed || main.contains(document.activeElement) && document.activeElement !== main || main.querySelector("details[open]");
}

function say(text) {
  let line = document.querySelector(".stale");
  if (!text) return line?.remove();
  if (!line) {
    line = document.createElement("p");
    line.className = "note note-warn stale";
    line.setAttribute("role", "status");
    document.querySelector("main").before(line);
  }
  if (line.textContent !== text) line.textContent = text;
}

async function refresh() {
  waiting = undefined;
  const main = document.querySelector("main[data-live]");
  if (!main || isFetching || document.hidden) return;
  if (isInUse(main)) return soon();
  isFetching = true;
  try {
    const answer = await fetch(location.href);
    // The session has ended: the page leads to where one begins.
    if (answer.redirected) return location.reload();
    if (!answer.ok) throw new Error(String(answer.status));
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const done = main.querySelector(".note-done");
    if (isInUse(main)) return soon();
    main.replaceChildren(...next.querySelector("main").childNodes);
    if (done) main.prepend(done);
    document.querySelector(".fleet-line").replaceChildren(...next.querySelector(".fleet-line").childNodes);
    made = Date.parse(next.documentElement.dataset.now ?? "");
    loaded = performance.now();
    offerCopies();
    say("");
  } catch {
    lost();
  } finally {
    isFetching = false;
  }
}

function soon() {
  waiting ??= setTimeout(refresh, QUIET);
}

function lost() {
  say(`The server does not answer. This page shows the state at ${new Date(made).toISOString().slice(11, 19)} UTC.`);
}

function follow() {
  stream?.close();
  if (document.hidden || !document.querySelector("main[data-live]")) return;
  stream = new EventSource("/ui/live/changes");
  stream.addEventListener("open", () => {
    if (hasOpened) soon();
    hasOpened = true;
  });
  stream.addEventListener("error", lost);
  for (const kind of ["apply", "balance", "certificate", "edge", "freeze", "health", "hold", "override", "quota", "remote",
    "rule", "snapshot", "target", "target_override", "tree", "unsettled", "weights"]) {
    stream.addEventListener(kind, soon);
  }
}

// On a narrow screen the names of the views scroll; that of the open one is in sight.
const current = document.querySelector(".nav [aria-current]");
if (current) current.closest("nav").scrollLeft = current.offsetLeft - 40;

setInterval(refreshTimes, 5000);
document.addEventListener("visibilitychange", follow);
offerCopies();
follow();
