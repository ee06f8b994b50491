/** Messages sent and received in parts, and connections as web streams. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
} from "@std/assert";
import {
  ConnectionClosedError,
  type Message,
  type StreamDuplex,
  WebSocketConnection,
} from "../connection.ts";
import { PreparedMessage } from "../prepared.ts";
import { duplexPair } from "./_duplex_pair.ts";
import { concat, inEachForm, noData, pattern, utf8 } from "./_bytes.ts";
import {
  bounded,
  collect,
  isPending,
  open,
  openBoth,
  quiet,
  rejection,
  withClock,
  withoutUnhandled,
} from "./_connection.ts";
import {
  binary,
  close,
  framesFrom,
  last,
  more,
  ping,
  pong,
  sent,
  text,
  wire,
} from "./_protocol.ts";

async function* parts<T>(...values: T[]): AsyncGenerator<T, void> {
  for (const value of values) {
    yield value;
    await Promise.resolve();
  }
}

/** A source that yields when the test says so. */
function source<T>() {
  const { readable, writable } = new TransformStream<T, T>(
    undefined,
    { highWaterMark: 100 },
    { highWaterMark: 100 },
  );
  const writer = writable.getWriter();
  writer.closed.catch(() => {});
  return { readable, writer };
}

// sendStream()

Deno.test(
  "sendStream() refuses a string, and what is not iterable",
  bounded(async () => {
    const { ws, peer } = open();
    const sources = [["string", "text"], ...noData()]
      .filter(([, source]) => !Array.isArray(source));
    for (const [what, wrong] of sources) {
      await assertRejects(
        () => ws.sendStream(wrong as Iterable<string>),
        TypeError,
        `A message in parts is an iterable of strings or bytes (${what})`,
      );
    }
    await ws.send("next");
    await peer.expect(text("next"));
    ws.terminate();
  }),
);

Deno.test(
  "sendStream() sends a message in fragments, text or binary by its parts",
  bounded(async () => {
    const { ws, peer } = open();
    await ws.sendStream(parts("a", "b"));
    await peer.expect(text("a", false), more("b"), last());
    await ws.sendStream([utf8("a"), new Uint8Array(0), utf8("b")]);
    await peer.expect(binary("a", false), more(""), more("b"), last());
    await ws.sendStream([utf8("a")], { type: "text" });
    await peer.expect(text("a", false), last());
    await ws.sendStream([]);
    await peer.expect(binary());
    await ws.sendStream([], { type: "text" });
    await peer.expect(text());
    await ws.sendStream(["half \ud83d", "\ude00 character"]);
    await peer.expect(text("half ", false), more("😀 character"), last());
    ws.terminate();
  }),
);

Deno.test(
  "other messages wait for the end of sendStream(), in order; pings do not",
  bounded(async () => {
    const { ws, peer } = open();
    const first = source<string>();
    const second = source<Uint8Array>();
    const sending = [
      ws.sendStream(first.readable),
      ws.send("behind the first"),
      ws.sendStream(second.readable),
      ws.send(new PreparedMessage("behind the second")),
      ws.send("last"),
    ];
    await first.writer.write("a");
    await peer.expect(text("a", false));
    await peer.send(ping("p"));
    await peer.expect(pong("p"));
    const round = ws.ping();
    const frame = (await peer.next())!;
    assertEquals(frame.opcode, 9);
    await peer.send(pong(frame.payload));
    await round;
    for (const promise of sending) assert(await isPending(promise));
    await first.writer.close();
    await peer.expect(last(), text("behind the first"));
    await second.writer.write(utf8("b"));
    await peer.expect(binary("b", false));
    await second.writer.close();
    await peer.expect(last(), text("behind the second"), text("last"));
    await Promise.all(sending);
    ws.terminate();
  }),
);

