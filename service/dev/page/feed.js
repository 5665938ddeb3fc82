// The arrivals: newest first, drawn once per frame however many came, bounded in length.
//
// A message sent by this page may carry a stamp as its last argument, {"sentAt": milliseconds} and in a burst also
// {"n", "of"}. The stamp is shown as a latency and a place instead of as an argument.

import { elementTexts, layOut } from "./raw-json.js";

const KEPT = 200;
const LONGEST = 6000;
const STAMP_KEYS = new Set(["sentAt", "n", "of"]);
const HOUR = 3_600_000;
const SPEAK_EVERY = 2000;

export class Feed {
  #parts;
  #waiting = [];
  #count = 0;
  #held = false;
  #scheduled = false;
  #burst = null;
  #unspoken = 0;

  // parts: {list, empty, count, summary, spoken}, elements.
  constructor(parts) {
    this.#parts = parts;
  }

  add({ target, arguments: values, argumentsText }) {
    const stamp = stampOf(values);
    this.#count += 1;
    this.#waiting.push({ at: new Date(), target, argumentsText, stamp });
    if (this.#waiting.length > KEPT) this.#waiting.shift();
    if (stamp?.of) this.#follow(stamp);
    this.#schedule();
  }

  hold(held) {
    this.#held = held;
    this.#schedule();
  }

  clear() {
    this.#waiting = [];
    this.#count = 0;
    this.#burst = null;
    this.#parts.list.replaceChildren();
    this.#parts.summary.hidden = true;
    this.#schedule();
  }

  #follow(stamp) {
    if (this.#burst?.id !== stamp.sentAt) this.#burst = { id: stamp.sentAt, seen: new Set(), last: 0, ordered: true, of: stamp.of };
    const burst = this.#burst;
    if (stamp.n < burst.last) burst.ordered = false;
    burst.last = Math.max(burst.last, stamp.n);
    burst.seen.add(stamp.n);
    burst.took = Date.now() - stamp.sentAt;
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => { this.#scheduled = false; this.#draw(); });
  }

  #draw() {
    const { list, empty, count } = this.#parts;
    const held = this.#held && this.#waiting.length ? `, ${this.#waiting.length} held back` : "";
    count.textContent = this.#count.toLocaleString("en") + held;
    if (this.#burst) this.#sumUp();
    if (this.#held) return;
    this.#speak(this.#waiting.length);
    for (const arrival of this.#waiting.splice(0)) list.prepend(row(arrival));
    while (list.childElementCount > KEPT) list.lastElementChild.remove();
    empty.hidden = this.#count > 0;
  }

  #sumUp() {
    const { seen, of, ordered, took } = this.#burst;
    const order = ordered ? "in the order they were sent" : "out of order";
    this.#parts.summary.textContent = `${seen.size} of ${of} arrived, ${order}; the last after ${took} ms.`;
    this.#parts.summary.classList.toggle("broken", !ordered);
    this.#parts.summary.hidden = false;
  }

  // Screen readers hear a count now and then, not a hundred messages.
  #speak(fresh) {
    if (!fresh) return;
    if (!this.#unspoken) {
      setTimeout(() => {
        this.#parts.spoken.textContent = this.#unspoken === 1 ? "One message arrived." : `${this.#unspoken} messages arrived.`;
        this.#unspoken = 0;
      }, SPEAK_EVERY);
    }
    this.#unspoken += fresh;
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
    box.append(argumentsText.slice(0, LONGEST), piece("span", "none", ` … ${argumentsText.length.toLocaleString("en")} characters in all`));
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
