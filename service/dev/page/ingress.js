// Requests to the ingress, and its responses as words. Bodies are assembled as text, so that arguments are sent exactly
// as they were typed.

// The API key that was entered, kept for this tab only. It is asked for when a request is answered 401.
let key = sessionStorage.getItem("apiKey") ?? "";
let askForKey = () => {};

export const keyHeaders = () => (key ? { "X-API-Key": key } : {});

export function useKey(text) {
  key = text;
  sessionStorage.setItem("apiKey", text);
}

export function onKeyNeeded(callback) {
  askForKey = callback;
}

export function noteStatus(status) {
  if (status === 401) askForKey();
}

const NAMES = { user: "userId", group: "groupName", connection: "connectionId" };

// One item as JSON text. `scope` is everyone, user, group or connection; `argumentsText` is the text of an array.
export function messageText({ scope, name, target, argumentsText }) {
  const members = [];
  if (scope !== "everyone") members.push(`${JSON.stringify(NAMES[scope])}: ${JSON.stringify(name)}`);
  if (target) members.push(`"target": ${JSON.stringify(target)}`);
  members.push(`"arguments": ${argumentsText}`);
  return `{${members.join(", ")}}`;
}

// `argumentsText` with one more argument, which is the text `extra`.
export function withArgument(argumentsText, extra) {
  const open = argumentsText.slice(0, argumentsText.lastIndexOf("]")).trimEnd();
  return open.endsWith("[") && JSON.parse(`${open}]`).length === 0 ? `${open}${extra}]` : `${open}, ${extra}]`;
}

export function curlLine(url, body) {
  const quoted = body.replaceAll("'", "'\\''");
  return `curl ${url} \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'`;
}

export function messagesUrl(hub) {
  return new URL(`v1/hubs/${encodeURIComponent(hub)}/messages`, document.baseURI);
}

// POSTs JSON text and returns {ok, headline, lines}, also when the request failed.
export async function deliver(hub, text) {
  let answer;
  try {
    const headers = { "Content-Type": "application/json", ...keyHeaders() };
    answer = await fetch(messagesUrl(hub), { method: "POST", headers, body: text });
  } catch {
    return { ok: false, headline: "The ingress does not answer", lines: ["Is the process still running?"] };
  }
  noteStatus(answer.status);
  const content = await answer.json().catch(() => ({}));
  return answer.ok ? accepted(answer.status, content) : refused(answer, content);
}

function accepted(status, { results = [] }) {
  const counts = new Map();
  for (const result of results) counts.set(result.status, (counts.get(result.status) ?? 0) + 1);
  const words = [...counts].map(([word, count]) => (results.length === 1 ? word : `${count} ${word}`));
  return { ok: true, headline: `${status} ${words.join(", ")}`, lines: [] };
}

function refused(answer, problem) {
  const lines = [];
  if (problem.detail) lines.push(problem.detail);
  for (const error of problem.errors ?? []) {
    const reason = error.detail ?? error.message ?? error.reason ?? "";
    lines.push([error.pointer, reason].filter(Boolean).join(": "));
  }
  const later = answer.headers.get("Retry-After");
  if (later) lines.push(`Try again in ${later} s.`);
  return { ok: false, headline: `${answer.status} ${problem.title ?? answer.statusText}`.trim(), lines: [...new Set(lines)] };
}