Deno.test(
  "whoever sends while others wait for their turn waits behind them",
  bounded(async () => {
    // That many microtasks after the first, one of which ends its turn.
    for (let delay = 0; delay < 40; delay++) {
      const { ws, peer } = open();
      ws.sendStream(["1"]);
      ws.sendStream(["2"]);
      ws.send("3");
      for (let i = 0; i < delay; i++) await Promise.resolve();
      ws.sendStream(["4"]);
      await ws.send("5");
      for (const name of ["1", "2", "3", "4", "5"]) {
        const frame = (await peer.next())!;
        assertEquals(frame.payload, utf8(name), `after ${delay} microtasks`);
        if (!frame.fin) await peer.expect(last());
      }
      ws.terminate();
    }
  }),
);

Deno.test(
  "sendStream() asks its source for more at the pace of the peer",
  bounded(async () => {
    const { ws, near, peer } = open({ highWaterMark: 1000 });
    near.stall();
    let asked = 0;
    const sending = ws.sendStream((function* () {
      for (; asked < 100; asked++) yield new Uint8Array(100);
    })());
    assert(await isPending(sending));
    assert(asked < 12, `asked ${asked} times`);
    near.resume();
    const done = (async () => {
      while (!(await peer.next())!.fin);
    })();
    await sending;
    await done;
    assertEquals(asked, 100);
    ws.terminate();
  }),
);

Deno.test(
  "a source that fails before its first part harms nobody",
  bounded(async () => {
    const { ws, peer } = open();
    const failing = new ReadableStream<string>({
      pull: () => Promise.reject(new TypeError("mine")),
    });
    const behind = [ws.sendStream(failing), ws.send("behind")];
    await assertRejects(() => behind[0]!, TypeError, "mine");
    await behind[1];
    await peer.expect(text("behind"));
    await assertRejects(
      () => ws.sendStream([1 as never]),
      TypeError,
    );
    assert(ws.isOpen);
    await ws.send("still open");
    await peer.expect(text("still open"));
    ws.terminate();
  }),
);

Deno.test(
  "a source that fails after its first part fails the connection with 1011",
  bounded(async () => {
    const { ws, peer } = open();
    const failing = (async function* () {
      yield "a";
      await Promise.resolve();
      throw new TypeError("mine");
    })();
    const behind = [ws.sendStream(failing), ws.send("behind")];
    await assertRejects(() => behind[0]!, TypeError, "mine");
    await assertRejects(() => behind[1]!, ConnectionClosedError);
    await peer.expect(text("a", false));
    const frame = (await peer.next())!;
    assertEquals(frame.opcode, 8);
    assertEquals(frame.payload.subarray(0, 2), new Uint8Array([3, 243]));
    peer.duplex.close();
    const { code, wasClean, error } = await ws.closed;
    assertEquals([code, wasClean], [1011, false]);
    assertEquals((error?.cause as Error).message, "mine");
  }),
);

Deno.test(
  "parts that are bytes are bytes, whatever form they are given in",
  bounded(async () => {
    const { ws, peer } = open();
    for (const length of [16, 160_000]) {
      const expected = pattern(length);
      for (const [name, bytes] of inEachForm(expected)) {
        const sent = ws.sendStream([bytes]);
        assertEquals((await peer.next())!.payload, expected, name);
        await peer.expect(last());
        await sent;
      }
    }
    ws.terminate();
  }),
);

Deno.test(
  "a part that is neither text nor bytes is the caller's mistake",
  bounded(async () => {
    const { ws, peer } = open();
    for (const [name, wrong] of noData()) {
      await assertRejects(
        () => ws.sendStream([wrong as string]),
        TypeError,
        `A part of a message is a string, an ArrayBuffer or a view on one (${name})`,
      );
    }
    await ws.send("next");
    await peer.expect(text("next"));
    ws.terminate();
  }),
);

Deno.test(
  "a part of another type than the first is the caller's mistake",
  bounded(async () => {
    const { ws, peer } = open();
    await assertRejects(
      () => ws.sendStream(parts<string | Uint8Array>(utf8("a"), "b")),
      TypeError,
    );
    await peer.expect(binary("a", false));
    assertEquals((await peer.next())!.opcode, 8);
    ws.terminate();
  }),
);

