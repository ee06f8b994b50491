/** Turns: connections that keep the thread busy let others go on. */
import { assert, assertEquals } from "@std/assert";
import { finished } from "../_finished.ts";
import { areTimersShared } from "../_platform.ts";
import { addWork, soon, takeTurns, type TurnTaker } from "../_turns.ts";
import { pattern } from "./_bytes.ts";
import { open, quiet, uncaught, withClock } from "./_connection.ts";
import { RSV1 } from "../frame.ts";
import { repeating } from "./_fake_extensions.ts";
import { COUNT, flood, TURN, WORK } from "./_flood.ts";
import { binary, text } from "./_protocol.ts";

Deno.test("a peer that always has more to read waits for the others' turn", async () => {
  await withClock(async (clock) => {
    const first = flood(clock);
    const second = flood(clock);
    await quiet();
    // No timer has fired: others had no turn.
    const before = first.handled + second.handled;
    assert(before > 0 && before < COUNT / 2, `${before}`);
    // Connections with little to read need not wait.
    const other = open();
    let seen: unknown;
    other.ws.forEach((message) => seen = message);
    await other.peer.send(text("hello"));
    await quiet();
    assertEquals(seen, "hello");
    assertEquals(first.handled + second.handled, before);
    // Both get theirs, and nothing is lost.
    for (let turns = 0; first.handled < COUNT; turns++) {
      assert(turns < COUNT * 4);
      const { handled } = second;
      await clock.advance(TURN);
      if (handled < COUNT && turns > 4) assert(second.handled > 0);
    }
    while (second.handled < COUNT) await clock.advance(TURN);
    for (const { ws } of [first, second, other]) ws.terminate();
    await clock.advance(TURN);
  });
});

Deno.test("a connection that ends while it waits for its turn does nothing more", async () => {
  await withClock(async (clock) => {
    const first = flood(clock);
    await quiet();
    const { handled } = first;
    first.ws.terminate();
    await clock.advance(10);
    assertEquals(first.handled, handled);
  });
});

Deno.test("a connection that has failed takes turns in what it skips", async () => {
  await withClock(async (clock) => {
    const busy = flood(clock);
    const failed = flood(clock);
    await failed.peer.send(Uint8Array.of(0xff, 0xff)).catch(() => {});
    failed.peer.send(...Array(COUNT).fill(binary(pattern(16_384))))
      .catch(() => {});
    for (
      let turns = 0;
      failed.handled < COUNT || busy.handled < COUNT;
      turns++
    ) {
      assert(turns < COUNT * 8);
      await clock.advance(TURN);
    }
    // It is given up in time, though it is always being read from.
    failed.ws.close();
    await clock.advance(200);
    assertEquals((await failed.ws.closed).code, 1002);
    busy.ws.terminate();
    await clock.advance(TURN);
  });
});

Deno.test("whoever iterates takes turns as well", async () => {
  await withClock(async (clock) => {
    const { ws, peer } = open({ capacity: Infinity, segment: () => 20_000 });
    let handled = 0;
    const iterating = (async () => {
      for await (const message of ws) {
        assertEquals(message.length, 16_384);
        handled++;
        clock.block(WORK);
      }
    })().catch(() => {});
    const message = binary(pattern(16_384));
    peer.send(...Array(COUNT).fill(message)).catch(() => {});
    await quiet();
    assert(handled > 0 && handled < COUNT / 2, `${handled}`);
    for (let turns = 0; handled < COUNT; turns++) {
      assert(turns < COUNT * 4);
      await clock.advance(TURN);
    }
    ws.terminate();
    await iterating;
    await clock.advance(TURN);
  });
});

Deno.test("what takes long to transform takes turns, whoever receives it", async () => {
  for (const way of ["forEach", "iterate", "receive"]) {
    await withClock(async (clock) => {
      const transforming = repeating(512);
      const { decode } = transforming;
      const { ws, peer } = open({
        capacity: Infinity,
        extension: {
          ...transforming,
          decode: (...args) => {
            clock.block(WORK);
            decode.apply(transforming, args);
          },
        },
      });
      let handled = 0;
      const handle = () => void handled++;
      const receiving = (async () => {
        if (way === "forEach") await ws.forEach(handle);
        else if (way === "iterate") { for await (const _ of ws) handle(); }
        else while (await ws.receive() !== undefined) handle();
      })().catch(() => {});
      // All of them come with one read.
      const message = { ...binary(Uint8Array.of(3, 7)), reservedBits: RSV1 };
      await peer.send(...Array(COUNT).fill(message));
      await quiet();
      assert(handled > 0 && handled < COUNT / 2, `${way}: ${handled}`);
      for (let turns = 0; handled < COUNT; turns++) {
        assert(turns < COUNT * 4, `${way}: ${handled} after ${turns} turns`);
        await clock.advance(TURN);
      }
      ws.terminate();
      await receiving;
      await clock.advance(TURN);
    });
  }
});

