// The strip of numbers below the masthead: what waits, how fast it comes and goes, what went wrong.

import { Meter } from "./metrics.js";

const WIDTH = 120;
const HEIGHT = 40;
const SVG = "http://www.w3.org/2000/svg";

const by = (id) => document.getElementById(id);
const whole = (value) => Math.round(value).toLocaleString("en");
const rate = (value) => (value < 10 ? String(Math.round(value * 10) / 10) : whole(value));

export function showGauges() {
  new Meter(show).start();
}

// `reading` is null when the metrics could not be read: numbers that may be wrong are not shown.
function show(reading) {
  by("depth-note").textContent = reading ? "queued now" : "no metrics";
  for (const id of ["depth", "retries", "dead"]) by(id).textContent = reading ? whole(reading[id]) : "–";
  for (const kind of ["accepted", "delivered"]) by(`${kind}-rate`).textContent = reading ? rate(reading[kind].rate) : "–";
  by("dead").parentElement.classList.toggle("alarmed", Boolean(reading?.dead));
  if (!reading) return;
  const peak = Math.max(1, ...reading.accepted.history, ...reading.delivered.history);
  for (const kind of ["accepted", "delivered"]) {
    by(`${kind}-note`).textContent = `${whole(reading[kind].total)} in all`;
    draw(by(`${kind}-spark`), reading[kind].history, peak);
  }
}

// The newest value at the right edge, `peak` at the top; both sparks share one scale, so that they can be compared.
function draw(svg, history, peak) {
  if (!svg.firstChild) svg.append(path("area"), path("trace"));
  const step = WIDTH / (history.length - 1);
  const line = history.map((value, i) => `${(i * step).toFixed(2)},${(HEIGHT - 1 - (value / peak) * (HEIGHT - 3)).toFixed(2)}`).join("L");
  svg.firstChild.setAttribute("d", `M0,${HEIGHT}L${line}L${WIDTH},${HEIGHT}Z`);
  svg.lastChild.setAttribute("d", `M${line}`);
}

function path(className) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("class", className);
  return element;
}
