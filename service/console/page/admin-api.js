// Requests to the admin API. The key is kept for this tab only and is sent as a header, never in an address.

const KEY = "apiKey";
const WITHIN = 10_000; // milliseconds

let key = sessionStorage.getItem(KEY) ?? "";

export const hasKey = () => Boolean(key);

export function useKey(text) {
  key = text;
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

// Why a request was not answered as asked; `status` is 0 when there was no answer.
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// Returns the text of a successful answer, and throws a Refusal otherwise. `path` is under /v1/admin/.
export async function askText(path, command) {
  const headers = key ? { "X-API-Key": key } : {};
  const options = { headers, cache: "no-store", signal: AbortSignal.timeout(WITHIN) };
  if (command) Object.assign(options, { method: "POST", body: JSON.stringify(command) });
  if (command) headers["Content-Type"] = "application/json";
  let answer, text;
  try {
    answer = await fetch(new URL(`v1/admin/${path}`, document.baseURI), options);
    text = await answer.text();
  } catch {
    throw new Refusal(0, "The service does not answer.");
  }
  if (!answer.ok) throw new Refusal(answer.status, detailOf(text) || `The service answered ${answer.status}.`);
  return text;
}

export const ask = async (path, command) => JSON.parse(await askText(path, command));

export function query(values) {
  return new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value !== null)).toString();
}

function detailOf(text) {
  try {
    return JSON.parse(text).detail ?? "";
  } catch {
    return "";
  }
}