Deno.test(
  "parts of either type make a message of the type that is said",
  bounded(async () => {
    for (const type of ["text", "binary"] as const) {
      const { ws, peer } = open();
      const make = type === "text" ? text : binary;
      await ws.sendStream(parts<string | Uint8Array>(utf8("a"), "b"), { type });
      await peer.expect(make("a", false), more("b"), last(""));
      await ws.sendStream([], { type });
      await peer.expect(make(""));
      ws.terminate();
    }
  }),
);

Deno.test(
  "sendStream() leaves its source properly, whatever ends it",
  bounded(async () => {
    for (const end of ["signal", "close", "terminate", "peer"]) {
      const { ws, peer } = open();
      const aborting = new AbortController();
      let wasLeft = false;
      const { promise: never } = Promise.withResolvers<void>();
      const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
      const endless = {
        [Symbol.asyncIterator]: () => ({
          count: 0,
          async next() {
            if (this.count++ > 0) {
              begin();
              await never;
            }
            return { value: "part", done: false };
          },
          return() {
            wasLeft = true;
            return Promise.resolve({ value: undefined, done: true as const });
          },
        }),
      };
      const sending = ws.sendStream(endless, { signal: aborting.signal });
      const behind = ws.send("behind");
      await begun;
      await peer.expect(text("part", false));
      if (end === "signal") aborting.abort();
      else if (end === "terminate") ws.terminate();
      else if (end === "peer") await peer.send(close(1001));
      else {
        ws.close(1001);
        await peer.send(close(1001));
      }
      const error = await rejection(sending) as Error;
      assertEquals(
        error.name,
        end === "signal" ? "AbortError" : "ConnectionClosedError",
      );
      assert(wasLeft, end);
      await assertRejects(() => behind, ConnectionClosedError);
      if (!ws.isOpen && end === "signal") {
        assertEquals((await peer.next())!.opcode, 8);
      }
      ws.terminate();
    }
  }),
);

Deno.test(
  "a source whose return() throws is left all the same",
  bounded(async () => {
    const { ws, peer } = open();
    const source: Iterable<string> = {
      [Symbol.iterator]: () => ({
        next: () => ({ value: "part", done: false }),
        return: () => {
          throw new Error("It cannot be left");
        },
      }),
    };
    const aborting = new AbortController();
    const sending = ws.sendStream(source, { signal: aborting.signal });
    await peer.expect(text("part", false));
    const mine = new Error("mine");
    aborting.abort(mine);
    assertEquals(await rejection(sending), mine);
    ws.terminate();
  }),
);

Deno.test(
  "who is cancelled before its turn does not wait for it",
  bounded(async () => {
    const { ws, peer } = open();
    const first = Promise.withResolvers<void>();
    const sending = ws.sendStream((async function* () {
      yield "a";
      await first.promise;
      yield "b";
    })());
    await peer.expect(text("a", false));
    const mine = new Error("mine");
    const signal = AbortSignal.abort(mine);
    assertEquals(await rejection(ws.send("c", { signal })), mine);
    assertEquals(await rejection(ws.sendStream(["c"], { signal })), mine);
    const behind = ws.send("behind");
    first.resolve();
    await Promise.all([sending, behind]);
    await peer.expect(more("b"), last(""), text("behind"));
    ws.terminate();
  }),
);

Deno.test(
  "sendStream() that is cancelled before its first part leaves the connection open",
  bounded(async () => {
    const { ws, peer } = open();
    const waiting = source<string>();
    const aborting = new AbortController();
    const sending = ws.sendStream(waiting.readable, {
      signal: aborting.signal,
    });
    const cancelled = ws.sendStream(["never"], { signal: aborting.signal });
    const behind = ws.send("behind");
    await quiet();
    aborting.abort();
    await assertRejects(() => sending, DOMException);
    await assertRejects(() => cancelled, DOMException);
    await behind;
    await peer.expect(text("behind"));
    assert(ws.isOpen);
    ws.terminate();
  }),
);

