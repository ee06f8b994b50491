/** Cancelled calls, calls that nobody awaits, and errors from within. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
} from "@std/assert";
import { ConnectionClosedError, WebSocketConnection } from "../connection.ts";
import type { NegotiatedExtension } from "../extension.ts";
import { pattern } from "./_bytes.ts";
import {
  bounded,
  isPending,
  open,
  type Opened,
  Peer,
  quiet,
  rejection,
  withoutUnhandled,
} from "./_connection.ts";
import { duplexPair } from "./_duplex_pair.ts";
import { binary, close, last, ping, pong, text, wire } from "./_protocol.ts";

// Calls that nobody awaits

/** Calls everything without awaiting it. */
function callAll({ ws }: Opened, signal?: AbortSignal): void {
  ws.receive({ signal });
  ws.receive({ signal });
  ws[Symbol.asyncIterator]().next();
  ws.send("a");
  ws.send(new Uint8Array(1_000_000), { signal });
  ws.send(pattern(100_000), { signal });
  ws.send(1 as never);
  ws.sendStream(["a", new Uint8Array(200_000)], { signal });
  ws.send("behind", { signal });
  ws.ping({ signal });
  void ws.closed;
  void ws.readable;
  void ws.writable;
}

const ENDS: Record<string, (opened: Opened) => unknown> = {
  "the peer closes with 1000": ({ peer }) => peer.send(close(1000)),
  "the peer closes with 1011": ({ peer }) => peer.send(close(1011)),
  "the peer breaks the protocol": ({ peer }) => peer.send({ opcode: 3 }),
  "the stream ends": ({ far }) => far.close(),
  "the stream breaks": ({ far }) => far.reset(),
  "reads fail": ({ near }) => near.failReads(new Error("no")),
  "writes fail": ({ near }) => near.failWrites(new Error("no")),
  "terminate()": ({ ws }) => ws.terminate(),
  "close()": ({ ws }) => void ws.close(),
  "close() with nonsense": ({ ws }) => void ws.close(1),
  "dispose": ({ ws }) => void ws[Symbol.asyncDispose](),
  "writable.abort()": ({ ws }) => void ws.writable.abort(new Error("mine")),
  "readable.cancel()": ({ ws }) => void ws.readable.cancel(),
};

for (const [name, end] of Object.entries(ENDS)) {
  Deno.test(
    `nothing is an unhandled rejection when ${name}`,
    bounded(() =>
      withoutUnhandled(async () => {
        for (const isStalled of [false, true]) {
          for (const isCalledBefore of [true, false]) {
            const opened = open({ closeTimeout: 5 });
            if (isStalled) opened.near.stall();
            if (isCalledBefore) callAll(opened);
            await quiet();
            await end(opened);
            callAll(opened);
            await quiet();
            callAll(opened);
            opened.ws.receiveStream();
            opened.ws.forEach(() => {});
            opened.ws.terminate();
            callAll(opened);
            await opened.ws.closed;
          }
        }
      })
    ),
  );
}

Deno.test(
  "a forEach() that nobody awaits survives the end, but hides no error of its function",
  bounded(async () => {
    await withoutUnhandled(async () => {
      const { ws, far } = open();
      ws.forEach((message) => ws.send(message));
      await quiet();
      far.reset();
      await ws.closed;
    });
    const { ws, peer } = open();
    const failed = Promise.withResolvers<unknown>();
    const onUnhandled = (event: Event) => {
      event.preventDefault();
      failed.resolve((event as PromiseRejectionEvent).reason);
    };
    addEventListener("unhandledrejection", onUnhandled);
    ws.forEach(() => {
      throw new TypeError("mine");
    });
    await peer.send(text("a"));
    assertInstanceOf(await failed.promise, TypeError);
    removeEventListener("unhandledrejection", onUnhandled);
    ws.terminate();
  }),
);

// Cancelled calls

