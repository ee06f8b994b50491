/**
 * permessage-deflate over real sockets, context kept both ways, with npm ws at
 * the other end. `MESSAGES=100000 deno task test tests/interop_deflate_test.ts`
 * sends as many as that.
 */

import { assert, assertEquals } from "@std/assert";
import WebSocket, { WebSocketServer } from "ws";
import { accept, connect } from "../mod.ts";
import { permessageDeflate } from "../deflate.ts";

const COUNT = Number(Deno.env.get("MESSAGES") ?? 3000);

const WORDS = ["quote", "价格", "room", "弹幕", '{"id":', "0.25", "\n", "🌍"];

/** Messages of mixed sizes, the same for the same number. */
function message(number: number): string {
  let state = number * 2654435761 % 4294967296;
  const next = () => (state = (state * 1664525 + 1013904223) % 4294967296);
  // Mostly short ones, now and then one of some 10 KB.
  const words = number % 500 === 0 ? 2000 : next() % (number % 7 ? 12 : 300);
  let text = `${number}`;
  for (let i = 0; i < words; i++) text += WORDS[next() % WORDS.length];
  return text;
}

/** Sends all, no more than 64 ahead of what has come back, and compares. */
async function exchange(
  send: (text: string) => void,
  received: ReadableStream<string>,
): Promise<void> {
  let sent = 0;
  let back = 0;
  const more = () => {
    while (sent < COUNT && sent - back < 64) send(message(sent++));
  };
  more();
  for await (const text of received) {
    assert(text === message(back), `message ${back} has changed`);
    if (++back === COUNT) break;
    more();
  }
  assertEquals(back, COUNT);
}

Deno.test("messages compressed with context come back from a server of ws's", async () => {
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    perMessageDeflate: { threshold: 0 },
  });
  await new Promise((resolve) => server.once("listening", resolve));
  server.on("connection", (socket: WebSocket) => {
    socket.on("message", (data: Uint8Array, isBinary: boolean) => {
      socket.send(data, { binary: isBinary });
    });
  });
  const { port } = server.address() as { port: number };
  const ws = await connect(`ws://127.0.0.1:${port}/`, {
    extensions: [permessageDeflate({ threshold: 0 })],
  });
  assertEquals(ws.extension?.name, "permessage-deflate");
  await exchange(
    (text) => ws.send(text),
    ws.readable as ReadableStream<string>,
  );
  await ws.close();
  await new Promise((resolve) => server.close(resolve));
});

Deno.test("messages compressed with context come back to a client of ws's", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = listener.accept().then(async (conn) => {
    const ws = await accept(conn, {
      extensions: [permessageDeflate({ threshold: 0 })],
    });
    assertEquals(ws.extension?.name, "permessage-deflate");
    await ws.forEach((data) => ws.send(data));
  });
  const socket = new WebSocket(`ws://127.0.0.1:${listener.addr.port}/`, {
    perMessageDeflate: { threshold: 0 },
  });
  await new Promise((resolve) => socket.once("open", resolve));
  const received = new ReadableStream<string>({
    start(controller) {
      socket.on("message", (data: Uint8Array) => {
        controller.enqueue(new TextDecoder().decode(data));
      });
    },
  });
  await exchange((text) => socket.send(text), received);
  socket.close();
  await served;
  listener.close();
});