Deno.test(
  "sendStream() on a closed connection asks its source for nothing",
  bounded(async () => {
    const { ws } = open();
    ws.terminate();
    let asked = false;
    const error = await rejection(ws.sendStream((function* () {
      asked = true;
      yield "a";
    })()));
    assertInstanceOf(error, ConnectionClosedError);
    assert(!asked);
  }),
);

// receiveStream()

Deno.test(
  "receiveStream() yields a message's parts as they arrive",
  bounded(async () => {
    const { ws, peer } = open();
    const receiving = ws.receiveStream();
    await peer.send(text("one ", false));
    const stream = (await receiving)!;
    assertEquals(stream.type, "text");
    const reader = stream.readable.getReader();
    assertEquals(await reader.read(), { value: "one ", done: false });
    const waiting = reader.read();
    assert(await isPending(waiting));
    await peer.send(ping(), more("tw"));
    assertEquals(await waiting, { value: "tw", done: false });
    await peer.send(last("o"), text("next"));
    assertEquals(await reader.read(), { value: "o", done: false });
    assert((await reader.read()).done);
    assertEquals(await ws.receive(), "next");
    ws.terminate();
  }),
);

Deno.test(
  "receiveStream() and receive() may take turns, whole messages or in parts",
  bounded(async () => {
    const { ws, peer } = open();
    const sending = (async () => {
      for (let i = 0; i < 20; i++) {
        await peer.send(binary(`${i} a`, false), more("b"), last("c"));
        await peer.send(binary(`${i} whole`));
        await quiet();
      }
    })();
    for (let i = 0; i < 20; i++) {
      const stream = (await ws.receiveStream())!;
      assertEquals(stream.type, "binary");
      const seen = await Array.fromAsync(stream.readable);
      assertEquals(concat(...seen as Uint8Array[]), utf8(`${i} abc`));
      if (i % 2 === 0) {
        assertEquals(await ws.receive(), utf8(`${i} whole`));
      } else {
        const whole = (await ws.receiveStream())!;
        assertEquals(
          await Array.fromAsync(whole.readable),
          [utf8(`${i} whole`)],
        );
      }
    }
    await sending;
    ws.terminate();
  }),
);

Deno.test(
  "nothing else can be received within a message that is received in parts",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("a", false));
    const stream = (await ws.receiveStream())!;
    const iterator = ws[Symbol.asyncIterator]();
    for (
      const receive of [
        () => ws.receive(),
        () => ws.receiveStream(),
        () => ws.forEach(() => {}),
        () => iterator.next(),
      ]
    ) {
      const error = await rejection(receive());
      assertEquals((error as Error).name, "InvalidStateError");
    }
    await peer.send(last("b"), text("next"));
    assertEquals((await Array.fromAsync(stream.readable)).join(""), "ab");
    assertEquals(await ws.receive(), "next");
    ws.terminate();
  }),
);

Deno.test(
  "receiveStream() and receive() do not share a message between them",
  bounded(async () => {
    for (const order of ["receive first", "stream first", "two streams"]) {
      const { ws, peer } = open();
      const calls = order === "receive first"
        ? [ws.receive(), ws.receiveStream()]
        : order === "stream first"
        ? [ws.receiveStream(), ws.receive()]
        : [ws.receiveStream(), ws.receiveStream()];
      const refused = rejection(calls[1]!) as Promise<Error>;
      await quiet();
      await peer.send(text("a", false));
      await quiet();
      await peer.send(more("b"));
      await quiet();
      await peer.send(last("c"));
      const first = await calls[0];
      assertEquals(
        typeof first === "object" && "readable" in first
          ? (await Array.fromAsync(first.readable)).join("")
          : first,
        "abc",
      );
      assertEquals((await refused).name, "InvalidStateError", order);
      ws.terminate();
    }
  }),
);

