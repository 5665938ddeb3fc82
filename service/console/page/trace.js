// The trace of one message, drawn as a time line. The distance between two events grows with the logarithm of the time
// between them: the milliseconds of a delivery and the hours of a wait can both be seen.

import { ask, Refusal } from "./admin-api.js";
import { age, by, make, say, time } from "./show.js";

const NAMES = { accepted: "accepted", read: "read by a worker", attempt: "attempt", settled: "settled" };
const HIDDEN = new Set(["number", "verdict", "end", "admission", "to"]);

export function startTrace() {
  by("trace-form").addEventListener("submit", (event) => {
    event.preventDefault();
    showTrace(by("message-id").value);
  });
}

export async function showTrace(id) {
  by("message-id").value = id;
  by("timeline").replaceChildren();
  try {
    // The id `..` would otherwise be a step upwards.
    const { messageId, events } = await ask(`messages/${encodeURIComponent(id).replaceAll(".", "%2E")}/trace`);
    say(by("trace-answer"), `${messageId}: ${events.length} events from ${time(events[0].at, 3)} UTC, ${age(events.at(-1).at - events[0].at) === "–" ? "at once" : `over ${age(events.at(-1).at - events[0].at)}`}.`);
    by("timeline").replaceChildren(...events.map((event, at) => entry(event, events[0].at, events[at + 1]?.at)));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(by("trace-answer"), error.message, true);
  }
}

function entry({ at, what, detail }, began, following) {
  const result = detail.verdict ?? detail.end ?? detail.admission ?? "";
  const item = make("li", isBad(what, result) ? "bad" : "");
  if (what === "settled") item.classList.add("end");
  const moment = make("time", "", `+${(at - began).toFixed(3)} s`);
  moment.dateTime = new Date(at * 1000).toISOString();
  const number = what === "attempt" ? ` ${detail.number}` : "";
  const facts = Object.entries(detail).filter(([name, value]) => !HIDDEN.has(name) && value !== "").map(([name, value]) => `${name} ${value}`);
  item.append(
    moment,
    make("p", "", make("b", "", `${NAMES[what] ?? what}${number}`), result && result !== what ? `: ${result}` : "", detail.to ? `, to ${detail.to}` : ""),
    make("p", "facts", facts.join(" · ")),
  );
  if (following !== undefined) {
    const gap = following - at;
    const space = make("span", "gap", gap >= 0.1 ? `${age(gap)} later` : "");
    space.style.minHeight = `${Math.round(10 + 9 * Math.max(0, Math.log10(Math.max(gap, 0.001) * 1000)))}px`;
    item.append(space);
  }
  return item;
}

function isBad(what, result) {
  return result.startsWith("dead") || result === "again" || result === "conflict" || (what === "settled" && result === "expired");
}
