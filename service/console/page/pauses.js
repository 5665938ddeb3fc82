// The pauses: those in force with a button that lifts each, and the form that sets one. Both say first what they concern.

import { ask, Refusal } from "./admin-api.js";
import { button, by, confirmed, make, say, time, whole } from "./show.js";

const WORDS = { broadcast: "broadcasts", send: "sends to users, groups and connections", action: "group actions and closings" };

export function startPauses(onChange) {
  by("pause-what").addEventListener("change", showHubField);
  by("pause-form").addEventListener("submit", (event) => {
    event.preventDefault();
    perform(set, onChange);
  });
  showHubField();
}

export function preparePause(hub) {
  by("pause-what").value = "hub";
  by("pause-hub").value = hub;
  showHubField();
  by("pause-reason").focus();
}

// Offers a pause of one endpoint where there are several; the choice stays while they do.
export function offerEndpoints(endpoints) {
  const names = endpoints.filter(({ configured }) => configured).map(({ endpoint }) => endpoint);
  const select = by("pause-endpoint");
  by("pause-endpoint-field").hidden = names.length < 2;
  if ([...select.options].slice(1).map(({ value }) => value).join() === names.join()) return;
  const chosen = select.value;
  const options = names.map((name) => Object.assign(make("option", "", `endpoint ${name}`), { value: name }));
  select.replaceChildren(select.options[0], ...options);
  select.value = names.length > 1 && names.includes(chosen) ? chosen : "";
}

let shownPauses = "";

export function showPauses(pauses, onChange) {
  by("no-pauses").hidden = pauses.length > 0;
  by("pause-count").hidden = !pauses.length;
  by("pause-count").textContent = pauses.length;
  const text = JSON.stringify(pauses);
  if (text === shownPauses) return;
  shownPauses = text;
  by("pause-list").replaceChildren(...pauses.map((pause) => card(pause, onChange)));
}

function card(pause, onChange) {
  const until = pause.until === null ? "until it is resumed" : `until ${time(pause.until)} UTC`;
  const resume = button("Resume …", `Resume ${pause.target}`, () => perform(() => lift(pause), onChange), "quiet small push");
  return make("li", "card",
    make("p", "card-head", make("b", "", pause.target), make("span", "note", until), resume),
    make("p", "note", `since ${time(pause.since)} UTC, by ${pause.by}`),
    make("p", "", pause.cause));
}

function showHubField() {
  const isHub = by("pause-what").value === "hub";
  by("pause-hub-field").hidden = !isHub;
  by("pause-hub").required = isHub;
}

async function perform(action, onChange) {
  try {
    const text = await action();
    if (text) say(by("pause-answer"), text);
    if (text) onChange();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(by("pause-answer"), error.message, true);
  }
}

function targetOf(what, hub) {
  if (what === "hub") return { hub };
  return what === "all" ? { all: true } : { class: what };
}

const wordsOf = (what, hub) => (what === "hub" ? `hub ${hub}` : what === "all" ? "everything" : WORDS[what]);

async function set() {
  const [what, hub, endpoint] = [by("pause-what").value, by("pause-hub").value.trim(), by("pause-endpoint").value];
  const target = { ...targetOf(what, hub), ...(endpoint ? { endpoint } : {}) };
  const words = `${wordsOf(what, hub)}${endpoint ? ` at endpoint ${endpoint}` : ""}`;
  const { waiting } = await ask("pauses/preview", target);
  const text = `${whole(waiting)} entries that wait now, and what is accepted from now on, are held back.`;
  if (!(await confirmed(`Pause ${words}?`, text, "Pause"))) return "";
  const seconds = by("pause-for").value;
  const reason = by("pause-reason").value;
  await ask("pauses/set", { ...target, ...(seconds ? { seconds: Number(seconds) } : {}), ...(reason ? { reason } : {}) });
  return `Paused: ${words}.`;
}

async function lift({ target, endpoint }) {
  const [kind, name] = target.split("@")[0].split(":");
  const what = targetOf(kind === "hub" || kind === "all" ? kind : name, name);
  const named = endpoint === null ? what : { ...what, endpoint }; // the pauses of other endpoints go on
  const { waiting, pauses } = await ask("pauses/preview", named);
  const others = pauses.length > 1 ? ` This lifts ${pauses.length} pauses: ${pauses.map((each) => each.target).join(", ")}.` : "";
  if (!(await confirmed(`Resume ${target}?`, `${whole(waiting)} entries wait.${others}`, "Resume"))) return "";
  const { lifted } = await ask("pauses/lift", named);
  return `${lifted} ${lifted === 1 ? "pause" : "pauses"} lifted.`;
}
