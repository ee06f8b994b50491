/** The byte stream in memory that tests without a network run on. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { duplexPair, type MemoryDuplex } from "../testing.ts";
import { pattern } from "./_bytes.ts";
import { bounded, isPending } from "./_connection.ts";

function memoryTest(name: string, fn: () => Promise<void>): void {
  Deno.test(`duplexPair: ${name}`, bounded(fn));
}

/** What one read gives; `null` at the end. */
async function read(
  duplex: MemoryDuplex,
  length = 1000,
): Promise<Uint8Array | null> {
  const into = new Uint8Array(length);
  const count = await duplex.read(into);
  return count === null ? null : into.slice(0, count);
}

memoryTest("what is written to one end is read from the other", async () => {
  const [here, there] = duplexPair();
  for (const [from, to] of [[here, there], [there, here]] as const) {
    assertEquals(await from.write(pattern(10)), 10);
    assertEquals(to.unread, 10);
    assertEquals(await read(to, 4), pattern(10).slice(0, 4));
    assertEquals(await read(to), pattern(10).slice(4));
    const reading = read(to);
    assert(await isPending(reading));
    await from.write(pattern(3));
    assertEquals(await reading, pattern(3));
  }
});

memoryTest("what is written may change as soon as it is taken", async () => {
  const [here, there] = duplexPair();
  const bytes = pattern(10);
  await here.write(bytes);
  bytes.fill(0);
  assertEquals(await read(there), pattern(10));
});

memoryTest("a write waits where the capacity is used up", async () => {
  const [here, there] = duplexPair({ capacity: 8 });
  assertEquals(await here.write(pattern(10)), 8); // as a socket's, in part
  const writing = here.write(pattern(5));
  assert(await isPending(writing));
  assertEquals(await read(there, 3), pattern(10).slice(0, 3));
  assertEquals(await writing, 3);
  assertEquals(there.unread, 8);
});

memoryTest(
  "one read returns as much as the segment says, and at least one byte",
  async () => {
    const [, there] = await written({ segment: () => 1 });
    assertEquals(await read(there), pattern(10).slice(0, 1));
    const [, other] = await written({ segment: (available) => available / 2 });
    assertEquals(await read(other), pattern(10).slice(0, 5));
    const [, least] = await written({ segment: () => -1 });
    assertEquals(await read(least), pattern(10).slice(0, 1));
    const [, most] = await written({ segment: () => Infinity });
    assertEquals(await read(most), pattern(10));
  },
);

async function written(
  options: Parameters<typeof duplexPair>[0],
): Promise<[MemoryDuplex, MemoryDuplex]> {
  const pair = duplexPair(options);
  await pair[0].write(pattern(10));
  return pair;
}

memoryTest("one direction can be ended alone, unless it cannot", async () => {
  const [here, there] = duplexPair();
  await here.write(pattern(2));
  await here.closeWrite!();
  assertEquals(await read(there), pattern(2));
  assertEquals(await read(there), null);
  await there.write(pattern(3));
  assertEquals(await read(here), pattern(3));
  await assertRejects(() => here.write(pattern(1)), Error, "closed");
  for (const end of duplexPair({ halfClose: false })) {
    assertEquals(end.closeWrite, undefined);
  }
});

memoryTest(
  "a closed end reads and writes no more; the other reads to the end",
  async () => {
    const [here, there] = duplexPair();
    await here.write(pattern(4));
    const reading = here.read(new Uint8Array(1));
    reading.catch(() => {});
    assertEquals(here.isClosed, false);
    here.close();
    assertEquals([here.isClosed, there.isClosed], [true, false]);
    await assertRejects(() => reading, Error, "closed");
    await assertRejects(() => read(here), Error, "closed");
    await assertRejects(() => here.write(pattern(1)), Error, "closed");
    assertEquals(await read(there), pattern(4));
    assertEquals(await read(there), null);
    await assertRejects(() => there.write(pattern(1)), Error, "closed");
  },
);

memoryTest("what is stalled arrives when it is resumed", async () => {
  const [here, there] = duplexPair();
  here.stall();
  const writing = here.write(pattern(6));
  const reading = read(there);
  assert(await isPending(writing));
  assert(await isPending(reading));
  await there.write(pattern(2)); // the other direction goes on
  assertEquals(await read(here), pattern(2));
  here.resume();
  assertEquals(await writing, 6);
  assertEquals(await reading, pattern(6));
});

memoryTest("a reset ends both directions, for both ends", async () => {
  for (const error of [undefined, new Error("The cable is out")]) {
    const [here, there] = duplexPair({ capacity: 4 });
    await here.write(pattern(4));
    const pending = [here.write(pattern(1)), here.read(new Uint8Array(1))];
    for (const promise of pending) promise.catch(() => {});
    there.reset(error);
    const said = error?.message ?? "Connection reset by peer";
    for (const promise of pending) {
      await assertRejects(() => promise, Error, said);
    }
    for (const end of [here, there]) {
      await assertRejects(() => read(end), Error, said);
      await assertRejects(() => end.write(pattern(1)), Error, said);
    }
  }
});

memoryTest("a call before the last has settled is a mistake", async () => {
  const [here, there] = duplexPair({ capacity: 1 });
  const reading = read(here);
  await assertRejects(() => read(here), Error, "read is pending");
  await here.write(pattern(1));
  const writing = here.write(pattern(1));
  await assertRejects(() => here.write(pattern(1)), Error, "write is pending");
  await there.write(pattern(1));
  await read(there);
  assertEquals([await reading, await writing], [pattern(1), 1]);
});

memoryTest("nothing can be ended twice", async () => {
  const [here] = duplexPair();
  here.close();
  await assertRejects(() => here.closeWrite!(), Error, "closed");
  let error: unknown;
  try {
    here.close();
  } catch (thrown) {
    error = thrown;
  }
  assert(error instanceof Error && error.message.includes("closed"));
});
