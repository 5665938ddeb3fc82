// The page of the emulator: causes faults, limits the rate, and shows calls and clients, with the control API alone.

const INTERVAL = 1000;
const SHOWN = 100;
const BODY = 2000;
const PRESETS = [
  ["A dead letter", "The next send is answered 400, which no retry can help.",
    [{ kind: "status", status: 400, match: { path: ":send" }, times: 1 }]],
  ["Throttling", "Ten calls are answered 429 with Retry-After 2.",
    [{ kind: "status", status: 429, retryAfter: 2, times: 10 }]],
  ["Outage", "Every call is answered 503 until the rule is removed.", [{ kind: "status", status: 503 }]],
  ["Unknown outcome", "The next send is delivered, and answered 500.",
    [{ kind: "statusAfterDelivery", status: 500, match: { path: ":send" }, times: 1 }]],
  ["Lost connection", "Every third call ends with a reset connection.", [{ kind: "resetAfterBody", every: 3 }]],
  ["Slow answers", "Every call takes two seconds longer.", [{ kind: "latency", seconds: 2 }]],
  ["Rotated key", "The next call is answered 401.", [{ kind: "status", status: 401, times: 1 }]],
  ["No fault", "Remove every rule.", []],
];

const by = (id) => document.getElementById(id);
const whole = (value) => value.toLocaleString("en");
const drawn = new Map();
let paused = false;

// What has not changed is not drawn again: that would take the focus and the selection away each second.
function hasChanged(part, value) {
  const text = JSON.stringify(value);
  if (drawn.get(part) === text) return false;
  drawn.set(part, text);
  return true;
}

// requests --------------------------------------------------------------------------------------------------------

async function control(method, path, body) {
  const headers = { Accept: "application/json" };
  const response = await fetch(new URL(path, document.baseURI), { method, headers, body, cache: "no-store" });
  const content = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(content.message ?? `answered ${response.status}`);
  return content;
}

async function refresh() {
  try {
    const [stats, journal, clients, faults, quota] = await Promise.all([
      control("GET", "stats"), control("GET", `journal?tail=${SHOWN}&maxbody=${BODY}`), control("GET", "clients"),
      control("GET", "faults"), control("GET", "quota"),
    ]);
    showState("Running", true);
    showFigures(stats, clients);
    showRules(faults);
    showQuota(quota);
    showClients(clients);
    if (!paused) showJournal(journal.entries);
  } catch {
    showState("The emulator does not answer", false);
  }
}

async function showConnectionString() {
  const { connectionString } = await control("GET", "");
  by("connection-string").value = connectionString ?? "";
  by("connection").hidden = !connectionString;
}

async function poll() {
  if (!document.hidden) await refresh();
  setTimeout(poll, INTERVAL);
}

// figures ---------------------------------------------------------------------------------------------------------

function showState(text, running) {
  if (!hasChanged("state", text)) return;
  by("state").textContent = text;
  by("state").dataset.running = running;
}

function showFigures(stats, clients) {
  const success = Object.entries(stats.statuses).filter(([status]) => status.startsWith("2"));
  const refused = stats.calls - success.reduce((sum, [, count]) => sum + count, 0);
  const duplicates = Object.values(stats.duplicates).reduce((sum, count) => sum + count, 0);
  const figures = { calls: stats.calls, "in-flight": stats.inFlight, refused, duplicates, "client-count": clients.length };
  for (const [id, value] of Object.entries(figures)) by(id).textContent = whole(value);
  by("refused").classList.toggle("alarming", refused > 0);
}

// faults ----------------------------------------------------------------------------------------------------------

function drawPresets() {
  by("presets").replaceChildren(...PRESETS.map(([name, what, rules]) => {
    const button = element("button", { type: "button", className: "preset" });
    button.append(element("b", { textContent: name }), element("span", { textContent: what }));
    button.addEventListener("click", () => {
      by("rules").value = JSON.stringify(rules, null, 1).replaceAll("\n", " ").replaceAll(/\s+/g, " ");
      refreshCurl();
      apply();
    });
    return button;
  }));
}

function refreshCurl() {
  const quoted = by("rules").value.replaceAll("'", "'\\''");
  by("curl").textContent = `curl -X PUT ${new URL("faults", document.baseURI)} \\\n  -d '${quoted}'`;
}

async function apply() {
  try {
    showRules(await control("PUT", "faults", by("rules").value));
    showError("");
  } catch (error) {
    showError(error.message);
  }
}

function showError(text) {
  by("rules-error").textContent = text;
  by("rules").setAttribute("aria-invalid", text !== "");
}

