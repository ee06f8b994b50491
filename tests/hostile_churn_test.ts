/**
 * Connections that come and go, in every way that a connection can end: 600 of
 * them here, and 20,000 with `deno task churn`.
 */
import { assert } from "@std/assert";
import type { Socket } from "node:net";
import { deflateRawSync } from "node:zlib";
import { Opcode, RSV1 } from "../frame.ts";
import { concat, pattern } from "./_bytes.ts";
import {
  isLinux,
  masked,
  noise,
  pour,
  swallow,
  Target,
  times,
  upgradeBytes,
  writeAll,
  writeAndReset,
} from "./_hostile.ts";
import { within } from "./_server.ts";

const COUNT = Number(Deno.env.get("CHURN") || 600);
const AT_ONCE = 50;

const HEAD = upgradeBytes();
const COMPRESSED = upgradeBytes(
  "Sec-WebSocket-Extensions: permessage-deflate",
);
const MESSAGE = masked({ opcode: Opcode.Binary, payload: pattern(3000) });
const PART = masked({
  opcode: Opcode.Binary,
  fin: false,
  payload: pattern(3000),
});
const REST = masked({ opcode: Opcode.Continuation, payload: pattern(500) });
const PING = masked({ opcode: Opcode.Ping });

/** Data that does not compress, so that it is large on the wire, too. */
const deflated = new Uint8Array(
  deflateRawSync(noise(3000), { finishFlush: 2 }).subarray(0, -4),
);
const DEFLATED = masked({
  opcode: Opcode.Binary,
  reservedBits: RSV1,
  payload: deflated,
});
const DEFLATED_PART = masked({
  opcode: Opcode.Binary,
  reservedBits: RSV1,
  fin: false,
  payload: deflated.subarray(0, 2000),
});
const GOODBYE = masked({ opcode: Opcode.Close });

/** Waits until something comes. */
function comes(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("data", () => resolve()));
}

/** One connection, from its beginning to its end. */
async function comeAndGo(target: Target, i: number): Promise<void> {
  const head = i % 2 === 0 ? HEAD : COMPRESSED;
  const message = i % 2 === 0 ? MESSAGE : DEFLATED;
  if (i % 4 === 0) {
    const socket = await target.dialToReset();
    if (i % 8 === 0) {
      await writeAndReset(socket, concat(HEAD, MESSAGE).subarray(0, i % 3200));
      return;
    }
    // In the middle of a message, of which some is taken in.
    const isCompressed = i % 16 > 8;
    await writeAll(socket, isCompressed ? COMPRESSED : HEAD);
    await within(comes(socket), 60_000);
    await writeAll(socket, concat(isCompressed ? DEFLATED_PART : PART, PING));
    await within(comes(socket), 60_000);
    await writeAll(socket, REST.subarray(0, i % 500));
    socket.resetAndDestroy();
    return;
  }
  using client = await target.dial();
  await pour(client, head);
  if (i % 8 === 1) return;
  await pour(client, concat(message, message));
  if (i % 8 === 2) return;
  if (i % 8 === 3) await client.conn.closeWrite();
  else await pour(client, GOODBYE);
  await within(swallow(client), 60_000);
}

Deno.test({
  name: `${COUNT} connections come and go, and leave nothing behind`,
  ignore: !isLinux,
}, async () => {
  await using target = await Target.start("--compress");
  let done = 0;
  const some = async (count: number) => {
    for (const end = done + count; done < end; done += AT_ONCE) {
      await times(AT_ONCE, (i) => comeAndGo(target, done + i));
    }
  };
  // The first ones fill the pools of buffers, and warm the compiler up.
  await target.attack(
    "The first third",
    { growth: 100 },
    () => some(COUNT / 3),
  );
  const [heap, { rss }] = [await target.heapInUse(), target.usage()];
  const began = performance.now();
  // It begins after a collection that gives back all it can, unlike its end.
  await target.attack("The rest", { growth: 100 }, () => some(COUNT * 2 / 3));
  const seconds = (performance.now() - began) / 1000;
  assert(done >= COUNT);
  const heapNow = await target.heapInUse();
  const rssNow = target.usage().rss;
  console.log(
    `${
      (COUNT * 2 / 3 / seconds).toFixed(0)
    } connections a second, heap in use ${heap.toFixed(1)} -> ${
      heapNow.toFixed(1)
    } MiB`,
  );
  // What is in use is what it was. The system gets some of the rest back, when V8
  // thinks fit: 5 to 35 MiB more were seen, and no more with 60,000 connections.
  assert(heapNow < heap + 1, "something is kept");
  assert(rssNow < rss + 60, "memory is not given back");
});
