// Depth and rates, from the same /metrics text a Prometheus server reads. A rate is the difference of two readings of a
// counter over the time between them; a counter that went back (a restart) starts again from zero.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+(\S+)/;
const EVERY = 1000;
const MEMORY = 60;

// Sums every series of each wanted name over its labels: {name: total}. A name that is absent is absent.
export function totals(text, names) {
  const sums = {};
  for (const line of text.split("\n")) {
    const [, name, value] = SAMPLE.exec(line) ?? [];
    if (names.includes(name)) sums[name] = (sums[name] ?? 0) + Number(value);
  }
  return sums;
}

// Reads once a second while the page is looked at.
export class Meter {
  #last = null;
  #history = { accepted: Array(MEMORY).fill(0), delivered: Array(MEMORY).fill(0) };
  #onReading;

  // onReading({depth, retries, dead, accepted: {total, rate, history}, delivered: {...}}), or null when there is none.
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
    setTimeout(() => this.#tick(), EVERY);
  }

  async #fetch() {
    const answer = await fetch(new URL("metrics", document.baseURI), { cache: "no-store" });
    if (!answer.ok) throw new Error(`metrics answered ${answer.status}`);
    const names = ["queue_depth", "accepted_total", "delivered_total", "retries_total", "dead_letters"];
    return totals(await answer.text(), names.map((name) => `fanout_${name}`));
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