Deno.test(
  "a signal that is given before cancels every call, and harms nothing",
  bounded(async () => {
    const { ws, peer, near } = open();
    await peer.send(text("there"));
    await quiet();
    const mine = new Error("mine");
    const signal = AbortSignal.abort(mine);
    for (
      const call of [
        () => ws.receive({ signal }),
        () => ws.receiveStream({ signal }),
        () => ws.send("never", { signal }),
        () => ws.sendStream(["never"], { signal }),
        () => ws.ping({ signal }),
      ]
    ) assertEquals(await rejection(call()), mine);
    await quiet();
    assertEquals(near.writes, []);
    assertEquals(await ws.receive(), "there");
    await ws.send("open");
    await peer.expect(text("open"));
    ws.terminate();
  }),
);

Deno.test(
  "a cancelled receive() loses no message, whenever it is cancelled",
  bounded(async () => {
    const { ws, peer } = open();
    const seen: unknown[] = [];
    for (let delay = 0; delay < 40; delay++) {
      const aborting = new AbortController();
      const receiving = ws.receive({ signal: aborting.signal })
        .then((message) => void seen.push(message), (error) => {
          assertEquals(error.name, "AbortError");
        });
      const sending = peer.send(text(`${delay}`));
      for (let i = 0; i < delay; i++) await Promise.resolve();
      aborting.abort();
      await Promise.all([receiving, sending]);
    }
    while (seen.length < 40) seen.push(await ws.receive());
    assertEquals(seen, Array.from({ length: 40 }, (_, i) => `${i}`));
    ws.terminate();
  }),
);

Deno.test(
  "of several calls, the one that is cancelled leaves the line",
  bounded(async () => {
    const { ws, peer } = open();
    const aborting = new AbortController();
    const calls = [
      ws.receive(),
      ws.receive({ signal: aborting.signal }),
      ws.receive(),
    ];
    aborting.abort();
    await peer.send(text("1"), text("2"));
    assertEquals([await calls[0], await calls[2]], ["1", "2"]);
    assertEquals((await rejection(calls[1]!) as Error).name, "AbortError");
    ws.terminate();
  }),
);

Deno.test(
  "a cancelled send() stops the waiting; what is queued goes out",
  bounded(async () => {
    const { ws, near, peer } = open({ highWaterMark: 10 });
    near.stall();
    for (const length of [100, 200_000]) {
      const aborting = new AbortController();
      const sending = ws.send(pattern(length), { signal: aborting.signal });
      assert(await isPending(sending));
      aborting.abort();
      assertEquals((await rejection(sending) as Error).name, "AbortError");
    }
    assert(ws.isOpen);
    near.resume();
    await peer.expect(binary(pattern(100)), binary(pattern(200_000)));
    await ws.send("next");
    await peer.expect(text("next"));
    ws.terminate();
  }),
);

Deno.test(
  "a cancelled ping() leaves the others, and its pong answers none of them",
  bounded(async () => {
    const { ws, peer } = open();
    const aborting = new AbortController();
    const first = ws.ping({ signal: aborting.signal });
    const second = ws.ping();
    aborting.abort();
    assertEquals((await rejection(first) as Error).name, "AbortError");
    await peer.send(pong((await peer.next())!.payload));
    assert(await isPending(second));
    await peer.send(pong((await peer.next())!.payload));
    await second;
    ws.terminate();
  }),
);

// Errors from within

function failing(where: "encode" | "decode"): NegotiatedExtension {
  const fail = (): never => {
    throw new RangeError("Out of memory");
  };
  return {
    name: "failing",
    parameters: [],
    reservedBits: 4,
    wants: () => where === "encode",
    encode: fail,
    decode: fail,
  };
}

Deno.test(
  "what an extension throws while sending is the sender's",
  bounded(async () => {
    const { ws, peer } = open({ extension: failing("encode") });
    await assertRejects(() => ws.send("a"), RangeError, "Out of memory");
    await ws.send("b", { compress: false });
    await peer.expect(text("b"));
    ws.terminate();
  }),
);

