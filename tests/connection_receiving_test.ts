/** Receiving: iteration, receive(), forEach(), and read-ahead. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
} from "@std/assert";
import {
  ConnectionClosedError,
  type Message,
  type WebSocketConnection,
} from "../connection.ts";
import type { FrameInit, Role } from "../frame.ts";
import { addWork } from "../_turns.ts";
import { concat, pattern, utf8 } from "./_bytes.ts";
import {
  bounded,
  collect,
  ending,
  isPending,
  open,
  quiet,
  rejection,
  withClock,
} from "./_connection.ts";
import { anyCharacter, fc, property } from "./_property.ts";
import {
  binary,
  close,
  last,
  more,
  ping,
  pong,
  ROLES,
  text,
  wire,
} from "./_protocol.ts";

for (const role of ROLES) {
  Deno.test(
    `${role}: iteration yields text as strings and binary as bytes, and ends`,
    bounded(async () => {
      const { ws, peer } = open({ role });
      await peer.send(text("one"), binary("two"), text(""), binary(""));
      await peer.send(text("th", false), ping("between"), last("ree"));
      await peer.send(close(1000, "bye"));
      assertEquals(
        await collect(ws),
        ["one", utf8("two"), "", new Uint8Array(0), "three"],
      );
      await peer.expect({ opcode: 10, payload: utf8("between") }, close(1000));
      await peer.duplex.closeWrite!();
      assertEquals(ending(await ws.closed), {
        code: 1000,
        reason: "bye",
        wasClean: true,
      });
    }),
  );

  Deno.test(
    `${role}: what came with the handshake is received first`,
    bounded(async () => {
      const bytes = wire(role, text("early"), ping(), text("cut"));
      const { ws, peer } = open({ role, rest: bytes.slice(0, -2) });
      assertEquals(await ws.receive(), "early");
      await peer.expect(pong());
      await peer.send(bytes.slice(-2));
      assertEquals(await ws.receive(), "cut");
      ws.terminate();
    }),
  );
}

Deno.test(
  "the peer's goodbye that came with the handshake is answered",
  bounded(async () => {
    const rest = wire("server", text("hello"), close(1001));
    const { ws, peer } = open({ rest });
    assertEquals(await collect(ws), ["hello"]);
    await peer.expect(close(1001));
    await peer.expectEnd();
    await peer.duplex.closeWrite!();
    assertEquals((await ws.closed).code, 1001);
  }),
);

for (const code of [1000, 1001, undefined]) {
  Deno.test(
    `iteration ends normally when the peer closes with ${code ?? "no code"}`,
    bounded(async () => {
      const { ws, peer } = open();
      await peer.send(text("last"), close(code));
      assertEquals(await collect(ws), ["last"]);
      assertEquals(await ws.receive(), undefined);
      assertEquals(await ws.receiveStream(), undefined);
      await ws.forEach(() => {});
      peer.duplex.close();
      assertEquals((await ws.closed).code, code ?? 1005);
    }),
  );
}

for (const code of [1002, 1003, 1008, 1009, 1011, 1012, 3000, 4999]) {
  Deno.test(
    `iteration throws when the peer closes with ${code}, after its messages`,
    bounded(async () => {
      const { ws, peer } = open();
      await peer.send(text("last"), close(code, "why"));
      const messages: Message[] = [];
      const error = await rejection((async () => {
        for await (const message of ws) messages.push(message);
      })());
      assertEquals(messages, ["last"]);
      assertInstanceOf(error, ConnectionClosedError);
      assertEquals(
        [error.code, error.reason, error.wasClean, error.message],
        [code, "why", true, `The connection is closed (${code}: why)`],
      );
      await assertRejects(() => ws.receive(), ConnectionClosedError);
      await assertRejects(() => ws.receiveStream(), ConnectionClosedError);
      await assertRejects(() => ws.forEach(() => {}), ConnectionClosedError);
      peer.duplex.close();
      assertEquals(ending(await ws.closed), {
        code,
        reason: "why",
        wasClean: true,
      });
    }),
  );
}

Deno.test(
  "iteration throws 1006 when the stream ends without a Close frame",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("last"), text("half", false));
    peer.duplex.close();
    assertEquals(await ws.receive(), "last");
    const error = await rejection(ws.receive());
    assertInstanceOf(error, ConnectionClosedError);
    assertEquals([error.code, error.wasClean], [1006, false]);
    assertEquals(ending(await ws.closed), {
      code: 1006,
      reason: "",
      wasClean: false,
    });
  }),
);

Deno.test(
  "a fault of the peer's is thrown after the messages before it",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("good"), { opcode: 3 }, text("never"));
    assertEquals(await ws.receive(), "good");
    const error = await rejection(ws.receive());
    assertInstanceOf(error, ConnectionClosedError);
    assertEquals([error.code, error.wasClean], [1002, false]);
    const cause = error.cause as Error;
    assertEquals(cause.name, "ProtocolError");
    await peer.expect(close(1002, cause.message));
    await peer.expectEnd();
    peer.duplex.close();
    assertEquals((await ws.closed).error, cause);
  }),
);

Deno.test(
  "messages that wait when the stream breaks are still delivered",
  bounded(async () => {
    const { ws, peer, far } = open();
    await peer.send(text("one"), binary("two"));
    await quiet();
    far.reset(new Error("Connection reset by peer"));
    await quiet();
    assertEquals((await ws.closed).code, 1006);
    assertEquals(await ws.receive(), "one");
    assertEquals(await ws.receive(), utf8("two"));
    const error = await rejection(ws.receive());
    assertInstanceOf(error, ConnectionClosedError);
    assertEquals((error.cause as Error).message, "Connection reset by peer");
  }),
);

Deno.test(
  "messages that wait when this side terminates are still delivered",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("one"), text("two"));
    await quiet();
    ws.terminate();
    assertEquals(await ws.receive(), "one");
    assertEquals(await ws.receive(), "two");
    await assertRejects(() => ws.receive(), ConnectionClosedError, "1006");
  }),
);

// Several who receive

Deno.test(
  "calls of receive() are answered in their order",
  bounded(async () => {
    const { ws, peer } = open();
    const calls = [ws.receive(), ws.receive(), ws.receive(), ws.receive()];
    await quiet();
    await peer.send(text("1"), text("2"), text("3"));
    assertEquals(await Promise.all(calls.slice(0, 3)), ["1", "2", "3"]);
    assert(await isPending(calls[3]!));
    await peer.send(close(1000));
    assertEquals(await calls[3], undefined);
    ws.terminate();
  }),
);

Deno.test(
  "several iterations share the messages, and all end",
  bounded(async () => {
    const { ws, peer } = open();
    const seen: Message[] = [];
    const consume = async () => {
      for await (const message of ws) {
        seen.push(message);
        await quiet();
      }
    };
    const consumers = [consume(), consume(), consume()];
    for (let i = 0; i < 100; i++) await peer.send(text(`${i}`));
    await peer.send(close());
    await Promise.all(consumers);
    assertEquals(
      seen.toSorted((a, b) => Number(a) - Number(b)),
      Array.from({ length: 100 }, (_, i) => `${i}`),
    );
    ws.terminate();
  }),
);

Deno.test(
  "leaving an iteration loses nothing, and leaves the connection open",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("1"), text("2"), text("3"), text("4"), text("5"));
    for await (const message of ws) if (message === "2") break;
    assert(ws.isOpen);
    try {
      for await (const _ of ws) throw new Error("mine");
    } catch (error) {
      assertEquals((error as Error).message, "mine");
    }
    assertEquals(await ws.receive(), "4");
    await peer.send(close());
    assertEquals(await collect(ws), ["5"]);
    ws.terminate();
  }),
);

Deno.test(
  "an iterator that was left is done",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("1"));
    const iterator = ws[Symbol.asyncIterator]();
    assertEquals(iterator[Symbol.asyncIterator](), iterator);
    assertEquals(await iterator.next(), { value: "1", done: false });
    assertEquals(await iterator.return!(), { value: undefined, done: true });
    await peer.send(close());
    assertEquals(await iterator.next(), { value: undefined, done: true });
    assertEquals(await iterator.next(), { value: undefined, done: true });
    ws.terminate();
  }),
);

Deno.test(
  "an iterator that was left takes no message from others",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("1"), text("2"));
    const iterator = ws[Symbol.asyncIterator]();
    assertEquals(await iterator.next(), { value: "1", done: false });
    await iterator.return!();
    assertEquals(await iterator.next(), { value: undefined, done: true });
    assertEquals(await ws.receive(), "2");
    ws.terminate();
  }),
);

Deno.test(
  "an iterator that is asked while others wait is served after them",
  bounded(() =>
    withClock(async (clock) => {
      const { ws, peer } = open();
      const iterator = ws[Symbol.asyncIterator]();
      // Enough for the next read to be a large one.
      for (let i = 0; i < 5; i++) {
        await peer.send(binary(pattern(100_000)));
        await iterator.next();
      }
      const first = iterator.next();
      await quiet();
      // Others have worked for long: what arrives now waits for its turn.
      for (let i = 0; i < 3; i++) addWork(performance.now() - 5);
      await peer.send(text("1"), text("2"), binary(pattern(20_000)));
      await quiet();
      const second = iterator.next();
      await clock.advance(20);
      assertEquals([await first, await second].map(({ value }) => value), [
        "1",
        "2",
      ]);
      ws.terminate();
    })
  ),
);

// forEach

Deno.test(
  "forEach() tells text from binary, and waits for what its function returns",
  bounded(async () => {
    const { ws, peer } = open({ textAs: "bytes" });
    const seen: unknown[] = [];
    let running = 0;
    const done = ws.forEach(async (message, type) => {
      assertEquals(++running, 1);
      seen.push(type, message);
      await quiet();
      running--;
    });
    await peer.send(text("a"), binary("b"), text("c", false), last("d"));
    await peer.send(close());
    await done;
    assertEquals(
      seen,
      ["text", utf8("a"), "binary", utf8("b"), "text", utf8("cd")],
    );
    ws.terminate();
  }),
);

Deno.test(
  "forEach() passes on what its function throws, and can be called again",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("1"), text("2"), text("3"), text("4"));
    const seen: Message[] = [];
    await assertRejects(
      () =>
        ws.forEach((message) => {
          seen.push(message);
          throw new TypeError("sync");
        }),
      TypeError,
      "sync",
    );
    await assertRejects(
      () =>
        ws.forEach((message) => {
          seen.push(message);
          return Promise.reject(new TypeError("async"));
        }),
      TypeError,
      "async",
    );
    assertEquals(
      await rejection(ws.forEach(() => Promise.reject(undefined))),
      undefined,
    );
    assert(ws.isOpen);
    await peer.send(text("5"), close());
    await ws.forEach((message) => void seen.push(message));
    assertEquals(seen, ["1", "2", "4", "5"]);
    ws.terminate();
  }),
);

Deno.test(
  "nobody else receives while forEach() does",
  bounded(async () => {
    const { ws, peer } = open();
    const seen: Message[] = [];
    const done = ws.forEach((message) => void seen.push(message));
    const others = {
      receive: () => ws.receive(),
      receiveStream: () => ws.receiveStream(),
      forEach: () => ws.forEach(() => {}),
      iterate: () => ws[Symbol.asyncIterator]().next(),
      readable: () => ws.readable.getReader().read(),
    };
    for (const [name, call] of Object.entries(others)) {
      const error = await rejection(call()) as Error;
      assertEquals(error.name, "InvalidStateError", name);
    }
    await peer.send(text("mine"), close());
    await done;
    assertEquals(seen, ["mine"]);
    peer.duplex.close();
  }),
);

Deno.test(
  "forEach() uses the memory of a message again where it may, when it is done with it",
  bounded(async () => {
    for (const isLate of [false, true]) {
      for (const reuseMemory of [false, true]) {
        const { ws, peer } = open({ capacity: 1000 });
        const seen: Uint8Array[] = [];
        const buffers = new Set<ArrayBufferLike>();
        const done = ws.forEach((message) => {
          if (typeof message === "string") return;
          seen.push(message.slice());
          buffers.add(message.buffer);
          if (isLate) return quiet();
        }, { reuseMemory });
        const sent = Array.from(
          { length: 5 },
          (_, i) => pattern(60_000 + i).fill(i, 0, 100),
        );
        await peer.send(...sent.map((data) => binary(data)), close());
        await done;
        assertEquals(seen, sent);
        assertEquals(buffers.size < sent.length, reuseMemory);
        peer.duplex.close();
      }
    }
  }),
);

Deno.test(
  "forEach() waits for its function, and passes on its error, however the connection ends",
  bounded(async () => {
    const ways: Record<string, (ws: WebSocketConnection) => void> = {
      "terminate()": (ws) => ws.terminate(),
      "more than maxBufferedAmount": (ws) => {
        for (let i = 0; i < 3; i++) ws.send(new Uint8Array(1000));
      },
    };
    for (const end of Object.values(ways)) {
      for (const reuseMemory of [false, true]) {
        for (const isLate of [false, true]) {
          const { ws, near, peer } = open({
            highWaterMark: 10,
            maxBufferedAmount: 100,
          });
          near.stall();
          const gate = Promise.withResolvers<void>();
          let calls = 0;
          const act = async () => {
            calls++;
            end(ws);
            if (isLate) await gate.promise;
            throw new RangeError("boom");
          };
          const done = ws.forEach(act, { reuseMemory });
          done.catch(() => {});
          await peer.send(text("1"), text("2"));
          await ws.closed;
          assertEquals(await isPending(done), isLate);
          gate.resolve();
          await assertRejects(() => done, RangeError, "boom");
          assertEquals(calls, 1);
        }
        // At once, too; and without an error there is only the end.
        const { ws, peer } = open();
        const thrown = ws.forEach(() => {
          ws.terminate();
          throw new RangeError("boom");
        }, { reuseMemory });
        thrown.catch(() => {});
        await peer.send(text("1"));
        await assertRejects(() => thrown, RangeError, "boom");
        const other = open();
        const gate = Promise.withResolvers<void>();
        const ended = other.ws.forEach(() => {
          other.ws.terminate();
          return gate.promise;
        }, { reuseMemory });
        await other.peer.send(text("1"));
        await other.ws.closed;
        assert(await isPending(ended));
        gate.resolve();
        await assertRejects(() => ended, ConnectionClosedError);
      }
    }
  }),
);

// Read-ahead

Deno.test(
  "when forEach() is over, pings are still answered",
  bounded(async () => {
    const { ws, peer } = open({ maxReadAheadMessages: 1 });
    const gate = Promise.withResolvers<void>();
    const done = ws.forEach(() => gate.promise);
    await peer.send(text("1"), text("2"));
    await quiet();
    gate.reject(new TypeError("mine"));
    await assertRejects(() => done, TypeError);
    assertEquals(await ws.receive(), "2");
    await peer.send(ping("p"));
    await peer.expect(pong("p"));
    ws.terminate();
  }),
);

Deno.test(
  "pings are answered, and a Close frame seen, while nobody receives",
  bounded(async () => {
    const { ws, peer } = open();
    await peer.send(text("unread"), ping("a"));
    await peer.expect(pong("a"));
    await peer.send(binary("unread"), ping("b"), close(1000));
    await peer.expect(pong("b"), close(1000));
    await peer.expectEnd();
    peer.duplex.close();
    assertEquals((await ws.closed).code, 1000);
    assertEquals(await collect(ws), ["unread", utf8("unread")]);
  }),
);

/** Sends until the connection takes no more; returns how many bytes that took. */
async function sendUntilStopped(
  frame: FrameInit,
  options: Parameters<typeof open>[0],
): Promise<{ taken: number; opened: ReturnType<typeof open> }> {
  const opened = open({ capacity: 4096, ...options });
  const { near, far } = opened;
  const bytes = wire(options?.role ?? "server", frame);
  let rest = bytes;
  for (let i = 0; i < 100_000 && !far.isWriting; i++) {
    far.write(rest).then((length) => {
      rest = rest.subarray(length);
      if (rest.length === 0) rest = bytes;
    }, () => {});
    await quiet();
  }
  assert(far.isWriting, "it never stopped reading");
  assert(!near.isReading);
  return { taken: near.bytesRead, opened };
}