Deno.test(
  "leaving a message in parts skips its rest, and nothing else",
  bounded(async () => {
    for (const way of ["break", "cancel", "cancel while reading", "at once"]) {
      for (const cut of [0, 1, 2, 3]) {
        const { ws, peer } = open();
        const frames = [text("a", false), more("b"), more("c"), last("d")];
        const sendRest = async () => {
          for (const frame of frames.slice(cut)) {
            await peer.send(frame);
            await quiet();
          }
          await peer.send(text("next"), text("after"));
        };
        const receiving = ws.receiveStream();
        await peer.send(...frames.slice(0, cut));
        const sending = cut === 0 ? sendRest() : undefined;
        const { readable } = (await receiving)!;
        const leaving = (async () => {
          if (way === "break") {
            for await (const _ of readable) break;
          } else if (way === "cancel") {
            const reader = readable.getReader();
            await reader.read();
            await reader.cancel();
          } else if (way === "cancel while reading") {
            const reader = readable.getReader();
            await reader.read();
            const reading = reader.read();
            await quiet();
            await Promise.all([reader.cancel(), reading]);
          } else await readable.cancel();
        })();
        await (sending ?? sendRest());
        await leaving;
        assertEquals(await ws.receive(), "next", `${way}, cut at ${cut}`);
        assertEquals(await ws.receive(), "after");
        ws.terminate();
      }
    }
  }),
);

Deno.test(
  "a message can be left while its next part is awaited, come or not",
  bounded(() =>
    withoutUnhandled(async () => {
      for (const comes of [true, false]) {
        const { ws, peer } = open();
        await peer.send(text("a", false));
        const reader = (await ws.receiveStream())!.readable.getReader();
        assertEquals(await reader.read(), { value: "a", done: false });
        const reading = reader.read();
        await quiet();
        const leaving = reader.cancel();
        assert((await reading).done);
        assert(await isPending(leaving));
        if (comes) {
          await peer.send(more("b"), last("c"), text("next"));
          await leaving;
          assertEquals(await ws.receive(), "next");
        } else {
          peer.duplex.close();
          await leaving;
          assertEquals((await ws.closed).code, 1006);
        }
        ws.terminate();
      }
    })
  ),
);

Deno.test(
  "the rest of a message that was left is skipped when it is large, too",
  bounded(async () => {
    const { ws, peer } = open({ maxReadAhead: 1000, maxMessageSize: 1e9 });
    const sending = (async () => {
      await peer.send(binary(pattern(100_000), false));
      for (let i = 0; i < 20; i++) await peer.send(more(pattern(100_000)));
      await peer.send(last(), text("next"));
    })();
    const { readable } = (await ws.receiveStream())!;
    for await (const _ of readable) break;
    assertEquals(await ws.receive(), "next");
    await sending;
    ws.terminate();
  }),
);

Deno.test(
  "a message in parts is read at the pace of its reader, in constant memory",
  bounded(async () => {
    const { ws, peer, near } = open({ maxReadAhead: 10_000, capacity: 4096 });
    const size = 2_000_000;
    const sending = peer.send(binary(pattern(size)));
    const { readable } = (await ws.receiveStream())!;
    const reader = readable.getReader();
    await quiet();
    let length = 0;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      length += value.length;
      assert(near.bytesRead - length < 30_000, "it reads far ahead");
      assert(value.length <= 65536, `a part of ${value.length} bytes`);
      if (length % 16 === 0) await quiet();
    }
    assertEquals(length, size);
    await sending;
    ws.terminate();
  }),
);

