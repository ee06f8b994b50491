/**
 * Tests of a handler without a network: no port, no permission, and a peer that
 * does whatever a test needs.
 *
 * ```sh
 * deno task test examples/recipes/handler_test.ts
 * ```
 *
 * @module
 */

import {
  accept,
  connect,
  ConnectionClosedError,
  type WebSocketConnection,
} from "../../mod.ts";
import { duplexPair, type DuplexPairOptions } from "../../testing.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

/** The handler under test: adds up the numbers that it gets. */
async function addUp(ws: WebSocketConnection): Promise<void> {
  let sum = 0;
  for await (const message of ws) {
    const number = Number(message);
    if (Number.isNaN(number)) await ws.close(1003, "Not a number");
    else await ws.send(`${sum += number}`);
  }
}

/** A client of the handler, the stream beneath it, and how the handler ends. */
async function start(options?: DuplexPairOptions) {
  const [here, there] = duplexPair(options);
  const highWaterMark = 1024; // little, so that senders soon have to wait
  const accepting = accept(here, { highWaterMark });
  const ws = await connect("ws://test/", { highWaterMark, dial: () => there });
  const ended = addUp(await accepting);
  ended.catch(() => {}); // not every test looks at it
  return { ws, stream: there, ended };
}

/** Registers a test that runs without any permission. */
function test(name: string, run: () => Promise<void>): void {
  Deno.test({ name, permissions: "none", fn: run });
}

test("numbers are added up", async () => {
  const { ws, ended } = await start();
  for (const [number, sum] of [["1", "1"], ["2", "3"], ["-5", "-2"]]) {
    await ws.send(number!);
    assertEquals(await ws.receive(), sum);
  }
  await ws.close();
  await ended;
});

test("what is no number ends the connection", async () => {
  const { ws, ended } = await start();
  await ws.send("one");
  const { code, reason } = await ws.closed;
  assertEquals([code, reason], [1003, "Not a number"]);
  await ended;
});

test("numbers arrive whole, wherever the stream is cut", async () => {
  const { ws } = await start({ segment: () => 1 });
  await ws.send("1000");
  assertEquals(await ws.receive(), "1000");
  await ws.close();
});

test("a client that does not read is waited for", async () => {
  const { ws, stream } = await start({ capacity: 1024 });
  // Nothing is taken off the stream while nobody receives here, up to a limit.
  const sending = Promise.all(
    Array.from({ length: 5000 }, () => ws.send("1")),
  );
  let isSent = false;
  sending.then(() => isSent = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert(!isSent && stream.unread <= 1024);
  for (let sum = 1; sum <= 5000; sum++) {
    assertEquals(await ws.receive(), `${sum}`);
  }
  await sending;
  await ws.close();
});

test("a connection that breaks ends the handler", async () => {
  const { ws, stream, ended } = await start();
  stream.reset();
  await assertRejects(() => ended, ConnectionClosedError);
  assertEquals((await ws.closed).code, 1006);
});
