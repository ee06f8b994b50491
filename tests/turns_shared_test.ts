/** Turns where connections share a timer: which rest, and which go first. */
import { assert, assertEquals } from "@std/assert";
import { pattern } from "./_bytes.ts";
import { open, quiet, withClock } from "./_connection.ts";
import { COUNT, flood, TURN, WORK } from "./_flood.ts";
import { binary } from "./_protocol.ts";
import { takeTurns, type TurnTaker } from "../_turns.ts";

Deno.test("connections do not rest while the event loop serves others anyway", async () => {
  await withClock(async (clock) => {
    const { ws, peer } = open({ capacity: Infinity });
    let handled = 0;
    ws.forEach(() => {
      handled++;
      clock.block(WORK);
    }).catch(() => {});
    const message = binary(pattern(16_384));
    // Work that other tests have left.
    await peer.send(message);
    await clock.advance(TURN);
    for (let expected = 4; expected < COUNT; expected += 3) {
      await peer.send(message);
      await quiet();
      // The timer that watches the loop comes through.
      await clock.advance(1);
      // More than a turn's work, but not since that timer.
      for (let i = 0; i < 2; i++) {
        await peer.send(message);
        await quiet();
      }
      assertEquals(handled, expected);
      await clock.advance(TURN);
    }
    ws.terminate();
    await clock.advance(TURN);
  });
});

Deno.test("a connection with little work does not wait for all busy ones", async () => {
  await withClock(async (clock) => {
    const floods = Array.from({ length: 50 }, () => flood(clock));
    // Each has worked for a turn.
    for (let turns = 0; floods.some(({ handled }) => handled < 2); turns++) {
      assert(turns < 2000);
      await clock.advance(3);
    }
    const { ws, peer } = open({ capacity: Infinity });
    const seen: unknown[] = [];
    ws.forEach((message) => void seen.push(message));
    // So much that it might be work.
    await peer.send(binary(pattern(16_384)));
    await quiet();
    const before = floods.reduce((sum, { handled }) => sum + handled, 0);
    while (seen.length === 0) await clock.advance(3);
    const after = floods.reduce((sum, { handled }) => sum + handled, 0);
    assert(after - before < 10, `${after - before} others first`);
    for (const it of [ws, ...floods.map(({ ws }) => ws)]) it.terminate();
    await clock.advance(TURN);
  });
});

Deno.test("a connection that worked for hours does not wait until newcomers have, too", async () => {
  await withClock(async (clock) => {
    let turns = 0;
    let isOver = false;
    const rest = (taker: TurnTaker) => takeTurns(taker);
    for (let left = 8; left > 0; left--) {
      rest({
        work: 0,
        onMicrotask() {},
        onTurn() {
          turns++;
          this.work += 10;
          if (!isOver) rest(this);
        },
      });
    }
    rest({ work: 1e7, onMicrotask() {}, onTurn: () => isOver = true });
    while (!isOver) {
      assert(turns < 100, "others first");
      await clock.advance(3);
    }
    await clock.advance(100);
  });
});