Deno.test(
  "a message in parts fails with the connection, after the parts there are",
  bounded(async () => {
    for (const end of ["end", "reset", "fault", "close", "terminate"]) {
      const { ws, peer, far } = open();
      await peer.send(text("a", false));
      const { readable } = (await ws.receiveStream())!;
      await peer.send(more("b"));
      await quiet();
      if (end === "end") peer.duplex.close();
      else if (end === "reset") far.reset();
      else if (end === "fault") await peer.send({ opcode: 3 });
      else if (end === "close") await peer.send(close(1000));
      else ws.terminate();
      await quiet();
      const seen: Message[] = [];
      const error = await rejection((async () => {
        for await (const part of readable) seen.push(part);
      })());
      assertInstanceOf(error, ConnectionClosedError, end);
      assertEquals(seen.join(""), "ab", end);
      ws.terminate();
      await rejection(ws.receive().then(() => Promise.reject()));
    }
  }),
);

Deno.test(
  "cancelling receiveStream() loses nothing",
  bounded(async () => {
    const { ws, peer } = open();
    for (let i = 0; i < 20; i++) {
      const aborting = new AbortController();
      const cancelled = ws.receiveStream({ signal: aborting.signal });
      if (i % 2 === 0) await quiet();
      aborting.abort();
      if (i % 3 === 0) {
        await peer.send(text("a", false));
        assertEquals((await rejection(cancelled) as Error).name, "AbortError");
        await peer.send(last("b"));
      } else {
        await peer.send(text("ab"));
        assertEquals((await rejection(cancelled) as Error).name, "AbortError");
      }
      assertEquals(await ws.receive(), "ab");
    }
    ws.terminate();
  }),
);

Deno.test(
  "after a cancelled receiveStream(), a message is received whole or in parts",
  bounded(async () => {
    for (const kind of [text, binary]) {
      for (const arrived of [1, 2, 4, 6, 7, 8, 9, 30]) {
        for (const then of ["receive", "iterate", "forEach", "stream"]) {
          const { ws, peer } = open();
          const message = "é".repeat(300);
          const bytes = wire("server", kind(message), text("next"));
          const aborting = new AbortController();
          const { signal } = aborting;
          const cancelled = ws.receiveStream({ signal });
          await quiet();
          await peer.send(bytes.subarray(0, arrived));
          await quiet();
          aborting.abort();
          const stream = await cancelled.catch(() => undefined);
          await quiet();
          await peer.send(bytes.subarray(arrived, 100));
          await quiet();
          const seen: Message[] = [];
          const receiving = (async () => {
            if (stream !== undefined) {
              seen.push(await joined(stream.readable));
            } else if (then === "receive") {
              seen.push((await ws.receive())!);
            } else if (then === "stream") {
              seen.push(await joined((await ws.receiveStream())!.readable));
            } else if (then === "iterate") {
              for await (const it of ws) {
                seen.push(it);
                break;
              }
            } else {
              await assertRejects(() =>
                ws.forEach((it) => {
                  seen.push(it);
                  throw new Error("Enough");
                })
              );
            }
          })();
          await peer.send(bytes.subarray(100));
          await receiving;
          const told = `${then}, cut at ${arrived}`;
          assertEquals(
            seen,
            [kind === text ? message : utf8(message)],
            told,
          );
          assertEquals(await ws.receive(), "next", told);
          ws.terminate();
        }
      }
    }
  }),
);

async function joined(readable: ReadableStream<Message>): Promise<Message> {
  const parts = await Array.fromAsync(readable);
  return typeof parts[0] === "string"
    ? parts.join("")
    : concat(...parts as Uint8Array[]);
}

// On web streams

/** Two pairs of web streams that buffer chunks. */
function holdingPair(): [StreamDuplex, StreamDuplex] {
  const [up, down] = Array.from(
    { length: 2 },
    () =>
      new TransformStream<Uint8Array, Uint8Array>(undefined, undefined, {
        highWaterMark: 16,
      }),
  ) as [TransformStream, TransformStream];
  return [
    { readable: up.readable, writable: down.writable },
    { readable: down.readable, writable: up.writable },
  ];
}