function showRules(rules) {
  if (!hasChanged("rules", rules)) return;
  const rows = rules.map(({ seen, hits, ...rule }) => {
    const row = element("li", { className: "rule" });
    const ended = rule.times > 0 && hits >= rule.times;
    row.classList.toggle("ended", ended);
    row.append(
      element("code", { textContent: JSON.stringify(rule) }),
      element("span", { textContent: `applied to ${whole(hits)} of ${whole(seen)} matching calls${ended ? ", used up" : ""}` }),
    );
    return row;
  });
  by("active").replaceChildren(...(rows.length ? rows : [element("li", { className: "note", textContent: "None." })]));
}

// quota -----------------------------------------------------------------------------------------------------------

function showQuota(quota) {
  if (!hasChanged("quota", quota)) return;
  const classes = Array.isArray(quota) ? quota : [quota];
  const words = classes.filter((each) => each.perSecond).map(({ perSecond, path, retryAfter }) => {
    const paths = path ? ` to paths with ${path}` : "";
    const later = retryAfter === null || retryAfter === undefined ? "without Retry-After" : `with Retry-After ${retryAfter}`;
    return `${whole(perSecond)} calls a second${paths}; more are answered 429 ${later}.`;
  });
  by("quota-state").textContent = words.join(" ") || "There is no limit.";
}

// calls and clients -----------------------------------------------------------------------------------------------

function showJournal(entries) {
  if (!hasChanged("journal", entries)) return;
  const open = new Set([...by("journal").querySelectorAll("details[open]")].map((each) => each.dataset.sequence));
  by("no-calls").hidden = entries.length > 0;
  by("journal").replaceChildren(...entries.reverse().map((entry) => callRow(entry, open.has(String(entry.sequence)))));
}

function callRow(entry, open) {
  const details = element("details", { open });
  details.dataset.sequence = entry.sequence;
  const summary = element("summary");
  const status = entry.status ?? (entry.answered === null ? "in flight" : "reset");
  const took = entry.answered === null ? "" : `${Math.round((entry.answered - entry.monotonic) * 1000)} ms`;
  const badge = element("span", { className: "status", textContent: status });
  badge.classList.toggle("failed", !String(status).startsWith("2") && status !== "in flight");
  summary.append(
    badge,
    element("span", { className: "method", textContent: entry.method }),
    element("span", { className: "path", textContent: entry.path.replace(/^\/api/, "") }),
    element("span", { className: "fault", textContent: entry.fault ?? "" }),
    element("span", { className: "took", textContent: took }),
  );
  const facts = `${new Date(entry.wall * 1000).toISOString()}  ?${entry.query}  connection ${entry.connection}`;
  const body = entry.body.length >= BODY ? `${entry.body}…` : entry.body;
  details.append(summary, element("p", { className: "facts", textContent: facts }), element("pre", { textContent: body || "no body" }));
  const row = element("li");
  row.append(details);
  return row;
}

function showClients(clients) {
  if (!hasChanged("clients", clients)) return;
  by("no-clients").hidden = clients.length > 0;
  by("clients").replaceChildren(...clients.slice(0, SHOWN).map((client) => {
    const row = element("li");
    const groups = client.groups.length ? ` in ${client.groups.join(", ")}` : "";
    row.append(
      element("b", { textContent: client.userId ?? "anonymous" }),
      element("span", { textContent: `on ${client.hub}${groups}` }),
      element("span", { className: "note", textContent: `${client.transport}, ${client.protocol ?? "no handshake yet"}` }),
    );
    return row;
  }));
}

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

// events ----------------------------------------------------------------------------------------------------------

by("faults").addEventListener("submit", (event) => { event.preventDefault(); apply(); });
by("rules").addEventListener("input", refreshCurl);
by("clear-faults").addEventListener("click", async () => { showRules(await control("DELETE", "faults")); showError(""); });
by("quota").addEventListener("submit", async (event) => {
  event.preventDefault();
  const retryAfter = by("retry-after").value === "" ? null : Number(by("retry-after").value);
  showQuota(await control("PUT", "quota", JSON.stringify({ perSecond: Number(by("per-second").value), retryAfter })));
});
by("clear-quota").addEventListener("click", async () => showQuota(await control("DELETE", "quota")));
by("clear-journal").addEventListener("click", async () => { await control("DELETE", "journal"); await refresh(); });
by("pause").addEventListener("click", () => {
  paused = !paused;
  by("pause").setAttribute("aria-pressed", paused);
});
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = by(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

by("rules").value = '[{"kind": "status", "status": 400, "match": {"path": ":send"}, "times": 1}]';
drawPresets();
refreshCurl();
showConnectionString().finally(poll);
