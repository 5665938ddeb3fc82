// The dead letters: a page of them by filter, the message of each, and replay and deletion of all that match. What is
// counted first is what is acted on: letters that are parked meanwhile are left alone.

import { ask, askText, query, Refusal } from "./admin-api.js";
import { layOut, memberText } from "./raw-json.js";
import { button, by, confirmed, make, say, whole } from "./show.js";

const PAGE = 50;
const REASONS = ["refused", "unauthorized", "wrongEndpoint", "tooLarge", "tooOld", "tooManyAttempts", "outcomeUnknown", "unreadable"];
const DONE = { replay: "replayed", purge: "purged" };

let next = null;
let showTrace = () => {};

export function startLetters(onTrace) {
  showTrace = onTrace;
  by("letter-form").addEventListener("submit", (event) => {
    event.preventDefault();
    loadLetters();
  });
  by("more-letters").addEventListener("click", () => load(next));
  by("replay").addEventListener("click", () => act("replay", "Replay", "They go back into the queue, to the end of their lanes. What is refused again is parked again: remove the cause first."));
  by("purge").addEventListener("click", () => act("purge", "Delete", "They cannot be restored."));
}

export const loadLetters = () => load(null);

// Shown where there are several endpoints, or letters of one that has a name: it stays, because it may hold a filter.
export function offerEndpointFilter() {
  by("letter-endpoint-field").hidden = false;
}

function filters() {
  const since = by("letter-since").value;
  const values = { hub: by("letter-hub").value.trim(), endpoint: by("letter-endpoint").value.trim(), reason: by("letter-reason").value, to: by("letter-to").value, since: since && `${since}Z` };
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value));
}

async function load(cursor) {
  try {
    const page = await ask(`dead-letters?${query({ ...filters(), limit: PAGE, cursor })}`);
    const cards = page.items.map(card);
    if (cursor) by("letter-list").append(...cards);
    else by("letter-list").replaceChildren(...cards);
    next = page.next;
    by("more-letters").hidden = next === null || !page.items.length;
    for (const { reason } of page.items) offer(reason);
    if (page.items.some(isAtNamed)) offerEndpointFilter();
    const shown = by("letter-list").childElementCount;
    say(by("letters-note"), shown ? `${whole(shown)} shown, oldest first${next ? "; there are more" : ""}` : "There are none.");
    for (const id of ["replay", "purge"]) by(id).disabled = !shown;
  } catch (error) {
    refused(error);
  }
}

function offer(reason) {
  const select = by("letter-reason");
  if (![...select.options].some(({ value }) => value === reason)) select.append(Object.assign(make("option", "", reason), { value: reason }));
}

const isAtNamed = ({ endpoint }) => endpoint !== null && endpoint !== "default";

function card(letter) {
  const item = make("li", "card");
  const what = letter.operation ? `${letter.operation}${letter.to ? ` ${letter.to}` : ""}` : "unreadable entry";
  item.append(
    make("p", "card-head", make("span", "tag alarm", letter.reason), make("b", "", what), make("span", "note", letter.hub ? `hub ${letter.hub}${isAtNamed(letter) ? ` at ${letter.endpoint}` : ""}` : "")),
    make("p", "note", [letter.parkedAt?.replace("T", " ").replace("Z", " UTC"), letter.status ? `status ${letter.status}` : "", `${letter.attempts} ${letter.attempts === 1 ? "attempt" : "attempts"}`, letter.detail].filter(Boolean).join(" · ")),
  );
  const actions = make("p", "actions", button("Message", `Show the message of ${letter.id}`, () => showMessage(item, letter.id)));
  if (letter.messageId) actions.append(button("Trace", `Trace of ${letter.messageId}`, () => showTrace(letter.messageId)));
  item.append(actions);
  return item;
}

async function showMessage(item, id) {
  const shown = item.querySelector("pre");
  if (shown) return shown.remove();
  try {
    const text = await askText(`dead-letters/${encodeURIComponent(id)}`);
    const message = memberText(text, "message") ?? "null";
    const pieces = layOut(message === "null" ? memberText(text, "entry") ?? "null" : message);
    const box = make("pre", "", ...pieces.map((piece) => make("span", piece.kind, piece.text)));
    box.tabIndex = 0;
    item.append(box);
  } catch (error) {
    refused(error);
  }
}

async function act(action, verb, warning) {
  const named = filters();
  const command = Object.keys(named).length ? named : { all: true };
  try {
    const counted = await total(action, { ...command, dryRun: true });
    if (!counted.matched) return say(by("letters-note"), "There are none.");
    const many = `${whole(counted.matched)} dead ${counted.matched === 1 ? "letter" : "letters"}`;
    if (!(await confirmed(`${verb} ${many}?`, warning, verb))) return;
    const bounded = counted.before ? { ...named, before: counted.before } : command;
    const done = await total(action, bounded);
    await loadLetters();
    say(by("letters-note"), `${whole(done.done)} ${action === "replay" ? "replayed" : "deleted"}.`);
  } catch (error) {
    refused(error);
  }
}

async function total(action, command) {
  const sum = { matched: 0, done: 0, before: null };
  for (let cursor = null, more = true; more;) {
    const report = await ask(`dead-letters/${action}`, cursor ? { ...command, cursor } : command);
    sum.matched += report.matched;
    sum.done += report[DONE[action]];
    sum.before ??= report.before;
    ({ more, next: cursor } = report);
  }
  return sum;
}

function refused(error) {
  if (!(error instanceof Refusal)) throw error;
  say(by("letters-note"), error.message, true);
}

for (const reason of REASONS) offer(reason);