Deno.test(
  "a consumer that is busy stops the reading, by bytes",
  bounded(async () => {
    const { taken, opened: { ws } } = await sendUntilStopped(
      binary(new Uint8Array(1000)),
      { maxReadAhead: 20_000 },
    );
    assert(taken >= 20_000 && taken < 20_000 + 8192, `${taken} bytes`);
    ws.terminate();
  }),
);

Deno.test(
  "a consumer that is busy stops the reading, by messages",
  bounded(async () => {
    const { taken, opened: { ws } } = await sendUntilStopped(text("x"), {
      maxReadAheadMessages: 10,
      capacity: 256,
    });
    assert(taken >= 70 && taken < 70 + 1024, `${taken} bytes`);
    ws.terminate();
  }),
);

Deno.test(
  "nobody receiving stops the reading within an unfinished message",
  bounded(async () => {
    const { taken, opened: { ws } } = await sendUntilStopped(
      binary(new Uint8Array(1_000_000)),
      { maxReadAhead: 20_000 },
    );
    assert(taken >= 20_000 && taken < 20_000 + 8192, `${taken} bytes`);
    const message = ws.receive();
    assert(await isPending(message));
    ws.terminate();
    await rejection(message);
  }),
);

Deno.test(
  "unfinished messages of tiny fragments stop the reading as well",
  bounded(async () => {
    const opened = open({ maxReadAhead: 200, capacity: 128 });
    const { ws, peer, near, far } = opened;
    let sending = peer.send(text("x", false));
    let sent = 0;
    for (; sent < 10_000 && !far.isWriting; sent++) {
      await sending;
      sending = peer.send(more("x"));
      sending.catch(() => {});
      await quiet();
    }
    assert(far.isWriting, "it never stopped reading");
    assert(near.bytesRead < 1400 + 1024, `${near.bytesRead} bytes`);
    ws.terminate();
  }),
);

