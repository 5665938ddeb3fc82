// Connects the modules to the page: which section is shown, the key, and the overview that is asked for every two
// seconds while the page can be seen.

import { ask, hasKey, Refusal, useKey } from "./admin-api.js";
import { loadLetters, offerEndpointFilter, startLetters } from "./letters.js";
import { offerEndpoints, preparePause, showPauses, startPauses } from "./pauses.js";
import { showQueue } from "./queue.js";
import { by, time } from "./show.js";
import { showTrace, startTrace } from "./trace.js";

const INTERVAL = 2000;
const SECTIONS = ["queue", "pauses", "letters", "trace"];
let timer;
let deadLetters = null;

// sections --------------------------------------------------------------------------------------------------------

function show() {
  const [name, id] = location.hash.slice(1).split("/");
  const section = SECTIONS.includes(name) ? name : "queue";
  for (const each of SECTIONS) by(each).hidden = each !== section;
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.hash === `#${section}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (section === "letters") loadLetters();
  if (section === "trace" && id) showTrace(decodeURIComponent(id));
}

const go = (hash) => { location.hash = hash; };

addEventListener("hashchange", show);

// key -------------------------------------------------------------------------------------------------------------

by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(by("key").value.trim());
  by("key").value = "";
  refresh().then(show);
});
by("forget").addEventListener("click", () => {
  useKey("");
  location.reload();
});

function needKey(text) {
  const isNew = by("key-form").hidden;
  by("key-form").hidden = false;
  by("key-error").textContent = hasKey() ? text : "";
  if (isNew) by("key").focus();
}

// overview --------------------------------------------------------------------------------------------------------

async function refresh() {
  clearTimeout(timer);
  try {
    if (!document.hidden) draw(await ask("overview?hubs=50"));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    state("away", [401, 403].includes(error.status) ? "Key needed" : error.message);
    if ([401, 403].includes(error.status)) return needKey(error.message); // asked again when there is a key
  }
  timer = setTimeout(refresh, INTERVAL);
}

function draw(overview) {
  state("live", "Live");
  by("clock").textContent = `${time(overview.at).slice(11)} UTC`;
  by("key-form").hidden = true;
  by("forget").hidden = !hasKey();
  showQueue(overview, (hub) => {
    go("pauses");
    preparePause(hub);
  });
  showPauses(overview.pauses, refresh);
  offerEndpoints(overview.endpoints);
  if (overview.endpoints.length > 1) offerEndpointFilter();
  const count = overview.queue.deadLetters;
  by("letter-count").hidden = !count;
  by("letter-count").textContent = count.toLocaleString("en");
  const isWatched = !by("letters").hidden && !by("letter-list").querySelector("pre") && !by("dialog").open;
  if (deadLetters !== null && count !== deadLetters && isWatched) loadLetters();
  deadLetters = count;
}

function state(name, text) {
  by("state").dataset.state = name;
  if (by("state-text").textContent !== text) by("state-text").textContent = text;
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
startPauses(refresh);
startLetters((id) => go(`trace/${encodeURIComponent(id)}`));
startTrace();
show();
refresh();
