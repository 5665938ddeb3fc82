// The received messages: newest first, drawn once per animation frame, bounded in number.
//
// A message that this page sent may have a stamp as its last argument: {"sentAt": milliseconds}, and in a series also
// {"n", "of"}. The stamp is shown as latency and position, not as an argument.

import { elementTexts, layOut } from "../console/raw-json.js";

const KEPT = 200;
const LONGEST = 6000;
const STAMP_KEYS = new Set(["sentAt", "n", "of"]);
const HOUR = 3_600_000;
const ANNOUNCE_INTERVAL = 2000;

export class Feed {
  #parts;
  #waiting = [];
  #count = 0;
  #paused = false;
  #scheduled = false;
  #series = null;
  #unannounced = 0;

  // parts: {list, empty, count, summary, spoken}, elements.
  constructor(parts) {
    this.#parts = parts;
  }

  add({ target, arguments: values, argumentsText }) {
    const stamp = stampOf(values);
    this.#count += 1;
    this.#waiting.push({ at: new Date(), target, argumentsText, stamp });
    if (this.#waiting.length > KEPT) this.#waiting.shift();
    if (stamp?.of) this.#track(stamp);
    this.#schedule();
  }

  pause(paused) {
    this.#paused = paused;
    this.#schedule();
  }

  clear() {
    this.#waiting = [];
    this.#count = 0;
    this.#series = null;
    this.#parts.list.replaceChildren();
    this.#parts.summary.hidden = true;
    this.#schedule();
  }

  #track(stamp) {
    if (this.#series?.id !== stamp.sentAt) this.#series = { id: stamp.sentAt, seen: new Set(), last: 0, ordered: true, of: stamp.of };
    const series = this.#series;
    if (stamp.n < series.last) series.ordered = false;
    series.last = Math.max(series.last, stamp.n);
    series.seen.add(stamp.n);
    series.took = Date.now() - stamp.sentAt;
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => { this.#scheduled = false; this.#draw(); });
  }

  #draw() {
    const { list, empty, count } = this.#parts;
    const unseen = this.#paused && this.#waiting.length ? `, ${this.#waiting.length} not shown` : "";
    count.textContent = this.#count.toLocaleString("en") + unseen;
    if (this.#series) this.#summarize();
    if (this.#paused) return;
    this.#announce(this.#waiting.length);
    for (const arrival of this.#waiting.splice(0)) list.prepend(row(arrival));
    while (list.childElementCount > KEPT) list.lastElementChild.remove();
    empty.hidden = this.#count > 0;
  }

  #summarize() {
    const { seen, of, ordered, took } = this.#series;
    const order = ordered ? "in the order they were sent" : "out of order";
    this.#parts.summary.textContent = `${seen.size} of ${of} arrived, ${order}. The last one took ${took} ms.`;
    this.#parts.summary.classList.toggle("broken", !ordered);
    this.#parts.summary.hidden = false;
  }

  // Screen readers are given a count every two seconds, not every message.
  #announce(fresh) {
    if (!fresh) return;
    if (!this.#unannounced) {
      setTimeout(() => {
        this.#parts.spoken.textContent = this.#unannounced === 1 ? "One message received." : `${this.#unannounced} messages received.`;
        this.#unannounced = 0;
      }, ANNOUNCE_INTERVAL);
    }
    this.#unannounced += fresh;
  }
}

function stampOf(values) {
  const last = values.at(-1);
  if (typeof last?.sentAt !== "number" || Array.isArray(last)) return null;
  return Object.keys(last).every((key) => STAMP_KEYS.has(key)) ? last : null;
}

function row({ at, target, argumentsText, stamp }) {
  const item = document.createElement("li");
  item.className = "fresh";
  const time = piece("time", "", at.toLocaleTimeString("en", { hour12: false }) + "." + String(at % 1000).padStart(3, "0"));
  time.dateTime = at.toISOString();
  const latency = stamp && Math.abs(at - stamp.sentAt) < HOUR ? `${Math.max(0, at - stamp.sentAt)} ms` : "";
  item.append(
    time,
    piece("span", "target", target),
    piece("span", "place", stamp?.of ? `${stamp.n} of ${stamp.of}` : ""),
    piece("span", "latency", latency),
    body(argumentsText, stamp),
  );
  return item;
}

function body(argumentsText, stamp) {
  const box = document.createElement("pre");
  if (argumentsText.length > LONGEST) {
    box.append(argumentsText.slice(0, LONGEST), piece("span", "none", ` … ${argumentsText.length.toLocaleString("en")} characters in total`));
    return box;
  }
  const shown = elementTexts(argumentsText).slice(0, stamp ? -1 : undefined);
  if (!shown.length) box.append(piece("span", "none", "no arguments"));
  shown.forEach((text, i) => {
    if (i) box.append("\n");
    box.append(...layOut(text).map(({ kind, text: words }) => piece("span", kind, words)));
  });
  return box;
}

function piece(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}