Deno.test(
  "reading goes on, and pings are answered, as soon as there is room again",
  bounded(async () => {
    const { ws, peer, near } = open({ maxReadAheadMessages: 4 });
    const numbers = Array.from({ length: 20 }, (_, i) => text(`${i}`));
    await peer.send(...numbers, ping("behind them"));
    await quiet();
    assert(!near.isReading);
    assertEquals(near.writes, []);
    for (let i = 0; i < 16; i++) assertEquals(await ws.receive(), `${i}`);
    await quiet();
    assertEquals(near.writes, []);
    assertEquals(await ws.receive(), "16");
    await peer.expect(pong("behind them"));
    assert(near.isReading);
    for (let i = 17; i < 20; i++) assertEquals(await ws.receive(), `${i}`);
    ws.terminate();
  }),
);

Deno.test(
  "a consumer that starts late, and waits long between messages, gets them all",
  bounded(async () => {
    const { ws, peer } = open({ maxReadAheadMessages: 3, capacity: 64 });
    const count = 200;
    const sending = (async () => {
      for (let i = 0; i < count; i++) await peer.send(text(`message ${i}`));
      await peer.send(close());
    })();
    await quiet();
    const seen: Message[] = [];
    for await (const message of ws) {
      seen.push(message);
      if (seen.length % 7 === 0) await quiet();
      else if (seen.length % 3 === 0) {
        for (let i = 0; i < seen.length; i++) await Promise.resolve();
      }
    }
    await sending;
    assertEquals(
      seen,
      Array.from({ length: count }, (_, i) => `message ${i}`),
    );
    ws.terminate();
  }),
);