Deno.test(
  "what a stream holds when the connection ends still arrives",
  bounded(async () => {
    for (const isHalfClosed of [false, true]) {
      const [near, far] = holdingPair();
      const ws = new WebSocketConnection(near, {
        role: "server",
        heartbeatInterval: 0,
      });
      ws.send("last");
      await quiet();
      // The peer says goodbye, and reads only later.
      const writer = far.writable.getWriter();
      writer.write(wire("server", close(1000)));
      if (isHalfClosed) writer.close();
      assertEquals((await ws.closed).code, 1000);
      await quiet();
      const reader = far.readable.getReader();
      const parts: Uint8Array<ArrayBuffer>[] = [];
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        parts.push(value as Uint8Array<ArrayBuffer>);
      }
      assertEquals(
        framesFrom("server", concat(...parts)),
        [text("last"), close(1000)].map(sent),
      );
    }
  }),
);

Deno.test(
  "a stream that is being written, or does not end, is cut off",
  bounded(() =>
    withClock(async (clock) => {
      for (const isWritten of [true, false]) {
        const { readable } = new TransformStream<Uint8Array, Uint8Array>();
        const never = Promise.withResolvers<void>();
        let aborted: unknown;
        let closed = 0;
        const writable = new WritableStream<Uint8Array>({
          write: () => isWritten ? never.promise : undefined,
          close: () => never.promise,
          abort: (reason) => {
            aborted = reason;
          },
        });
        const close = () => {
          closed++;
        };
        const ws = new WebSocketConnection({ readable, writable, close }, {
          role: "server",
          heartbeatInterval: 0,
        });
        ws.send("to nobody");
        await quiet();
        ws.terminate();
        await quiet();
        assertEquals(closed, isWritten ? 1 : 0);
        await clock.advance(1100);
        never.resolve();
        await quiet();
        assertEquals(closed, 1);
        assertEquals(aborted instanceof Error, isWritten);
      }
    })
  ),
);

Deno.test(
  "a stream that does not close as it should is closed all the same",
  bounded(async () => {
    const ways: Record<string, () => unknown> = {
      "not at all": () => {},
      "throws": () => {
        throw new Error("no");
      },
      "rejects": () => Promise.reject(new Error("no")),
    };
    for (const [way, close] of Object.entries(ways)) {
      await withoutUnhandled(async () => {
        let cancelled: unknown;
        const readable = new ReadableStream<Uint8Array>({
          cancel: (reason) => {
            cancelled = reason;
          },
        });
        const writable = new WritableStream<Uint8Array>({
          close: () => Promise.reject(new Error("no")),
        });
        const ws = new WebSocketConnection({ readable, writable, close }, {
          role: "server",
          heartbeatInterval: 0,
        });
        ws.terminate();
        assertEquals((await ws.closed).code, 1006, way);
        await quiet();
        assert(cancelled instanceof Error, way);
      });
    }
  }),
);

/** As Node's Buffer is: slice() is a view. */
class Viewing extends Uint8Array {
  override slice(start?: number, end?: number): Uint8Array<ArrayBuffer> {
    return this.subarray(start, end) as Uint8Array<ArrayBuffer>;
  }
}

Deno.test(
  "bytes whose slice() does not copy are copied, too",
  bounded(async () => {
    const parts: Uint8Array[] = [];
    const { readable } = new TransformStream<Uint8Array, Uint8Array>();
    const writable = new WritableStream<Uint8Array>({
      write: (part) => void parts.push(part),
    });
    const ws = new WebSocketConnection({ readable, writable }, {
      role: "server",
      heartbeatInterval: 0,
    });
    const data = new Viewing(200_000).fill(1);
    await ws.send(data); // it may change now
    data.fill(2);
    const written = concat(...parts);
    assertEquals(written.length, 10 + data.length);
    assert(written.subarray(10).every((byte) => byte === 1));
    ws.terminate();

    const [near, far] = duplexPair();
    const buffer = new Viewing(utf8("abc"));
    await near.write(buffer);
    buffer.fill(0);
    const into = new Uint8Array(3);
    await far.read(into);
    assertEquals(into, utf8("abc"));
  }),
);

