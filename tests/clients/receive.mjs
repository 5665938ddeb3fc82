// @microsoft/signalr under node: connects to the given base URL, prints what it receives, and ends at the end of input.
//
// node receive.mjs <base URL> <json|messagepack> <method name>...

import { HubConnectionBuilder, LogLevel } from "@microsoft/signalr";
import { MessagePackHubProtocol } from "@microsoft/signalr-protocol-msgpack";

import { endOfInput, say } from "./lines.mjs";

const [url, protocol, ...targets] = process.argv.slice(2);
const builder = new HubConnectionBuilder().withUrl(url).configureLogging(LogLevel.Warning);
if (protocol === "messagepack") builder.withHubProtocol(new MessagePackHubProtocol());
const connection = builder.build();
for (const target of targets) connection.on(target, (...values) => say("message", { target, arguments: values }));

await connection.start();
say("connected", { connectionId: connection.connectionId });
await endOfInput();
await connection.stop();
