// @microsoft/signalr in a browser. A blank page of another origin than the product's loads the vendor's bundles as any
// site would, negotiates across origins (with credentials, the client's default), and reports what it receives.
//
// node receive_in_page.mjs <chromium> <port of the page> <base URL> <json|messagepack> <method name>...

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";

import { launch, openPage } from "./chromium.mjs";
import { endOfInput, say } from "./lines.mjs";

const [executable, port, url, protocol, ...targets] = process.argv.slice(2);
const FILES = {
  "/signalr.js": "node_modules/@microsoft/signalr/dist/browser/signalr.min.js",
  "/msgpack.js": "node_modules/@microsoft/signalr-protocol-msgpack/dist/browser/signalr-protocol-msgpack.min.js",
};
const BLANK = '<!doctype html><link rel="icon" href="data:,"><script src="/signalr.js"></script><script src="/msgpack.js"></script>';

const server = createServer(async (request, response) => {
  const file = FILES[request.url];
  response.setHeader("Content-Type", file ? "text/javascript" : "text/html; charset=utf-8");
  response.end(file ? await readFile(new URL(file, import.meta.url)) : BLANK);
});
await new Promise((resolve) => server.listen(Number(port), "127.0.0.1", resolve));

const browser = await launch(executable);
try {
  const { page, complaints } = await openPage(browser);
  await page.exposeFunction("tell", (target, values) => say("message", { target, arguments: values }));
  await page.goto(`http://127.0.0.1:${port}/`);
  const connectionId = await page.evaluate(connect, { url, protocol, targets });
  say("connected", { connectionId });
  await endOfInput();
  if (complaints.length) throw new Error(complaints.join("\n"));
} finally {
  await browser.close();
  server.close();
  server.closeAllConnections();
}

// Runs inside the page. `tell` keeps the order, because the calls of one page are answered one after another.
async function connect({ url, protocol, targets }) {
  const { signalR } = globalThis;
  const builder = new signalR.HubConnectionBuilder().withUrl(url).configureLogging(signalR.LogLevel.Warning);
  if (protocol === "messagepack") builder.withHubProtocol(new signalR.protocols.msgpack.MessagePackHubProtocol());
  const connection = builder.build();
  for (const target of targets) connection.on(target, (...values) => { globalThis.tell(target, values); });
  await connection.start();
  return connection.connectionId;
}