// readable and writable

Deno.test(
  "a connection is a pair of streams",
  bounded(async () => {
    const { server, client } = openBoth();
    const echoing = server.readable.pipeTo(server.writable);
    assertEquals(server.readable, server.readable);
    assertEquals(server.writable, server.writable);
    const writer = client.writable.getWriter();
    const reader = client.readable.getReader();
    for (let i = 0; i < 50; i++) {
      const message = i % 2 === 0 ? `${i}` : utf8(`${i}`);
      await writer.write(message);
      assertEquals(await reader.read(), { value: message, done: false });
    }
    await writer.close();
    assert((await reader.read()).done);
    await echoing;
    assertEquals((await server.closed).code, 1000);
  }),
);

Deno.test(
  "readable errors when the connection does not end as it should",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("a"), close(1011));
    const reader = ws.readable.getReader();
    assertEquals(await reader.read(), { value: "a", done: false });
    assertInstanceOf(await rejection(reader.read()), ConnectionClosedError);
    ws.terminate();
  }),
);

Deno.test(
  "readable asks for a message only when it is asked for one",
  bounded(async () => {
    const { ws, peer } = open();
    const { readable } = ws;
    await peer.send(text("a"), text("b"));
    await quiet();
    assertEquals(await ws.receive(), "a");
    assertEquals(await readable.getReader().read(), {
      value: "b",
      done: false,
    });
    ws.terminate();
  }),
);

Deno.test(
  "cancelling readable, or closing writable, closes with 1000",
  bounded(async () => {
    for (const way of ["cancel", "close"]) {
      const { server, client } = openBoth();
      if (way === "cancel") await server.readable.cancel();
      else await server.writable.close();
      assertEquals((await client.closed).code, 1000);
      assertEquals(await collect(client), []);
    }
  }),
);

Deno.test(
  "aborting writable fails the connection with 1011",
  bounded(async () => {
    const { server, client } = openBoth();
    await server.writable.abort(new Error("mine"));
    assertEquals((await client.closed).code, 1011);
    const { code, error } = await server.closed;
    assertEquals([code, (error?.cause as Error).message], [1011, "mine"]);
  }),
);

Deno.test(
  "aborting writable changes nothing once somebody is closing",
  bounded(async () => {
    const { ws, peer } = open();
    const closed = ws.close(1000);
    await ws.writable.abort(new Error("mine"));
    await peer.expect(close(1000));
    await peer.send(close(1000));
    assertEquals(await closed, { code: 1000, reason: "", wasClean: true });
    assertEquals(await ws.receive(), undefined);

    // The peer closes with an error, and a pipe that learns of it aborts.
    const other = open();
    await other.peer.send(close(4001, "Logged out"));
    const error = await rejection(
      other.ws.readable.pipeTo(other.ws.writable),
    );
    assertInstanceOf(error, ConnectionClosedError);
    await other.ws.closed;
    const again = await rejection(other.ws.receive());
    assertInstanceOf(again, ConnectionClosedError);
    assertEquals(again.code, 4001);
  }),
);

Deno.test(
  "writable waits for a peer that does not read",
  bounded(async () => {
    const { ws, near, peer } = open({ highWaterMark: 100 });
    near.stall();
    const writer = ws.writable.getWriter();
    const writes: Promise<void>[] = [];
    for (let i = 0; i < 5; i++) writes.push(writer.write(pattern(98)));
    assert(await isPending(writes[1]!));
    assert(writer.desiredSize! < 0);
    near.resume();
    for (let i = 0; i < 5; i++) await peer.expect(binary(pattern(98)));
    await Promise.all(writes);
    ws.terminate();
    const error = await rejection(writer.write("late"));
    assertInstanceOf(error, ConnectionClosedError);
    await rejection(writer.closed);
  }),
);
