/**
 * Connections that come and go, in every way that a connection can end: 600 of
 * them here, and 20,000 with `deno task churn`.
 */
import { assert } from "@std/assert";
import { Opcode } from "../frame.ts";
import { concat, pattern } from "./_bytes.ts";
import {
  isLinux,
  masked,
  pour,
  swallow,
  Target,
  times,
  upgradeBytes,
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
const GOODBYE = masked({ opcode: Opcode.Close });

/** One connection, from its beginning to its end. */
async function comeAndGo(target: Target, i: number): Promise<void> {
  if (i % 4 === 0) {
    const socket = await target.dialToReset();
    await writeAndReset(socket, concat(HEAD, MESSAGE).subarray(0, i % 3200));
    return;
  }
  using client = await target.dial();
  await pour(client, i % 2 === 0 ? HEAD : COMPRESSED);
  if (i % 8 === 1) return;
  await pour(client, concat(MESSAGE, MESSAGE));
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
  await target.attack("The rest", { growth: 60 }, () => some(COUNT * 2 / 3));
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
