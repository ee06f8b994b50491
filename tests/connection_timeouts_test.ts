/** Heartbeat, idle timeout, and that no timer outlives its connection. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConnectionClosedError } from "../connection.ts";
import { Deadline } from "../_deadline.ts";
import { areTimersShared } from "../_platform.ts";
import { pattern } from "./_bytes.ts";
import {
  bounded,
  type Clock,
  isPending,
  open,
  type Opened,
  quiet,
  rejection,
  uncaught,
  withClock,
} from "./_connection.ts";
import { flipping } from "./_fake_extensions.ts";
import { binary, close, ping, pong, ROLES, text } from "./_protocol.ts";

/** Answers pings until the end; returns how many there were. */
async function answerPings({ peer }: Opened): Promise<number> {
  let count = 0;
  for (let frame; (frame = await peer.next()) !== null;) {
    if (frame.opcode !== 9) continue;
    count++;
    await peer.send(pong(frame.payload));
  }
  return count;
}

function timed(
  name: string,
  test: (clock: Clock) => Promise<void>,
): void {
  Deno.test(name, bounded(() => withClock(test)));
}

// Heartbeat

for (const role of ROLES) {
  timed(
    `${role}: a peer that is silent is pinged, then terminated`,
    async (clock) => {
      const opened = open({
        role,
        heartbeatInterval: 10_000,
        heartbeatTimeout: 5000,
      });
      const { ws, peer, near } = opened;
      const message = ws.receive();
      const first = peer.next();
      assert(await isPending(first));
      await clock.advance(9_999);
      assert(await isPending(first));
      await clock.advance(13_000);
      assertEquals((await first)!.opcode, 9);
      assert(ws.isOpen);
      await clock.advance(5_500);
      assert(near.isClosed);
      const { code, wasClean, error } = await ws.closed;
      assertEquals([code, wasClean], [1006, false]);
      assert(error?.message.includes("silent"), error?.message);
      await assertRejects(() => message, ConnectionClosedError);
    },
  );
}

timed("a peer that answers pings stays for ever", async (clock) => {
  const opened = open({ heartbeatInterval: 10_000, heartbeatTimeout: 5000 });
  const { ws } = opened;
  const pings = answerPings(opened);
  for (let i = 0; i < 100; i++) await clock.advance(7000);
  assert(ws.isOpen);
  ws.terminate();
  const count = await pings;
  assert(count > 20 && count < 71, `${count} pings in 700 s`);
});

timed("a peer that speaks is not pinged", async (clock) => {
  const { ws, peer, near } = open({ heartbeatInterval: 10_000 });
  for (let i = 0; i < 100; i++) {
    await peer.send(i % 2 === 0 ? text("hello") : pong());
    await clock.advance(5000);
    await ws.receive({ signal: AbortSignal.abort() }).catch(() => {});
  }
  assertEquals(near.writes, []);
  assert(ws.isOpen);
  ws.terminate();
});

timed(
  "the default heartbeat ends a dead connection within two minutes",
  async (clock) => {
    const { ws, peer } = open({ heartbeatInterval: undefined as never });
    const first = peer.next();
    await clock.advance(120_000);
    assertEquals((await first)!.opcode, 9);
    assertEquals((await ws.closed).code, 1006);
  },
);

timed("a heartbeat of 0 is none", async (clock) => {
  const { ws, near } = open({ heartbeatInterval: 0 });
  await clock.advance(1e6);
  assertEquals([near.writes.length, clock.timers], [0, 0]);
  assert(ws.isOpen);
  ws.terminate();
});

timed(
  "a heartbeat whose timeout is 0 goes on asking, and never gives up",
  async (clock) => {
    const { ws, peer, near } = open({
      heartbeatInterval: 10_000,
      heartbeatTimeout: 0,
      capacity: 1e6,
    });
    await clock.advance(1e6);
    assert(ws.isOpen);
    const asked = near.writes.length;
    assert(asked > 10, `${asked} pings in 1000 s`);
    assertEquals((await peer.next())!.opcode, 9);
    await peer.send(pong());
    await clock.advance(9_000);
    assertEquals(near.writes.length, asked);
    ws.terminate();
  },
);

timed(
  "a heartbeat whose timeout is 0 piles up no pings for who reads nothing",
  async (clock) => {
    const { ws } = open({
      heartbeatInterval: 10_000,
      heartbeatTimeout: 0,
      capacity: 100,
    });
    ws.send(pattern(1000));
    await quiet();
    const before = ws.bufferedAmount;
    assert(before > 0);
    await clock.advance(1e6);
    assertEquals(ws.bufferedAmount, before);
    assert(ws.isOpen);
    ws.terminate();
  },
);

timed(
  "a closing handshake whose timeout is 0 may take for ever",
  async (clock) => {
    const { ws, peer } = open({ closeTimeout: 0 });
    const closed = ws.close();
    await clock.advance(1e9);
    assert(await isPending(closed));
    assertEquals(clock.timers, 0);
    await peer.send(close());
    peer.duplex.close();
    assertEquals((await closed).wasClean, true);
  },
);

