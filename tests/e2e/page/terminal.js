// Draws `frame`, which a terminal program printed, as a terminal would.
const COLOURS = ["#3b4048", "#ff9c92", "#86cf98", "#e9c26b", "#93bfec", "#d6a7e8", "#74c7bf", "#d5d8da"];
const pre = document.querySelector("pre");
document.body.style.cssText = "margin: 0; background: #15181b";
pre.style.cssText =
  "margin: 0; padding: 18px 22px; display: inline-block; color: #d5d8da; font: 15px/1.35 'DejaVu Sans Mono', monospace";
let style = {};
let isReversed = false;
const apply = (code) => {
  if (code === 0) [style, isReversed] = [{}, false];
  else if (code === 1) style.fontWeight = "700";
  else if (code === 2) style.opacity = "0.65";
  else if (code === 4) style.textDecoration = "underline";
  else if (code === 7) isReversed = true;
  else if (code >= 30 && code < 38) style.color = COLOURS[code - 30];
  else if (code > 90 && code < 98) style.color = COLOURS[code - 90];
  else if (code === 90) style.color = "#8d949a";
  else if (code >= 40 && code < 48) style.background = COLOURS[code - 40];
};
for (const [index, piece] of frame.replace(/\n+$/, "").split(/\x1b\[([\d;]*)m/).entries()) {
  if (index % 2) {
    for (const code of (piece || "0").split(";")) apply(Number(code));
    continue;
  }
  const span = document.createElement("span");
  const reversed = { background: style.color ?? "#d5d8da", color: style.background ?? "#15181b" };
  Object.assign(span.style, style, isReversed ? reversed : {});
  span.textContent = piece.replace(/\x1b\[[\d;?]*[A-Za-z]/g, "");
  pre.append(span);
}