Deno.test(
  "what an extension throws while receiving ends this connection, and no other",
  bounded(() =>
    withoutUnhandled(async () => {
      const good = open();
      const bad = ["waiting", "forEach", "nobody"].map((consumer) => {
        const opened = open({
          extension: failing("decode"),
          closeTimeout: 5,
        });
        const waiting = consumer === "waiting"
          ? opened.ws.receive()
          : consumer === "forEach"
          ? opened.ws.forEach(() => {})
          : undefined;
        return { ...opened, waiting };
      });
      const other = open();
      const sending = [
        good.peer.send(text("good")),
        ...bad.map(({ peer }) =>
          peer.send(text("before"), { ...text("bad"), reservedBits: 4 })
        ),
        other.peer.send(text("good")),
      ];
      await Promise.all(sending);
      await quiet();
      for (const { ws, waiting } of bad) {
        const { code, error } = await ws.closed;
        assertEquals(code, 1011);
        assertEquals((error?.cause as Error).message, "Out of memory");
        await waiting?.catch(() => {});
        await assertRejects(
          async () => {
            while (await ws.receive() !== undefined);
          },
          ConnectionClosedError,
        );
      }
      assertEquals(await good.ws.receive(), "good");
      assertEquals(await other.ws.receive(), "good");
      await good.peer.send(last("fault"));
      await rejection(good.ws.receive());
      good.ws.terminate();
      other.ws.terminate();
    })
  ),
);

Deno.test(
  "to transfer memory that holds further messages fails the connection",
  bounded(async () => {
    for (const next of [text("b"), binary(pattern(2000), false), ping("c")]) {
      for (const length of [1, 7, 100]) {
        const { ws, peer } = open();
        const first = wire("server", binary("a"));
        const bytes = wire("server", binary("a"), next, text("last"));
        const cut = first.length + length;
        await peer.send(bytes.slice(0, cut));
        const message = await ws.receive();
        assertInstanceOf(message, Uint8Array);
        structuredClone(message, { transfer: [message.buffer] });
        const receiving = ws.receive();
        await peer.send(bytes.slice(cut), text("behind"));
        const error = await rejection(receiving);
        assertInstanceOf(error, ConnectionClosedError);
        assertEquals(error.code, 1011);
        ws.terminate();
      }
    }
  }),
);

Deno.test(
  "to transfer memory that is read into, or written, ends this connection only",
  bounded(() =>
    withoutUnhandled(async () => {
      const [near, far] = duplexPair();
      const ws = new WebSocketConnection({
        // The system does not know that the memory is somebody else's now.
        read: async (into) => {
          const bytes = new Uint8Array(into.length);
          const length = await near.read(bytes);
          if (into.length > 0) into.set(bytes.subarray(0, length ?? 0));
          return length;
        },
        write: (bytes) => near.write(bytes),
        close: () => near.close(),
      }, { role: "server", heartbeatInterval: 0 });
      const peer = new Peer(far, "server");
      await peer.send(binary("a"));
      const message = await ws.receive();
      assertInstanceOf(message, Uint8Array);
      const next = ws.receive();
      await quiet();
      structuredClone(message, { transfer: [message.buffer] });
      await peer.send(binary("b"));
      assertInstanceOf(await rejection(next), ConnectionClosedError);
      const { code, error } = await ws.closed;
      assertEquals(code, 1006);
      assertInstanceOf(error, TypeError);
      assert(near.isClosed);

      const written = Promise.withResolvers<number>();
      let isClosed = false;
      const writing = new WebSocketConnection({
        read: () => new Promise(() => {}),
        write: (bytes) =>
          bytes.length < 100 ? Promise.resolve(bytes.length) : written.promise,
        close: () => {
          isClosed = true;
        },
      }, { role: "server", heartbeatInterval: 0 });
      const data = pattern(200_000);
      const sending = writing.send(data);
      await quiet();
      structuredClone(data, { transfer: [data.buffer] });
      written.resolve(1000);
      assertInstanceOf(await rejection(sending), ConnectionClosedError);
      assertInstanceOf((await writing.closed).error, TypeError);
      assert(isClosed);
    })
  ),
);

Deno.test(
  "an extension is told when it is not needed any more, once",
  bounded(async () => {
    let disposed = 0;
    const extension = { ...failing("decode"), dispose: () => disposed++ };
    const { ws, peer } = open({ extension });
    await peer.send(text("a"), close());
    await quiet();
    peer.duplex.close();
    await ws.closed;
    assertEquals(disposed, 1);
    ws.terminate();
    await ws.close();
    assertEquals(await ws.receive(), "a");
    await rejection(ws.send("late"));
    assertEquals(disposed, 1);
  }),
);