Deno.test("sizes may be infinite", () => {
  const { ws } = open({
    maxMessageSize: Infinity,
    maxFragments: Infinity,
    maxReadAhead: Infinity,
    maxReadAheadMessages: Infinity,
    highWaterMark: Infinity,
    maxBufferedAmount: Infinity,
  });
  assert(ws.isOpen);
  ws.terminate();
});

timed(
  "a consumer that is slow does not cost the peer its connection",
  async (clock) => {
    const { ws, peer, near } = open({
      heartbeatInterval: 10_000,
      heartbeatTimeout: 5000,
      maxReadAheadMessages: 4,
    });
    await peer.send(...Array.from({ length: 10 }, (_, i) => text(`${i}`)));
    await quiet();
    assert(!near.isReading);
    await clock.advance(500_000);
    assert(ws.isOpen);
    for (let i = 0; i < 10; i++) assertEquals(await ws.receive(), `${i}`);
    // It is listened to again, and pinged.
    const next = peer.next();
    for (let i = 0; i < 25 && await isPending(next); i++) {
      await clock.advance(1000);
    }
    assertEquals((await next)!.opcode, 9);
    await peer.send(pong());
    await clock.advance(9_000);
    assert(ws.isOpen);
    ws.terminate();
  },
);

timed("a peer that reads slowly what is sent to it is alive", async (clock) => {
  const { ws, peer } = open({
    heartbeatInterval: 10_000,
    heartbeatTimeout: 5000,
    capacity: 1000,
  });
  const sending = ws.send(pattern(100_000));
  for (let i = 0; i < 99; i++) {
    await clock.advance(4000);
    assert(ws.isOpen, `cut off after ${i} s`);
    await peer.readSome();
  }
  await clock.advance(0);
  await peer.readSome();
  await sending;
  ws.terminate();
});

timed("a peer that neither reads nor speaks is not alive", async (clock) => {
  const { ws, near } = open({
    heartbeatInterval: 10_000,
    heartbeatTimeout: 5000,
  });
  near.stall();
  const sending = ws.send(pattern(1_000_000));
  await clock.advance(30_000);
  assertEquals((await ws.closed).code, 1006);
  await assertRejects(() => sending, ConnectionClosedError);
});

timed(
  "a program that was busy itself hears its peer before it judges",
  async (clock) => {
    const { ws, peer, far } = open({
      heartbeatInterval: 10_000,
      heartbeatTimeout: 5000,
    });
    const first = peer.next();
    await clock.advance(22_000);
    assertEquals((await first)!.opcode, 9);
    // The pong has arrived, but timers are served before it is read.
    far.stall();
    const sending = peer.send(pong());
    clock.block(60_000);
    setTimeout(() => far.resume(), 0);
    await clock.advance(100);
    await sending;
    assert(ws.isOpen);
    ws.terminate();
  },
);

timed("the heartbeat goes on while other pings are awaited", async (clock) => {
  const opened = open({ heartbeatInterval: 10_000, heartbeatTimeout: 5000 });
  const { ws } = opened;
  const pings = answerPings(opened);
  for (let i = 0; i < 30; i++) {
    const round = ws.ping();
    await clock.advance(7000);
    assert(await round < 100);
  }
  ws.terminate();
  assert(await pings >= 30);
});

timed("an extension is told when there is time to rest", async (clock) => {
  let count = 0;
  for (const idle of [undefined, () => void count++]) {
    const extension = flipping(idle === undefined ? {} : { idle });
    const opened = open({ heartbeatInterval: 10_000, extension });
    const pings = answerPings(opened);
    await clock.advance(100_000);
    assert(opened.ws.isOpen);
    opened.ws.terminate();
    assert(await pings > 0);
  }
  assert(count > 0);
});

timed("who throws when it is time keeps nobody else waiting", async (clock) => {
  const told: string[] = [];
  const others: Deadline[] = [];
  const tell = (name: string, act: () => void) => {
    const onDeadline = (): void => {
      told.push(name);
      act();
    };
    others.push(new Deadline(1000, { onDeadline }));
  };
  const errors = await uncaught(async () => {
    tell("one", () => {
      throw new Error("mine");
    });
    tell("two", () => others[2]!.cancel());
    tell("three", () => {});
    tell("four", () => {});
    await clock.advance(1100);
  });
  assertEquals(told, ["one", "two", "four"]);
  assertEquals(errors.map((error) => (error as Error).message), ["mine"]);
});

// Idle

timed(
  "a connection without messages is closed after idleTimeout",
  async (clock) => {
    const { ws, peer } = open({ idleTimeout: 60_000, closeTimeout: 30_000 });
    const first = peer.next();
    await clock.advance(59_000);
    assert(await isPending(first));
    await clock.advance(21_000);
    const frame = (await first)!;
    assertEquals(frame.opcode, 8);
    assertEquals(frame.payload.subarray(0, 2), new Uint8Array([3, 233]));
    await peer.send(close(1001));
    peer.duplex.close();
    assertEquals((await ws.closed).wasClean, true);
    assertEquals(await ws.receive(), undefined);
  },
);

