// Enhances pages that work without it: times stay current, and what is to be copied can be.

const UNITS = [
  [120, 1, "s"],
  [7200, 60, "min"],
  [172800, 3600, "h"],
  [Infinity, 86400, "d"],
];

// By the clock of the server: the page says when it was made.
const made = Date.parse(document.documentElement.dataset.now ?? "");
const loaded = performance.now();

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

setInterval(refreshTimes, 5000);
offerCopies();
