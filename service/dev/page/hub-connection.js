// A SignalR client that receives: the JSON hub protocol over a WebSocket.
//
// 1. POST {origin}/{hub}/negotiate returns the address of the service and a token.
// 2. POST {service}/client/negotiate returns a connection id.
// 3. The WebSocket opens with both. Its first frame is the handshake.
// 4. Every later frame has one or more messages, each ended by the record separator. Both sides send pings.
//
// A lost connection is opened again with exponential backoff. Every change of state is reported to `onState`.

import { memberText } from "../console/raw-json.js";

const SEPARATOR = "\u001e";
const INVOCATION = 1;
const PING = 6;
const CLOSE = 7;
const PING_INTERVAL = 15_000;
const SILENCE_LIMIT = 30_000;
const FIRST_BACKOFF = 500;
const MAX_BACKOFF = 10_000;

class PermanentRefusal extends Error {}

export class HubConnection {
  #options;
  #abort = new AbortController();
  #wake = () => {};

  // options: {hub, user, onState({name, ...}), onInvocation({target, argumentsText, arguments}), headers(), onStatus(status)}
  // The last two belong to the product's negotiate, which may need a key; the service is asked with its own token.
  // States: connecting, connected {connectionId}, waiting {reason, until}, closed {reason}.
  constructor(options) {
    this.#options = options;
  }

  start() {
    this.#run();
    return this;
  }

  stop() {
    this.#abort.abort();
    this.#wake();
  }

  retryNow() {
    this.#wake();
  }

  async #run() {
    let attempt = 0;
    while (!this.#abort.signal.aborted) {
      this.#report({ name: "connecting" });
      let reason = "the connection was lost";
      let final = false;
      try {
        await this.#session(() => { attempt = 0; });
      } catch (error) {
        reason = error.message;
        final = error instanceof PermanentRefusal;
      }
      if (this.#abort.signal.aborted) return;
      const ceiling = Math.min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** attempt++);
      const wait = ceiling * (0.5 + Math.random() / 2);
      this.#report(final ? { name: "closed", reason } : { name: "waiting", reason, until: Date.now() + wait });
      await this.#pause(final ? null : wait);
    }
  }

  #report(state) {
    if (!this.#abort.signal.aborted) this.#options.onState(state);
  }

  #pause(wait) {
    return new Promise((resolve) => {
      const timer = wait === null ? undefined : setTimeout(resolve, wait);
      this.#wake = () => { clearTimeout(timer); resolve(); };
    });
  }

  async #session(onConnected) {
    const signal = this.#abort.signal;
    const { hub, user, headers, onStatus } = this.#options;
    const own = new URL(`${encodeURIComponent(hub)}/negotiate`, document.baseURI);
    own.searchParams.set("negotiateVersion", "1");
    own.searchParams.set("userId", user);
    const service = await post(own, headers(), signal, onStatus);
    const endpoint = new URL(service.url);
    const bearer = { Authorization: `Bearer ${service.accessToken}` };
    const connection = await post(negotiateUrl(endpoint), bearer, signal);
    endpoint.protocol = endpoint.protocol.replace("http", "ws");
    endpoint.searchParams.set("id", connection.connectionToken ?? connection.connectionId);
    endpoint.searchParams.set("access_token", service.accessToken);
    await this.#listen(new WebSocket(endpoint), () => {
      onConnected();
      this.#report({ name: "connected", connectionId: connection.connectionId });
    });
  }

  // Resolves when the socket closes, rejects when the service gives a reason.
  #listen(socket, onReady) {
    return new Promise((resolve, reject) => {
      let ready = false;
      let lastReceived = Date.now();
      const close = () => socket.close();
      const pinging = setInterval(() => {
        if (Date.now() - lastReceived > SILENCE_LIMIT) return finish(reject, new Error(`nothing was received for ${SILENCE_LIMIT / 1000} s`));
        if (ready) socket.send(JSON.stringify({ type: PING }) + SEPARATOR);
      }, PING_INTERVAL);
      const finish = (settle, value) => {
        clearInterval(pinging);
        this.#abort.signal.removeEventListener("abort", close);
        socket.close();
        settle(value);
      };
      this.#abort.signal.addEventListener("abort", close);
      socket.onopen = () => socket.send(JSON.stringify({ protocol: "json", version: 1 }) + SEPARATOR);
      socket.onclose = () => finish(ready ? resolve : reject, new Error("the service refused the connection"));
      socket.onmessage = (event) => {
        lastReceived = Date.now();
        try {
          for (const text of event.data.split(SEPARATOR)) {
            if (!text) continue;
            if (ready) this.#take(text);
            else { checkHandshake(text); ready = true; onReady(); }
          }
        } catch (error) {
          finish(reject, error);
        }
      };
    });
  }

  #take(text) {
    const message = JSON.parse(text);
    if (message.type === INVOCATION) {
      const argumentsText = memberText(text, "arguments") ?? "[]";
      this.#options.onInvocation({ target: message.target, arguments: message.arguments ?? [], argumentsText });
    } else if (message.type === CLOSE) {
      const reason = message.error || "the service closed the connection";
      throw message.allowReconnect ? new Error(reason) : new PermanentRefusal(reason);
    }
  }
}

function checkHandshake(text) {
  const answer = JSON.parse(text);
  if (answer.error) throw new PermanentRefusal(answer.error);
}

function negotiateUrl(endpoint) {
  const url = new URL(endpoint);
  url.pathname = url.pathname.replace(/\/?$/, "/negotiate");
  url.searchParams.set("negotiateVersion", "1");
  return url;
}

async function post(url, headers, signal, onStatus = () => {}) {
  let answer;
  try {
    answer = await fetch(url, { method: "POST", headers, signal, credentials: "omit" });
  } catch {
    throw new Error(`${url.host} does not answer`);
  }
  onStatus(answer.status);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || problem.title || `${url.host} answered ${answer.status}`);
  }
  return answer.json();
}