// Memory

Deno.test(
  "a message that is kept is not written over by what follows",
  bounded(async () => {
    const { ws, peer } = open();
    const kept: Message[] = [];
    for (let i = 0; i < 300; i++) {
      const length = [1, 13, 130, 1300, 13_000, 70_000][i % 6]!;
      await Promise.all([
        peer.send(binary(pattern(length).fill(i, 0, 1)), ping(`${i}`)),
        ws.receive().then((message) => kept.push(message!)),
      ]);
      await peer.expect(pong(`${i}`));
    }
    kept.forEach((message, i) => {
      const length = [1, 13, 130, 1300, 13_000, 70_000][i % 6]!;
      assertEquals(message, pattern(length).fill(i, 0, 1), `message ${i}`);
    });
    ws.terminate();
  }),
);

Deno.test(
  "the rest of a large message is read to where it is delivered from",
  bounded(async () => {
    const { ws, peer, near } = open({ role: "client" });
    const data = pattern(600_000);
    const [message] = await Promise.all([
      ws.receive(),
      peer.send(binary(data)),
    ]);
    assertEquals(message, data);
    assert(near.reads[1]! > 500_000, `${near.reads}`);
    ws.terminate();
  }),
);

Deno.test(
  "large messages arrive whole however they are cut, and whoever waits",
  bounded(async () => {
    for (const role of ROLES) {
      for (const cutAt of [1, 2, 13, 1000, 65_000]) {
        const { ws, peer } = open({ role, segment: () => cutAt });
        const data = pattern(cutAt < 10 ? 3000 : 200_000);
        const third = data.length / 3 | 0;
        const sending = peer.send(
          binary(data.subarray(0, third), false),
          more(data.subarray(third, 2 * third)),
          ping(),
          last(data.subarray(2 * third)),
          text("behind"),
        );
        assertEquals(await ws.receive(), data);
        assertEquals(await ws.receive(), "behind");
        await sending;
        ws.terminate();
      }
    }
  }),
);