timed("pings do not keep an idle connection open", async (clock) => {
  const { ws, peer } = open({ idleTimeout: 60_000, closeTimeout: 100 });
  for (let i = 0; i < 30 && ws.isOpen; i++) {
    await peer.send(ping("x"));
    await clock.advance(5000);
  }
  assert(!ws.isOpen);
  await clock.advance(200);
  assertEquals((await ws.closed).code, 1006);
});

for (const direction of ["received", "sent"]) {
  timed(`messages that are ${direction} keep it open`, async (clock) => {
    const { ws, peer } = open({ idleTimeout: 60_000 });
    for (let i = 0; i < 20; i++) {
      await clock.advance(50_000);
      assert(ws.isOpen);
      if (direction === "sent") await ws.send("x");
      else {
        await peer.send(text("x"));
        await ws.receive();
      }
    }
    ws.terminate();
  });
}

// Out of range

timed("times that are too long are as long as can be", async (clock) => {
  for (const time of [Infinity, 2 ** 31, 2 ** 40, Number.MAX_VALUE]) {
    const { ws, peer } = open({
      heartbeatInterval: time,
      heartbeatTimeout: time,
      idleTimeout: time,
      closeTimeout: time,
    });
    await clock.advance(1e9);
    assert(ws.isOpen);
    const closed = ws.close();
    await clock.advance(1e9);
    assert(await isPending(closed));
    await peer.send(close());
    peer.duplex.close();
    await closed;
  }
});

Deno.test("limits that make no sense are refused", () => {
  for (
    const name of [
      "highWaterMark",
      "maxBufferedAmount",
      "maxReadAhead",
      "maxReadAheadMessages",
      "heartbeatInterval",
      "heartbeatTimeout",
      "closeTimeout",
      "idleTimeout",
      "maxMessageSize",
      "maxFragments",
    ]
  ) {
    for (const wrong of [NaN, -1]) {
      let thrown: unknown;
      try {
        open({ [name]: wrong });
      } catch (error) {
        thrown = error;
      }
      assert(thrown instanceof RangeError, `${name}: ${wrong}`);
      assert(thrown.message.includes(name), thrown.message);
    }
  }
});

// Every end

for (
  const [name, end] of Object.entries<(opened: Opened) => unknown>({
    "the peer closes": ({ peer }) => peer.send(close()),
    "this side closes": ({ ws, peer }) => [ws.close(), peer.send(close())],
    "a fault": ({ peer }) => peer.send({ opcode: 3 }),
    "the stream ends": ({ far }) => far.closeWrite!(),
    "a reset": ({ far }) => far.reset(),
    "terminate()": ({ ws }) => ws.terminate(),
    "a failing source": ({ ws }) => ws.writable.abort(new Error("mine")),
  })
) {
  timed(`no timer is left after ${name}`, async (clock) => {
    const opened = open({ heartbeatInterval: 1000, idleTimeout: 1000 });
    const { ws, peer, far } = opened;
    ws.ping();
    assertEquals(clock.timers > 0, true);
    await end(opened);
    await quiet();
    if (!far.isClosed) far.close();
    await ws.closed;
    assertEquals(clock.timers, 0);
    void peer;
  });
}

timed(
  "a thousand connections share their timers, where they may",
  async (clock) => {
    // Two for each connection, where a timer belongs to one request.
    const atMost = (shared: number, own: number) => {
      const most = areTimersShared ? shared : own;
      assert(clock.timers <= most, `${clock.timers} timers`);
    };
    const all = Array.from(
      { length: 1000 },
      () => open({ heartbeatInterval: 30_000, idleTimeout: 60_000 }),
    );
    atMost(10, 2000);
    await clock.advance(10_000);
    const more = Array.from(
      { length: 1000 },
      () => open({ heartbeatInterval: 30_000, idleTimeout: 60_000 }),
    );
    atMost(20, 4000);
    for (const { peer } of all) await peer.send(binary("alive"));
    await clock.advance(20_000);
    for (const { ws } of [...all, ...more]) ws.terminate();
    assertEquals(clock.timers, 0);
  },
);

timed(
  "a peer that nobody listens to is asked all the same: the transport may know better",
  async (clock) => {
    const { ws, peer, near } = open({
      heartbeatInterval: 10_000,
      maxReadAheadMessages: 1,
      capacity: 1e6,
    });
    await peer.send(text("a"), text("b"), text("c"));
    await clock.advance(60_000);
    assert(ws.isOpen);
    const asked = near.writes.length;
    assert(asked >= 3 && asked <= 6, `${asked} pings in 60 s`);
    ws.terminate();
  },
);

timed("pings that nobody answers are not remembered for ever", async () => {
  const { ws } = open({ heartbeatInterval: 0, capacity: 1e6 });
  const pings = Array.from({ length: 1000 }, () => ws.ping());
  const error = await rejection(ws.ping()) as DOMException;
  assertEquals(error.name, "InvalidStateError");
  ws.terminate();
  for (const ping of pings) {
    assert(await rejection(ping) instanceof ConnectionClosedError);
  }
});
