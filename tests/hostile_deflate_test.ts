/** Compressed messages that cost the receiver the most time or memory. */
import { assert, assertEquals } from "@std/assert";
import { connect } from "../connect.ts";
import { permessageDeflate } from "../deflate.ts";
import { Opcode, RSV1 } from "../frame.ts";
import { Inflater } from "../_inflater.ts";
import {
  closeAll,
  closeCode,
  isLinux,
  masked,
  pour,
  swallow,
  Target,
  times,
} from "./_hostile.ts";
import { randomNumbers } from "./_protocol.ts";
import { seed } from "./_property.ts";
import { within } from "./_server.ts";

/** RFC 1951 §3.2.7: blocks with tables of their own that hold nothing: 90 bits each. */
function emptyDynamicBlocks(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let at = 0;
  const put = (value: number, bits: number): void => {
    for (let i = 0; i < bits; i++, at++) {
      bytes[at >> 3]! |= (value >> i & 1) << (at & 7);
    }
  };
  while (at + 90 <= length * 8) {
    put(0b100, 3); // dynamic, not the last
    put(0, 5); // 257 literals and lengths
    put(0, 5); // 1 distance
    put(14, 4); // 18 code lengths, in the order of §3.2.7
    for (let i = 0; i < 18; i++) put(i === 2 || i === 17 ? 1 : 0, 3);
    put(1, 1); // 18: 138 zeros
    put(127, 7);
    put(1, 1); // 18: 118 zeros
    put(107, 7);
    put(0, 1); // 1 for the end of the block, and for the distance
    put(0, 1);
    put(0, 1); // the end of the block
  }
  return bytes;
}

Deno.test("what is sent below is what it is said to be", () => {
  let length = 0;
  new Inflater(15).push(emptyDynamicBlocks(9000), (piece) => {
    length += piece.length;
  });
  assert(length === 0);
});

Deno.test({ name: "compression under attack", ignore: !isLinux }, async (t) => {
  await using target = await Target.start("--compress");
  await t.step(
    "messages of empty blocks with tables",
    () =>
      target.attack("messages of empty blocks with tables", {}, async () => {
        // 1 s of work for each MiB.
        const bytes = masked({
          opcode: Opcode.Binary,
          reservedBits: RSV1,
          payload: emptyDynamicBlocks(1024 * 1024),
        });
        await times(4, async () => {
          using client = await target.openCompressed();
          const reading = swallow(client);
          await pour(client, bytes);
          await client.conn.closeWrite().catch(() => {});
          await within(reading, 30_000);
        });
      }),
  );

  await t.step("messages that take long to compress", () =>
    target.attack(
      "messages that take long to compress",
      { growth: 128 },
      async () => {
        const random = randomNumbers(seed);
        const payload = Uint8Array.from(
          { length: 256 * 1024 },
          () => random() * 4,
        );
        const bytes = masked({ opcode: Opcode.Binary, payload });
        await times(4, async () => {
          using client = await target.openCompressed();
          const reading = swallow(client);
          for (let left = 8; left > 0; left--) await pour(client, bytes);
          await client.conn.closeWrite().catch(() => {});
          await within(reading, 30_000);
        });
      },
    ));

  await t.step(
    "more unfinished messages than there may be",
    () =>
      target.attack(
        "more unfinished messages than there may be",
        // 4,096 decompressors.
        { growth: 512 },
        async () => {
          const begin = masked({
            opcode: Opcode.Text,
            fin: false,
            reservedBits: RSV1,
            payload: new Uint8Array([0xf2]),
          });
          const clients = [];
          // A few connections at once.
          while (clients.length < 4100) {
            clients.push(
              ...await times(20, async () => {
                const client = await target.openCompressed();
                await client.write(begin);
                return client;
              }),
            );
          }
          // A newcomer's message that takes more than one read.
          const random = randomNumbers(seed);
          const hex = () => (random() * 16 | 0).toString(16);
          const message = Array.from({ length: 100 * 1024 }, hex).join("");
          await using ws = await connect(target.url, {
            extensions: [permessageDeflate()],
          });
          for (let left = 5; left > 0; left--) {
            await ws.send(message);
            assertEquals(await within(ws.receive()), message);
          }
          // The first one fails if it goes on.
          const rest = masked({
            opcode: Opcode.Continuation,
            payload: new Uint8Array([0x48]),
          });
          await clients[0]!.write(rest);
          assertEquals(await closeCode(clients[0]!), 1013);
          while (clients.length > 0) {
            closeAll(clients.splice(-20));
            await ws.ping();
          }
        },
      ),
  );
});