Deno.test(
  "a connection that falls quiet reads to little memory again",
  bounded(async () => {
    const { ws, peer, near } = open();
    for (let i = 0; i < 20; i++) {
      await Promise.all([peer.send(binary(pattern(60_000))), ws.receive()]);
    }
    for (let i = 0; i < 64; i++) {
      await Promise.all([peer.send(text("quiet")), ws.receive()]);
    }
    await quiet();
    assert(near.isReading);
    assert(near.reads.at(-1)! <= 1024, `${near.reads} bytes`);
    ws.terminate();
  }),
);

// Whatever is sent, however it is cut and taken

interface Step {
  frames: FrameInit[];
  message: Message;
}

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.string({ unit: anyCharacter, maxLength: 40 }).map((it) => ({
    frames: [text(it)],
    message: new TextDecoder("utf-8", { ignoreBOM: true }).decode(utf8(it)),
  })),
  fc.uint8Array({ maxLength: 400 }).map((it) => ({
    frames: [binary(it)],
    message: it as Uint8Array<ArrayBuffer>,
  })),
  fc.array(fc.uint8Array({ maxLength: 50 }), { minLength: 2, maxLength: 5 })
    .map((parts) => ({
      frames: parts.map((part, i): FrameInit =>
        i === 0
          ? binary(part, false)
          : i < parts.length - 1
          ? more(part)
          : last(part)
      ).flatMap((frame) => [frame, ping("p")]),
      message: concat(...parts),
    })),
);

