// The figures of the queue: totals, hubs, workers and partitions, from one overview.

import { age, button, by, make, rate, size, whole } from "./show.js";

const READINGS = 60;
const SVG = "http://www.w3.org/2000/svg";
const NOBODY = "nobody";
const history = { came: [], left: [] };

export function showQueue(overview, onPause) {
  const { queue, redis, partitions } = overview;
  by("entries").textContent = whole(queue.entries);
  by("bytes").textContent = size(queue.bytes);
  by("oldest").textContent = age(queue.oldestAgeSeconds);
  showRate("came", queue.acceptedPerSecond);
  showRate("left", queue.settledPerSecond);
  by("dead").textContent = whole(queue.deadLetters);
  by("dead").parentElement.classList.toggle("alarmed", queue.deadLetters > 0);
  by("latency").textContent = `${(redis.latencySeconds * 1000).toFixed(1)} ms`;
  by("memory").textContent = redis.memoryRatio === null ? "" : `${Math.round(redis.memoryRatio * 100)} % of its memory`;
  by("version").textContent = overview.version;
  by("endpoints").textContent = overview.deliversTo.join(", ") || "–";
  by("hub-names").replaceChildren(...overview.hubs.map(({ hub }) => option(hub)));
  showNotices(overview);
  fill("hubs", hubRows(overview, onPause), 6);
  by("endpoint-names").replaceChildren(...overview.endpoints.map(({ endpoint }) => option(endpoint)));
  by("endpoint-table").hidden = overview.endpoints.length < 2;
  fill("endpoint-rows", overview.endpoints.map((each) => row(each.configured ? each.endpoint : `${each.endpoint} (not configured)`, [
    whole(each.entries), age(each.oldestAgeSeconds), ...figures(each),
  ])), 5);
  fill("workers", workerRows(overview), 5);
  fill("partitions", partitions.map(partitionRow), 6);
  const unowned = partitions.filter(({ owner }) => owner === null).length;
  by("partition-note").textContent = `${partitions.length}${unowned ? `, ${unowned} without owner` : ""}`;
}

const option = (value) => Object.assign(make("option"), { value });

let noticed = "";

function showNotices({ partitions, pauses }) {
  const unowned = partitions.filter(({ owner }) => owner === null).length;
  const notices = pauses.map((pause) => notice(`Paused: ${pause.target}`, pause.cause || `by ${pause.by}`));
  if (unowned) notices.unshift(notice(`${unowned} of ${partitions.length} partitions have no owner`, "What is in them waits. Is a worker running?"));
  // Written only when they change, so that they are not read out again and again.
  const text = notices.map(({ textContent }) => textContent).join();
  if (text === noticed) return;
  noticed = text;
  by("notices").replaceChildren(...notices);
}

const notice = (title, text) => make("p", "notice", make("b", "", title), make("span", "note", text));

const figures = (row) => [rate(row.acceptedPerSecond), rate(row.settledPerSecond)];

function row(name, cells, className = "") {
  const head = make("th", "", name);
  head.scope = "row";
  head.title = name;
  return make("tr", className, head, ...cells.map((cell) => make("td", "", cell)));
}

function hubRows({ hubs, otherHubs }, onPause) {
  const rows = hubs.map((each) => row(each.hub, [
    whole(each.entries), age(each.oldestAgeSeconds), ...figures(each),
    button("Pause", `Pause hub ${each.hub}`, () => onPause(each.hub)),
  ]));
  if (otherHubs.hubs) {
    rows.push(row(`${whole(otherHubs.hubs)} others`, [whole(otherHubs.entries), age(otherHubs.oldestAgeSeconds), ...figures(otherHubs), ""], "rest"));
  }
  return rows;
}

function workerRows({ workers, partitions }) {
  const owned = new Map(workers.map(({ worker }) => [worker, []]));
  for (const each of partitions) {
    const owner = each.owner ?? NOBODY;
    if (!owned.has(owner)) owned.set(owner, []);
    owned.get(owner).push(each);
  }
  const sum = (rows, name) => (rows.some((each) => each[name] === null) ? null : rows.reduce((total, each) => total + each[name], 0));
  return [...owned].map(([worker, rows]) => row(worker, [
    String(rows.length), whole(sum(rows, "entries")), rate(sum(rows, "acceptedPerSecond")), rate(sum(rows, "settledPerSecond")),
  ], worker === NOBODY ? "alarm-text" : ""));
}

const partitionRow = (each) => row(`${each.partition}  ${each.owner ?? NOBODY}`, [
  whole(each.entries), age(each.oldestAgeSeconds), ...figures(each), whole(each.deadLetters),
], each.owner === null ? "alarm-text" : "");

// Rows are replaced only where their text changed: a button that has the focus keeps it.
function fill(id, rows, columns) {
  const body = by(id);
  if (!rows.length) rows = [make("tr", "rest", Object.assign(make("td", "", "none"), { colSpan: columns }))];
  rows.forEach((fresh, at) => {
    const shown = body.children[at];
    if (!shown) body.append(fresh);
    else if (shown.firstChild.textContent !== fresh.firstChild.textContent || shown.childElementCount !== fresh.childElementCount) shown.replaceWith(fresh);
    else update(shown, fresh);
  });
  while (body.childElementCount > rows.length) body.lastElementChild.remove();
}

function update(shown, fresh) {
  shown.className = fresh.className;
  [...fresh.children].forEach((cell, at) => {
    if (!cell.querySelector("button")) shown.children[at].textContent = cell.textContent;
  });
}

function showRate(kind, value) {
  by(kind).replaceChildren(rate(value), make("small", "", "/s"));
  history[kind].push(value ?? 0);
  if (history[kind].length > READINGS) history[kind].shift();
  const peak = Math.max(1, ...history.came, ...history.left); // one scale for both
  draw(by(`${kind}-spark`), history[kind], peak);
}

function draw(svg, values, peak) {
  if (!svg.firstChild) svg.append(path("area"), path("trace"));
  const step = 120 / (READINGS - 1);
  const from = READINGS - values.length;
  const points = values.map((value, at) => `${((from + at) * step).toFixed(1)},${(27 - (value / peak) * 25).toFixed(1)}`);
  svg.firstChild.setAttribute("d", `M${(from * step).toFixed(1)},28L${points.join("L")}L120,28Z`);
  svg.lastChild.setAttribute("d", `M${points.join("L")}`);
}

function path(className) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("class", className);
  return element;
}
