// Connects the modules to the elements of index.html: the listener and its groups, the form that sends, the received
// messages and the gauges.

import { Feed } from "./feed.js";
import {
  curlLine, deliver, keyHeaders, messagesUrl, messageText, noteStatus, onKeyNeeded, useKey, withArgument,
} from "./ingress.js";
import { showGauges } from "./gauges.js";
import { HubConnection } from "./hub-connection.js";

const USERS = ["alice", "bob", "carol"];
const NAME_LABELS = { user: "user", group: "group", connection: "connection id" };
const SERIES = 100;
const EXAMPLES = {
  greeting: { target: "newMessage", arguments: '["Hello from the page"]' },
  exact: { target: "prices", arguments: '[{"total": 1.10, "account": 12345678901234567890, "at": "2026-01-01T00:00:00Z"}]' },
  mistake: { target: "", arguments: '["no method name"]' },
};

const by = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search);
const listener = { user: address.get("user") || USERS[0], hub: address.get("hub") || "chat", connectionId: "" };
const sendForm = by("send");
let connection = null;
let groups = new Set();

const feed = new Feed({
  list: by("feed"), empty: by("empty"), count: by("count"), summary: by("series-summary"), spoken: by("spoken"),
});

// listener --------------------------------------------------------------------------------------------------------

function listen(user, hub) {
  Object.assign(listener, { user, hub, connectionId: "" });
  by("user").value = user;
  by("hub").value = hub;
  for (const pick of document.querySelectorAll("[data-user]")) pick.setAttribute("aria-pressed", pick.dataset.user === user);
  history.replaceState(null, "", here(user, hub));
  by("second").href = here(USERS.find((name) => name !== user), hub);
  document.title = `${user} · fanout`;
  groups = new Set(JSON.parse(sessionStorage.getItem(storageKey()) ?? "[]"));
  drawGroups();
  connection?.stop();
  connection = new HubConnection({
    hub, user, onState: showState, onInvocation: arrive, headers: keyHeaders, onStatus: noteStatus,
  }).start();
  refreshForm();
}

function here(user, hub) {
  const url = new URL(location.href);
  url.searchParams.set("user", user);
  if (hub === "chat") url.searchParams.delete("hub");
  else url.searchParams.set("hub", hub);
  return url.href;
}

let countdown;

function showState(state) {
  clearInterval(countdown);
  by("state").dataset.state = state.name;
  by("reconnect").hidden = !["waiting", "closed"].includes(state.name);
  listener.connectionId = state.connectionId ?? "";
  by("connection-id").textContent = listener.connectionId || "–";
  by("state-text").textContent = stateWords(state);
  if (state.name === "waiting") countdown = setInterval(() => { by("state-text").textContent = stateWords(state); }, 250);
  if (state.name === "connected") for (const group of groups) act("add", group);
  refreshForm();
}

function stateWords(state) {
  const seconds = Math.max(1, Math.ceil((state.until - Date.now()) / 1000));
  return {
    connecting: `Connecting as ${listener.user}`,
    connected: `Connected as ${listener.user}`,
    waiting: `${capitalized(state.reason)}. Next attempt in ${seconds} s`,
    closed: `Closed: ${state.reason}`,
  }[state.name];
}

const capitalized = (text = "") => text.charAt(0).toUpperCase() + text.slice(1);

function arrive(message) {
  feed.add(message);
  by("dot").classList.add("beat");
}

by("dot").addEventListener("animationend", () => by("dot").classList.remove("beat"));

by("listen").addEventListener("submit", (event) => {
  event.preventDefault();
  listen(by("user").value.trim(), by("hub").value.trim());
});
for (const pick of document.querySelectorAll("[data-user]")) {
  pick.addEventListener("click", () => listen(pick.dataset.user, listener.hub));
}
by("reconnect").addEventListener("click", () => connection.retryNow());

// key -------------------------------------------------------------------------------------------------------------

onKeyNeeded(() => { by("key-form").hidden = false; });
by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(by("key").value.trim());
  by("key-form").hidden = true;
  listen(listener.user, listener.hub);
});

// groups ----------------------------------------------------------------------------------------------------------
// A membership belongs to the user, and an emulator that was restarted does not have it any more. So the groups that
// this tab joined are joined again at each connect. Where the membership still exists, that changes nothing.

const storageKey = () => `groups/${listener.hub}/${listener.user}`;

async function act(action, group) {
  const item = { userId: listener.user, groupName: group, action };
  const answer = await deliver(listener.hub, JSON.stringify(item));
  if (!answer.ok) showAnswer(by("groups-answer"), answer);
  return answer.ok;
}

async function change(action, group) {
  showAnswer(by("groups-answer"), null);
  if (!(await act(action, group))) return;
  if (action === "add") groups.add(group);
  else groups.delete(group);
  sessionStorage.setItem(storageKey(), JSON.stringify([...groups]));
  drawGroups();
  refreshForm();
}

function drawGroups() {
  by("groups").replaceChildren(...[...groups].map((group) => {
    const chip = document.createElement("li");
    chip.className = "chip";
    chip.append(
      button("chip-name", group, `Send to ${group}`, () => aim("group", group)),
      button("chip-leave", "×", `Leave ${group}`, () => change("remove", group)),
    );
    return chip;
  }));
}

