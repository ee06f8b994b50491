/** Sending: when what is written, and backpressure. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { ConnectionClosedError, WebSocketConnection } from "../connection.ts";
import { PreparedMessage } from "../prepared.ts";
import { concat, inEachForm, noData, pattern, utf8 } from "./_bytes.ts";
import { bounded, isPending, open, quiet, rejection } from "./_connection.ts";
import { binary, close, ping, pong, ROLES, text } from "./_protocol.ts";

for (const role of ROLES) {
  Deno.test(
    `${role}: strings go out as text, bytes as binary, or as is said`,
    bounded(async () => {
      const { ws, peer } = open({ role });
      await ws.send("text");
      await ws.send(utf8("binary"));
      await ws.send(utf8("text as bytes"), { type: "text" });
      await ws.send("binary ✓", { type: "binary" });
      await ws.send("", { type: "text" });
      await ws.send(new Uint8Array(0), { type: "binary" });
      await ws.send(new PreparedMessage("prepared"));
      await ws.send(new PreparedMessage(utf8("prepared")));
      await peer.expect(
        text("text"),
        binary("binary"),
        text("text as bytes"),
        binary("binary ✓"),
        text(""),
        binary(""),
        text("prepared"),
        binary("prepared"),
      );
      ws.terminate();
    }),
  );

  Deno.test(
    `${role}: messages of every boundary length arrive as they were`,
    bounded(async () => {
      const { ws, peer } = open({ role });
      const lengths = [0, 1, 124, 125, 126, 127, 128, 1023, 1024, 65534];
      lengths.push(65535, 65536, 65537, 131071, 131072, 131073, 300_000);
      for (const length of lengths) {
        const data = pattern(length);
        const copy = data.slice();
        const string = "é".repeat(length >> 1) + "x".repeat(length & 1);
        await Promise.all([ws.send(data), peer.expect(binary(copy))]);
        await Promise.all([ws.send(string), peer.expect(text(string))]);
        assertEquals(data, copy, "the caller's bytes were changed");
      }
      ws.terminate();
    }),
  );
}

for (const role of ROLES) {
  Deno.test(
    `${role}: bytes are bytes, whatever form they are given in`,
    bounded(async () => {
      const { ws, peer } = open({ role });
      // The longer ones are not copied where they need not be masked.
      for (const length of [0, 16, 160_000]) {
        const expected = pattern(length);
        for (const [name, bytes] of inEachForm(expected)) {
          const sent = ws.send(bytes);
          assertEquals((await peer.next())!.payload, expected, name);
          await sent;
        }
      }
      for (const [, bytes] of inEachForm(utf8("16 bytes of text"))) {
        await ws.send(bytes, { type: "text" });
        await peer.expect(text("16 bytes of text"));
      }
      ws.terminate();
    }),
  );
}

Deno.test(
  "a message of another type is refused, and nothing is sent",
  bounded(async () => {
    const { ws, near } = open();
    for (const [name, wrong] of noData()) {
      await assertRejects(
        () => ws.send(wrong as never),
        TypeError,
        `A message is a string, a PreparedMessage, an ArrayBuffer or a view on one (${name})`,
      );
    }
    await quiet();
    assertEquals(near.writes, []);
    assert(ws.isOpen);
    ws.terminate();
  }),
);

// Few writes

Deno.test(
  "what is sent in one go is written in one go",
  bounded(async () => {
    const { ws, near, peer } = open();
    for (let i = 0; i < 100; i++) ws.send(`message ${i}`);
    ws.ping();
    await quiet();
    assertEquals(near.writes.length, 1);
    for (let i = 0; i < 100; i++) await peer.expect(text(`message ${i}`));
    ws.terminate();
  }),
);

for (
  const [name, echo] of [
    ["forEach()", (ws) => ws.forEach((message) => ws.send(message))],
    ["for await", async (ws) => {
      for await (const message of ws) await ws.send(message);
    }],
    ["receive()", async (ws) => {
      for (let it; (it = await ws.receive()) !== undefined;) await ws.send(it);
    }],
  ] satisfies [string, (ws: ReturnType<typeof open>["ws"]) => Promise<void>][]
) {
  Deno.test(
    `${name}: all answers to one read go out in one write`,
    bounded(async () => {
      const { ws, near, peer } = open();
      const echoing = echo(ws);
      for (let round = 1; round <= 5; round++) {
        const frames = Array.from({ length: 60 }, (_, i) => text(`${i}`));
        await peer.send(...frames, ping("p"));
        await quiet();
        assertEquals(
          near.writes.length,
          round === 1 ? near.writes.length : round,
        );
        // The first read is small.
        if (round === 1) near.writes.length = 1;
        await peer.expect(...frames, pong("p"));
      }
      await peer.send(close());
      await echoing;
      ws.terminate();
    }),
  );
}

// A slow peer

Deno.test(
  "send() waits for a peer that does not read, and goes on when it does",
  bounded(async () => {
    const { ws, far, near, peer } = open({
      highWaterMark: 1000,
      capacity: 500,
    });
    near.stall();
    assertEquals(ws.bufferedAmount, 0);
    let sent = 0;
    let waiting = ws.send(pattern(98));
    while (!(await isPending(waiting))) {
      sent++;
      assertEquals(ws.bufferedAmount, sent * 100);
      waiting = ws.send(pattern(98));
    }
    assertEquals(sent, 10);
    assertEquals(ws.bufferedAmount, 1100);
    near.resume();
    await waiting;
    assert(ws.bufferedAmount <= 1000, `${ws.bufferedAmount}`);
    assertEquals(far.unread, 500);
    for (let i = 0; i <= sent; i++) await peer.expect(binary(pattern(98)));
    await quiet();
    assertEquals(ws.bufferedAmount, 0);
    ws.terminate();
  }),
);

Deno.test(
  "an echo stops reading from a peer that does not read",
  bounded(async () => {
    const { ws, near, far } = open({
      highWaterMark: 1000,
      maxReadAhead: 1000,
      capacity: 500,
    });
    const echoing = ws.forEach((message) => ws.send(message));
    const bytes = new Uint8Array(106);
    bytes.set([0x82, 0x80 | 100]);
    for (let i = 0; i < 1000 && !far.isWriting; i++) {
      const send = async () => {
        let rest = bytes;
        while (rest.length > 0) rest = rest.subarray(await far.write(rest));
      };
      send().catch(() => {});
      await quiet();
    }
    assert(far.isWriting && near.isWriting && !near.isReading);
    assert(near.bytesRead < 6000, `${near.bytesRead} bytes`);
    ws.terminate();
    await rejection(echoing);
  }),
);

Deno.test(
  "bytes may change once send() has resolved, and not before",
  bounded(async () => {
    for (const highWaterMark of [1000, 131072, 1_000_000]) {
      for (const length of [1, 200, 131071, 131072, 131073, 200_000]) {
        const { ws, near, peer } = open({ highWaterMark, capacity: 70_000 });
        near.stall();
        const sent: Uint8Array[] = [];
        const changed: Promise<void>[] = [];
        for (let i = 0; i < 4; i++) {
          const data = pattern(length).fill(i, 0, 1);
          sent.push(data.slice());
          changed.push(ws.send(data).then(() => void data.fill(0xff)));
        }
        await quiet();
        near.resume();
        for (const data of sent) await peer.expect(binary(data));
        await Promise.all(changed);
        ws.terminate();
      }
    }
  }),
);

Deno.test(
  "a peer that does not read, to a program that does not wait, is cut off",
  bounded(async () => {
    for (const length of [98, 200_000]) {
      const { ws, near } = open({
        highWaterMark: length * 10,
        maxBufferedAmount: length * 100,
      });
      near.stall();
      let sent = 0;
      for (; ws.isOpen && sent < 1000; sent++) ws.send(new Uint8Array(length));
      assert(sent >= 99 && sent <= 101, `after ${sent} messages`);
      assert(near.isClosed);
      assertEquals((await ws.closed).code, 1006);
    }
    const { ws, near } = open({ highWaterMark: 1, maxBufferedAmount: 100 });
    near.stall();
    ws.send("a");
    ws.send(pattern(120));
    const { code, wasClean, error } = await ws.closed;
    assertEquals([code, wasClean], [1006, false]);
    assert(error?.message.includes("does not read"), error?.message);
    const refused = await rejection(ws.send("more"));
    assertInstanceOf(refused, ConnectionClosedError);
    assertEquals(refused.cause, error);
  }),
);

Deno.test(
  "one message may be larger than maxBufferedAmount: nobody failed to wait",
  bounded(async () => {
    const { ws, peer } = open({ highWaterMark: 100, maxBufferedAmount: 1000 });
    const data = pattern(50_000);
    await Promise.all([ws.send(data), peer.expect(binary(data))]);
    const string = "x".repeat(50_000);
    await Promise.all([ws.send(string), peer.expect(text(string))]);
    assert(ws.isOpen);
    ws.terminate();
  }),
);

Deno.test(
  "bufferedAmount is nothing once the connection has ended",
  bounded(async () => {
    const { ws, near } = open();
    near.stall();
    const sending = ws.send(pattern(500_000));
    await quiet();
    assert(ws.bufferedAmount > 500_000);
    ws.terminate();
    await assertRejects(() => sending, ConnectionClosedError);
    assertEquals(ws.bufferedAmount, 0);
  }),
);

// Writes that fail, or are partial

Deno.test(
  "after a write that takes a part of the bytes, the rest is written",
  bounded(async () => {
    const { ws, near, peer } = open({ capacity: 7 });
    const messages = Array.from({ length: 20 }, (_, i) => pattern(i * 3));
    const sending = Promise.all(messages.map((message) => ws.send(message)));
    for (const message of messages) await peer.expect(binary(message));
    await sending;
    assert(near.writes.every((length) => length <= 7));
    ws.terminate();
  }),
);

Deno.test(
  "when a write fails, senders are told, and what has arrived is delivered",
  bounded(async () => {
    const { ws, near, peer } = open({ highWaterMark: 100, closeTimeout: 20 });
    await peer.send(text("one"), text("two"));
    await quiet();
    near.stall();
    const sending = ws.send(pattern(1000));
    await quiet();
    const failure = new Error("Broken pipe");
    near.failWrites(failure);
    const error = await rejection(sending);
    assertInstanceOf(error, ConnectionClosedError);
    assertEquals(error.cause, failure);
    assertEquals(await ws.receive(), "one");
    assertEquals(await ws.receive(), "two");
    await assertRejects(() => ws.receive(), ConnectionClosedError);
    assertEquals((await ws.closed).error, failure);
  }),
);

Deno.test(
  "when a write fails, senders are told, however long the end may take",
  bounded(async () => {
    for (const length of [1000, 200_000]) { // copied, and referred to
      const { ws, near } = open({ highWaterMark: 100, closeTimeout: 0 });
      near.stall();
      const sending = ws.send(pattern(length));
      await quiet();
      const failure = new Error("Broken pipe");
      near.failWrites(failure);
      const error = await rejection(sending);
      assertInstanceOf(error, ConnectionClosedError);
      assertEquals([error.code, error.cause], [1006, failure]);
      ws.terminate();
    }
  }),
);

Deno.test(
  "when a write fails, a Close frame that has arrived still says why",
  bounded(async () => {
    const { ws, near, peer } = open();
    near.failWrites(new Error("Broken pipe"));
    ws.send("to nobody");
    await quiet();
    await peer.send(text("last words"), close(1008, "Too many connections"));
    await quiet();
    assertEquals(await ws.receive(), "last words");
    const { code, reason } = await ws.closed;
    assertEquals([code, reason], [1008, "Too many connections"]);
  }),
);

Deno.test(
  "a transport that throws, rather than rejects, is dealt with",
  bounded(async () => {
    const thrown = new Error("Not connected");
    const fail = (): never => {
      throw thrown;
    };
    for (const role of ROLES) {
      const ws = new WebSocketConnection(
        { read: fail, write: fail, close: fail, closeWrite: fail },
        { role, heartbeatInterval: 0 },
      );
      ws.send("a");
      const error = await rejection(ws.receive());
      assertInstanceOf(error, ConnectionClosedError);
      assertEquals(error.cause, thrown);
      assertEquals((await ws.closed).error, thrown);
    }
  }),
);

Deno.test(
  "a transport may throw what is no Error",
  bounded(async () => {
    const ws = new WebSocketConnection({
      read: () => Promise.reject("out of order"),
      write: (bytes) => Promise.resolve(bytes.length),
      close: () => {},
    }, { role: "server", heartbeatInterval: 0 });
    const { code, error } = await ws.closed;
    assertEquals([code, error?.message], [1006, "out of order"]);
  }),
);

Deno.test(
  "a send() with a signal rejects at the end, and leaves no listener",
  bounded(async () => {
    for (const message of ["x".repeat(100), new Uint8Array(100_000)]) {
      const { ws, near } = open({ highWaterMark: 10 });
      near.stall();
      const aborting = new AbortController();
      const { signal } = aborting;
      let listeners = 0;
      const { addEventListener, removeEventListener } = signal;
      Object.assign(signal, {
        addEventListener(...args: Parameters<typeof addEventListener>) {
          listeners++;
          addEventListener.apply(signal, args);
        },
        removeEventListener(...args: Parameters<typeof removeEventListener>) {
          listeners--;
          removeEventListener.apply(signal, args);
        },
      });
      const sending = ws.send(message, { signal });
      assert(await isPending(sending));
      assertEquals(listeners, 1);
      ws.terminate();
      assertInstanceOf(await rejection(sending), ConnectionClosedError);
      assertEquals(listeners, 0);
    }
  }),
);

// Ping

Deno.test(
  "ping() tells how long its pong took, in milliseconds",
  bounded(async () => {
    const { ws, peer } = open();
    const round = ws.ping();
    const frame = (await peer.next())!;
    assertEquals([frame.opcode, frame.payload.length], [9, 4]);
    await peer.send(pong("unasked"), pong(concat(frame.payload, utf8("x"))));
    assert(await isPending(round));
    await peer.send(pong(frame.payload));
    const time = await round;
    assert(time >= 0 && time < 5000, `${time} ms`);
    ws.terminate();
  }),
);

Deno.test(
  "one pong may answer several pings (RFC 6455 §5.5.3)",
  bounded(async () => {
    const { ws, peer } = open();
    const rounds = [ws.ping(), ws.ping(), ws.ping()];
    await peer.next();
    const second = (await peer.next())!;
    await peer.send(pong(second.payload));
    await Promise.all(rounds.slice(0, 2));
    assert(await isPending(rounds[2]!));
    await peer.send(pong((await peer.next())!.payload));
    await rounds[2];
    ws.terminate();
  }),
);

Deno.test(
  "ping() rejects when the connection ends before the pong, or has ended",
  bounded(async () => {
    const { ws, peer } = open();
    const ping = ws.ping();
    await peer.send(close(1001, "going"));
    const error = await rejection(ping);
    assertInstanceOf(error, ConnectionClosedError);
    assertEquals(error.code, 1001);
    await assertRejects(() => ws.ping(), ConnectionClosedError);
    ws.terminate();
  }),
);

Deno.test("sends that nobody awaits share one promise, however many", async () => {
  const { ws, peer } = open({ capacity: 16, highWaterMark: 1024 });
  ws.send(new Uint8Array(2048));
  const first = ws.send("a");
  for (let i = 0; i < 1000; i++) assertStrictEquals(ws.send("a"), first);
  assert(await isPending(first));
  await peer.expect(
    binary(new Uint8Array(2048)),
    ...Array(1001).fill(text("a")),
  );
  await first;
  ws.terminate();
});
