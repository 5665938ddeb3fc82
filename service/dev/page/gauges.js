// The numbers below the masthead: what waits, the rates of acceptance and delivery, retries and dead letters.
//
// They are read once a second, while the page is visible, from the same /metrics text that a Prometheus server reads.
// A rate is the difference between two readings of a counter divided by the time between them. A counter that became
// smaller (the process restarted) begins again at zero.

import { keyHeaders, noteStatus } from "./ingress.js";

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+(\S+)/;
const NAMES = ["queue_depth", "accepted_total", "delivered_total", "retries_total", "dead_letters"].map((name) => `fanout_${name}`);
const INTERVAL = 1000;
const READINGS = 60;
const WIDTH = 120;
const HEIGHT = 40;
const SVG = "http://www.w3.org/2000/svg";

const by = (id) => document.getElementById(id);
const whole = (value) => Math.round(value).toLocaleString("en");
const rate = (value) => (value < 10 ? String(Math.round(value * 10) / 10) : whole(value));

export function showGauges() {
  new Meter(show).start();
}

// The sum over all series of each wanted name: {name: total}. A name that is absent from `text` is absent here.
function totals(text) {
  const sums = {};
  for (const line of text.split("\n")) {
    const [, name, value] = SAMPLE.exec(line) ?? [];
    if (NAMES.includes(name)) sums[name] = (sums[name] ?? 0) + Number(value);
  }
  return sums;
}

class Meter {
  #last = null;
  #history = { accepted: Array(READINGS).fill(0), delivered: Array(READINGS).fill(0) };
  #onReading;

  // onReading({depth, retries, dead, accepted: {total, rate, history}, delivered: {...}}), or onReading(null) when the
  // metrics cannot be read.
  constructor(onReading) {
    this.#onReading = onReading;
  }

  start() {
    this.#tick();
  }

  async #tick() {
    if (!document.hidden) {
      try {
        this.#onReading(this.#reading(await this.#fetch()));
      } catch {
        this.#last = null;
        this.#onReading(null);
      }
    }
    setTimeout(() => this.#tick(), INTERVAL);
  }

  async #fetch() {
    const answer = await fetch(new URL("metrics", document.baseURI), { cache: "no-store", headers: keyHeaders() });
    noteStatus(answer.status);
    if (!answer.ok) throw new Error(`metrics answered ${answer.status}`);
    return totals(await answer.text());
  }

  #reading(sums) {
    const now = performance.now();
    const before = this.#last;
    this.#last = { now, sums };
    const counter = (kind) => {
      const name = `fanout_${kind}_total`;
      const total = sums[name] ?? 0;
      const earlier = before?.sums[name] ?? 0;
      const change = total < earlier ? total : total - earlier;
      const rate = before ? (change * 1000) / (now - before.now) : 0;
      const history = this.#history[kind];
      history.push(rate);
      history.shift();
      return { total, rate, history };
    };
    return {
      depth: sums.fanout_queue_depth ?? 0,
      retries: sums.fanout_retries_total ?? 0,
      dead: sums.fanout_dead_letters ?? 0,
      accepted: counter("accepted"),
      delivered: counter("delivered"),
    };
  }
}

// Without a reading no numbers are shown: the old ones may be wrong.
function show(reading) {
  by("depth-note").textContent = reading ? "queued now" : "no metrics";
  for (const id of ["depth", "retries", "dead"]) by(id).textContent = reading ? whole(reading[id]) : "–";
  for (const kind of ["accepted", "delivered"]) by(`${kind}-rate`).textContent = reading ? rate(reading[kind].rate) : "–";
  by("dead").parentElement.classList.toggle("alarmed", Boolean(reading?.dead));
  if (!reading) return;
  const peak = Math.max(1, ...reading.accepted.history, ...reading.delivered.history);
  for (const kind of ["accepted", "delivered"]) {
    by(`${kind}-note`).textContent = `${whole(reading[kind].total)} in total`;
    draw(by(`${kind}-spark`), reading[kind].history, peak);
  }
}

// The latest value is at the right edge and `peak` at the top. Both graphs have one scale, so they can be compared.
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
