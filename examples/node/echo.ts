/**
 * An echo on Node's own HTTP server, beside its pages, and a client of one:
 *
 * ```sh
 * deno bundle --platform=browser --output=echo.mjs examples/node/echo.ts
 * node echo.mjs
 * node echo.mjs ws://127.0.0.1:9001/ hello
 * ```
 *
 * @module
 */

import { createServer } from "node:http";
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Socket,
} from "node:net";
import process from "node:process";
import { accept, connect, type WebSocketConnection } from "../../mod.ts";
import { permessageDeflate } from "../../deflate.ts";
import { dial, toDuplex, toUpgrade } from "./node_sockets.ts";

const options = { extensions: [permessageDeflate()] };

// How long an answer may take, in milliseconds.
const PATIENCE = 30_000;

/** Runs a handler as `serve()` does: an unhandled rejection would end Node. */
async function answer(
  opening: Promise<WebSocketConnection>,
  handle: (ws: WebSocketConnection) => unknown,
): Promise<void> {
  let ws: WebSocketConnection | undefined;
  try {
    ws = await opening;
    await handle(ws);
    await ws.close();
  } catch (error) {
    console.error(String(error));
    await ws?.close(1011); // unless it is closed already
  }
}

function echo(ws: WebSocketConnection): Promise<void> {
  return ws.forEach((message) => ws.send(message));
}

/** Pages, and WebSockets where a client asks for one. */
function serveHttp(port: number): void {
  const server = createServer((_request, response) => {
    response.end("A page\n");
  });
  server.on("upgrade", (request, socket, head) => {
    const duplex = toDuplex(socket as Socket);
    const upgrade = toUpgrade(request, head);
    answer(accept(duplex, { ...options, request: upgrade }), echo);
  });
  server.listen(port, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo;
    console.log(`Listening on ws://127.0.0.1:${port}/`);
  });
}

/** WebSockets alone. */
function serveTcp(port: number): void {
  // What is owed to a client that has ended its direction still goes out.
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    answer(accept(toDuplex(socket), options), echo);
  });
  server.listen(port, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo;
    console.log(`Listening on ws://127.0.0.1:${port}/`);
  });
}

/** Sends a message, and prints the reply. */
async function say(url: string, text: string): Promise<void> {
  const ws = await connect(url, { ...options, dial });
  await ws.send(text);
  const signal = AbortSignal.timeout(PATIENCE);
  const answer = await ws.receive({ signal });
  await ws.close();
  if (answer === undefined) throw new Error("The server closed unasked");
  console.log(answer);
}

const [what = "http", argument] = process.argv.slice(2);
if (what === "http") serveHttp(Number(argument ?? 9001));
else if (what === "tcp") serveTcp(Number(argument ?? 9001));
else await say(what, argument ?? "hello");
