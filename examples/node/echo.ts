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
import { dial, toStreams, toUpgrade } from "./node_streams.ts";

const options = { extensions: [permessageDeflate()] };

async function echo(opening: Promise<WebSocketConnection>): Promise<void> {
  try {
    const ws = await opening;
    await ws.forEach((message) => ws.send(message));
  } catch (error) {
    console.error(String(error));
  }
}

/** Pages, and WebSockets where a client asks for one. */
function serveHttp(port: number): void {
  const server = createServer((_request, response) => {
    response.end("A page\n");
  });
  server.on("upgrade", (request, socket, head) => {
    const upgrade = toUpgrade(request, head);
    echo(
      accept(toStreams(socket as Socket), { ...options, request: upgrade }),
    );
  });
  server.listen(port, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo;
    console.log(`Listening on ws://127.0.0.1:${port}/`);
  });
}

/** WebSockets alone. */
function serveTcp(port: number): void {
  const server = createTcpServer((socket) => {
    echo(accept(toStreams(socket), options));
  });
  server.listen(port, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo;
    console.log(`Listening on ws://127.0.0.1:${port}/`);
  });
}

/** Says something, and prints the answer. */
async function say(url: string, text: string): Promise<void> {
  const ws = await connect(url, { ...options, dial });
  await ws.send(text);
  console.log(await ws.receive());
  await ws.close();
}

const [what = "http", argument] = process.argv.slice(2);
if (what === "http") serveHttp(Number(argument ?? 9001));
else if (what === "tcp") serveTcp(Number(argument ?? 9001));
else await say(what, argument ?? "hello");