function button(className, text, label, onClick) {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", className, textContent: text, title: label });
  element.setAttribute("aria-label", label);
  element.addEventListener("click", onClick);
  return element;
}

by("join").addEventListener("submit", async (event) => {
  event.preventDefault();
  const group = by("join-name").value.trim();
  if (!group) return;
  by("join-name").value = "";
  await change("add", group);
});

// sending ---------------------------------------------------------------------------------------------------------

function draft() {
  return {
    scope: sendForm.elements.scope.value,
    name: by("name").value.trim(),
    target: by("target").value.trim(),
    argumentsText: by("arguments").value.trim() || "[]",
  };
}

function aim(scope, name) {
  sendForm.elements.scope.value = scope;
  changeScope(name);
}

function changeScope(name) {
  const scope = sendForm.elements.scope.value;
  const suggestions = { everyone: [], user: USERS, group: [...groups], connection: [listener.connectionId].filter(Boolean) }[scope];
  by("name-field").hidden = scope === "everyone";
  by("name-label").textContent = NAME_LABELS[scope] ?? "";
  by("names").replaceChildren(...suggestions.map((value) => Object.assign(document.createElement("option"), { value })));
  by("name").value = name ?? (scope === "user" ? listener.user : suggestions[0] ?? "");
  refreshForm();
}

function refreshForm() {
  const item = draft();
  const errors = { name: nameError(item), arguments: argumentsError(item.argumentsText) };
  for (const [field, error] of Object.entries(errors)) {
    by(`${field}-error`).textContent = error;
    by(field).setAttribute("aria-invalid", error !== "");
  }
  const valid = isValid(item);
  for (const sender of sendForm.querySelectorAll(".actions button")) sender.disabled = !valid;
  by("curl").textContent = valid ? curlLine(messagesUrl(listener.hub).href, messageText(item)) : "";
}

const isValid = (item) => !nameError(item) && !argumentsError(item.argumentsText);

// An empty address is no address: the ingress would take the message as a broadcast.
function nameError({ scope, name }) {
  return scope === "everyone" || name ? "" : `Enter the ${NAME_LABELS[scope]}. Without it the message would go to everyone.`;
}

function argumentsError(text) {
  try {
    return Array.isArray(JSON.parse(text)) ? "" : `This is JSON, but not an array. Write [${text}]`;
  } catch (error) {
    return `This is not JSON: ${error.message}`;
  }
}

async function send(copies) {
  const item = draft();
  if (!isValid(item)) return;
  const sentAt = Date.now();
  const stamped = (n) => {
    if (copies === 1 && !by("timed").checked) return messageText(item);
    const stamp = copies === 1 ? { sentAt } : { sentAt, n, of: copies };
    return messageText({ ...item, argumentsText: withArgument(item.argumentsText, JSON.stringify(stamp)) });
  };
  const texts = Array.from({ length: copies }, (_, i) => stamped(i + 1));
  const answer = await deliver(listener.hub, copies === 1 ? texts[0] : `[${texts.join(",")}]`);
  if (answer.ok) answer.lines.push(absenceNote(item));
  showAnswer(by("send-answer"), answer);
}

// Says when a message will not be shown here, so that its absence is no surprise.
function absenceNote({ scope, name }) {
  const mine = { everyone: true, user: name === listener.user, group: groups.has(name), connection: name === listener.connectionId }[scope];
  if (mine) return "";
  return scope === "group" ? `${listener.user} is not in ${name}, so it will not arrive here.` : "It is not addressed to this page, so it will not arrive here.";
}

function showAnswer(place, answer) {
  place.classList.toggle("refused", answer?.ok === false);
  place.replaceChildren();
  if (!answer) return;
  place.append(Object.assign(document.createElement("b"), { textContent: answer.headline }));
  const list = document.createElement("ul");
  list.append(...answer.lines.filter(Boolean).map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  if (list.childElementCount) place.append(list);
}

sendForm.addEventListener("submit", (event) => { event.preventDefault(); send(1); });
sendForm.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(1); }
});
sendForm.addEventListener("input", (event) => (event.target.name === "scope" ? changeScope() : refreshForm()));
by("series").addEventListener("click", () => send(SERIES));
for (const pick of document.querySelectorAll("[data-example]")) {
  pick.addEventListener("click", () => {
    const example = EXAMPLES[pick.dataset.example];
    by("target").value = example.target;
    by("arguments").value = example.arguments;
    refreshForm();
  });
}
by("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(by("curl").textContent);
    by("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(by("curl"));
    by("copy").textContent = "Selected";
  }
  setTimeout(() => { by("copy").textContent = "Copy"; }, 1500);
});

// received --------------------------------------------------------------------------------------------------------

by("clear").addEventListener("click", () => feed.clear());
by("pause").addEventListener("click", () => {
  const paused = by("pause").getAttribute("aria-pressed") !== "true";
  by("pause").setAttribute("aria-pressed", paused);
  feed.pause(paused);
});

showGauges();
listen(listener.user, listener.hub);