Deno.test("thousands of messages within one read take turns", async () => {
  for (const way of ["forEach", "iterate"]) {
    await withClock(async (clock) => {
      const { ws, peer } = open({ capacity: Infinity });
      let handled = 0;
      const handle = (): void => {
        handled++;
        clock.block(0.5);
      };
      const receiving = (async () => {
        if (way === "forEach") await ws.forEach(handle);
        else for await (const _ of ws) handle();
      })().catch(() => {});
      await peer.send(...Array(2000).fill(text("0123456789")));
      await quiet();
      assert(handled > 0 && handled < 500, `${way}: ${handled}`);
      for (let turns = 0; handled < 2000; turns++) {
        assert(turns < 500, `${way}: ${handled} after ${turns} turns`);
        await clock.advance(TURN);
      }
      ws.terminate();
      await receiving;
      await clock.advance(TURN);
    });
  }
});

Deno.test("a taker that throws in its microtask does not keep others from theirs", async () => {
  const told: string[] = [];
  const taker = (name: string, act: () => void): TurnTaker => ({
    work: 0,
    onMicrotask() {
      told.push(name);
      act();
    },
    onTurn() {},
  });
  const errors = await uncaught(async () => {
    soon(taker("one", () => {
      throw new Error("mine");
    }));
    soon(taker("two", () => {}));
    await quiet();
  });
  assertEquals(told, ["one", "two"]);
  assertEquals(errors.map((error) => (error as Error).message), ["mine"]);
});

Deno.test("a turn is put off while others come, but not for ever", async () => {
  await withClock(async (clock) => {
    const told: string[] = [];
    const rest = (name: string) =>
      takeTurns({
        work: 0,
        onMicrotask() {},
        onTurn: () => void told.push(name),
      });
    // It is due already each time, and is set anew with the next.
    for (let i = 0; i < 4; i++) {
      if (i === 1) setTimeout(() => told.push("early"), 0);
      if (i === 2) setTimeout(() => told.push("late"), 0);
      rest(`${i}`);
      clock.block(60);
    }
    await clock.advance(10);
    assertEquals(
      told,
      areTimersShared
        ? ["early", "0", "1", "2", "3", "late"]
        : ["0", "early", "1", "late", "2", "3"],
    );
  });
});

Deno.test("a connection that waits for its turn is not finished with what was received", async () => {
  for (const way of ["forEach", "receive"]) {
    await withClock(async (clock) => {
      const { ws, peer } = open({ capacity: Infinity, segment: () => 20_000 });
      let handled = 0;
      const handle = (): void => {
        handled++;
        clock.block(WORK);
      };
      const receiving = (async () => {
        if (way === "forEach") await ws.forEach(handle);
        else while (await ws.receive() !== undefined) handle();
      })().catch(() => {});
      const sending = peer.send(...Array(COUNT).fill(binary(pattern(16_384))));
      await quiet();
      const before = handled;
      let isFinished = false;
      finished(ws).then(() => isFinished = true);
      await quiet();
      assertEquals([handled, isFinished], [before, false], way);
      for (let turns = 0; !isFinished; turns++) {
        assert(turns < COUNT * 4);
        await clock.advance(TURN);
      }
      ws.terminate();
      await receiving;
      await sending;
      await clock.advance(TURN);
    });
  }
});

Deno.test("a connection that rests does not rest again for what arrives meanwhile", async () => {
  await withClock(async (clock) => {
    const { ws, peer } = open({ capacity: Infinity });
    const data = pattern(16_384);
    for (let i = 0; i < 3; i++) {
      await peer.send(binary(data)); // from now on, so much is read at once
      assertEquals(await ws.receive(), data);
      await clock.advance(TURN);
    }
    // More than a turn's work, of others.
    for (let i = 0; i < 3; i++) {
      const begin = performance.now();
      clock.block(5);
      addWork(begin);
    }
    // One of those that ask has to wait for its turn now and then.
    for (let i = 0; i < 32; i++) {
      const aborting = new AbortController();
      const receiving = ws.receive({ signal: aborting.signal });
      aborting.abort();
      await receiving.catch(() => {});
    }
    await peer.send(binary(data));
    const receiving = ws.receive();
    await clock.advance(TURN);
    assertEquals(await receiving, data);
    ws.terminate();
    await clock.advance(TURN);
  });
});