property(
  "the messages that are sent are received, however bytes and consumers behave",
  [
    fc.constantFrom<Role>("server", "client"),
    fc.array(steps, { maxLength: 30 }),
    fc.array(fc.nat(300), { minLength: 1, maxLength: 10 }),
    fc.array(fc.nat(4), { minLength: 1, maxLength: 10 }),
    fc.integer({ min: 1, max: 8 }),
    fc.integer({ min: 1, max: 500 }),
  ],
  async (role, steps, cuts, ways, maxReadAheadMessages, maxReadAhead) => {
    let cutting = 0;
    const { ws, peer } = open({
      role,
      maxReadAhead,
      maxReadAheadMessages,
      capacity: 512,
      segment: () => 1 + cuts[cutting++ % cuts.length]!,
    });
    const frames = steps.flatMap((step) => step.frames);
    const sending = peer.send(...frames, close());
    const pongs = (async () => {
      while ((await peer.next())?.opcode === 0xa);
    })();
    const seen: Message[] = [];
    let left = steps.length;
    for (let at = 0; left > 0; at++, left--) {
      switch (ways[at % ways.length]) {
        case 0: {
          const aborting = new AbortController();
          const cancelled = ws.receive({ signal: aborting.signal });
          queueMicrotask(() => aborting.abort());
          try {
            seen.push((await cancelled)!);
          } catch (error) {
            assertEquals((error as Error).name, "AbortError");
            seen.push((await ws.receive())!);
          }
          break;
        }
        case 1:
          for await (const message of ws) {
            seen.push(message);
            break;
          }
          break;
        case 2: {
          const stop = new Error("Enough");
          await assertRejects(() =>
            ws.forEach((message) => {
              seen.push(message);
              throw stop;
            })
          );
          break;
        }
        case 3: {
          const stream = (await ws.receiveStream())!;
          const parts = await Array.fromAsync(stream.readable);
          seen.push(
            stream.type === "text"
              ? parts.join("")
              : concat(...parts as Uint8Array[]),
          );
          break;
        }
        default:
          await quiet();
          seen.push((await ws.receive())!);
      }
    }
    assertEquals(seen, steps.map(({ message }) => message));
    assertEquals(await ws.receive(), undefined);
    await sending;
    ws.terminate();
    await pongs;
  },
);
