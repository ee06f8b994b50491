/**
 * The closing handshake, begun by either side, and other ends of a connection.
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
} from "@std/assert";
import { ConnectionClosedError, type Message } from "../connection.ts";
import { finished } from "../_finished.ts";
import { pattern, utf8 } from "./_bytes.ts";
import {
  bounded,
  collect,
  ending,
  isPending,
  open,
  openBoth,
  quiet,
  rejection,
  withClock,
} from "./_connection.ts";
import { binary, close, last, more, ping, ROLES, text } from "./_protocol.ts";

// This side closes

for (const role of ROLES) {
  Deno.test(
    `${role}: close() sends Close, takes the answer, and closes in turn`,
    bounded(async () => {
      const { ws, near, peer } = open({ role });
      const closed = ws.close(3001, "done");
      assert(!ws.isOpen);
      await peer.expect(close(3001, "done"));
      assert(await isPending(closed));
      await peer.send(close(3001));
      await quiet();
      // §7.1.1: the server closes at once, the client when the server has
      assertEquals(near.isClosed, role === "server");
      if (role === "client") await peer.duplex.closeWrite!();
      const info = await closed;
      assertEquals(info, { code: 3001, reason: "", wasClean: true });
      assertEquals(await ws.closed, info);
      assertEquals(await ws.close(), info);
      assert(near.isClosed);
    }),
  );

  Deno.test(
    `${role}: the peer's Close is answered after what was sent before`,
    bounded(async () => {
      const { ws, near, peer } = open({ role });
      ws.send("before");
      await peer.send(close(4000, "mine"));
      await quiet();
      await assertRejects(() => ws.send("after"), ConnectionClosedError);
      await peer.expect(text("before"), close(4000));
      if (role === "server") await peer.expectEnd();
      await peer.duplex.closeWrite!();
      assertEquals(await ws.closed, {
        code: 4000,
        reason: "mine",
        wasClean: true,
      });
      assert(near.isClosed);
    }),
  );
}

Deno.test(
  "close() without a code says 1000, and checks what it is given",
  bounded(async () => {
    const { ws, peer } = open();
    for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 1.5]) {
      await assertRejects(() => ws.close(code), RangeError);
    }
    await assertRejects(() => ws.close(1000, "x".repeat(124)), RangeError);
    assert(ws.isOpen);
    ws.close();
    await peer.expect(close(1000));
    await peer.send(close());
    peer.duplex.close();
    assertEquals((await ws.closed).code, 1005);
  }),
);

Deno.test(
  "send() while this side is closing rejects, without a code or reason",
  bounded(async () => {
    const { ws, peer } = open();
    ws.close(4000, "mine");
    const error = await rejection(ws.send("late"));
    assertInstanceOf(error, ConnectionClosedError);
    assertEquals(error.message, "The connection is being closed by this side");
    assertEquals([error.code, error.reason, error.wasClean], [1006, "", false]);
    await peer.expect(close(4000, "mine"));
    await peer.send(close(4000));
    await quiet();
    const after = await rejection(ws.send("later"));
    assertEquals((after as Error).message, "The connection is closed (4000)");
    peer.duplex.close();
    await ws.closed;
  }),
);

Deno.test(
  "both sides close at once",
  bounded(async () => {
    const { server, client } = openBoth();
    const [here, there] = await Promise.all([
      server.close(3000, "server"),
      client.close(4000, "client"),
    ]);
    assertEquals(here, { code: 4000, reason: "client", wasClean: true });
    assertEquals(there, { code: 3000, reason: "server", wasClean: true });
    assertEquals(await collect(server), []);
    assertEquals(await collect(client), []);
  }),
);

Deno.test(
  "close() can be called again, from anywhere, to the same end",
  bounded(async () => {
    const { server, client } = openBoth();
    const calls = [server.close(3000), server.close(4000), client.close()];
    calls.push(server.closed, server.close(1001, "late"));
    await Promise.all(calls);
    assertEquals((await client.closed).code, 3000);
    server.terminate();
    assertEquals(await server.close(), await server.closed);
  }),
);

Deno.test(
  "messages that cross this side's Close are received, in order, to the end",
  bounded(async () => {
    const { ws, peer } = open();
    const messages = collect(ws);
    ws.close();
    await peer.send(text("1"), ping(), text("2", false), last("3"));
    await quiet();
    await peer.send(binary("4"), close(1000));
    assertEquals(await messages, ["1", "23", utf8("4")]);
    await peer.expect(close(1000));
    await peer.expectEnd();
    peer.duplex.close();
    assertEquals((await ws.closed).wasClean, true);
  }),
);

Deno.test(
  "a peer that sends much before its Close does not hold up close()",
  bounded(async () => {
    const { ws, peer } = open({ maxReadAheadMessages: 5 });
    const numbers = Array.from({ length: 1000 }, (_, i) => text(`${i}`));
    const sending = peer.send(...numbers, binary(pattern(300_000)), close());
    await quiet();
    const closed = ws.close();
    await sending;
    peer.duplex.close();
    assertEquals((await closed).wasClean, true);
    const kept = await collect(ws);
    assertEquals(kept, kept.map((_, i) => `${i}`));
    assert(kept.length >= 5, `${kept.length} messages`);
  }),
);

Deno.test(
  "what is dropped while closing is the end of what was sent, with no gap",
  bounded(async () => {
    const { ws, peer } = open({ maxReadAheadMessages: 5 });
    ws.close();
    const seen: Message[] = [];
    const receiving = (async () => {
      for await (const message of ws) {
        seen.push(message);
        // Slower than the peer, but it goes on receiving.
        for (let i = 0; i < 3; i++) await quiet();
      }
    })();
    for (let i = 0; i < 300; i++) {
      await peer.send(text(`${i}`));
      await quiet();
    }
    await peer.send(close());
    peer.duplex.close();
    await receiving;
    assert(seen.length >= 5 && seen.length < 300, `${seen.length} messages`);
    assertEquals(seen, seen.map((_, i) => `${i}`));
  }),
);

Deno.test(
  "forEach() gets all that comes while closing, however slow its function is",
  bounded(async () => {
    const { ws, peer } = open({ maxReadAheadMessages: 5 });
    const seen: Message[] = [];
    const receiving = ws.forEach(async (message) => {
      seen.push(message);
      await quiet();
    });
    ws.close();
    const all = Array.from({ length: 300 }, (_, i) => `${i}`);
    await peer.send(...all.map((message) => text(message)), close());
    await receiving;
    assertEquals(seen, all);
    peer.duplex.close();
  }),
);

Deno.test(
  "a part that was dropped while closing is no part of a whole message",
  bounded(async () => {
    const { ws, peer } = open({ maxReadAheadMessages: 3 });
    await peer.send(text("0", false));
    const stream = (await ws.receiveStream())!;
    ws.close();
    for (let i = 1; i < 100; i++) {
      await peer.send(more(`${i}`));
      await quiet();
    }
    await peer.send(last("end"), close());
    peer.duplex.close();
    const error = await rejection(Array.fromAsync(stream.readable));
    assertInstanceOf(error, ConnectionClosedError);
  }),
);

// Peers that do not behave

Deno.test(
  "a peer that never answers Close is cut off after closeTimeout",
  bounded(() =>
    withClock(async (clock) => {
      const { ws, near } = open({ closeTimeout: 3000 });
      const closed = ws.close();
      await clock.advance(2999);
      assert(await isPending(closed));
      await clock.advance(300);
      const { error, ...info } = await closed;
      assertEquals(info, { code: 1006, reason: "", wasClean: false });
      assert(error?.message.includes("3000 ms"));
      assert(near.isClosed);
      await assertRejects(() => ws.receive(), ConnectionClosedError);
    })
  ),
);

Deno.test(
  "a peer that sends for ever after this side's Close is cut off as well",
  bounded(() =>
    withClock(async (clock) => {
      const { ws, peer } = open({ closeTimeout: 3000 });
      const began = performance.now();
      const closed = ws.close();
      for (let i = 0; await isPending(closed) && i < 100; i++) {
        await peer.send(text("still here")).catch(() => {});
        await clock.advance(100);
      }
      assert(performance.now() - began < 3400);
      assertEquals((await closed).code, 1006);
    })
  ),
);

for (const role of ROLES) {
  Deno.test(
    `${role}: a peer that keeps the stream open, or sending, after Close is cut off`,
    bounded(() =>
      withClock(async (clock) => {
        const { ws, peer, near } = open({ role, closeTimeout: 3000 });
        await peer.send(close(1000), text("not looked at"), { opcode: 3 });
        for (let i = 0; i < 35; i++) {
          assert(near.isClosed || i < 33, "it goes on for ever");
          await peer.send(binary(pattern(10_000))).catch(() => {});
          await clock.advance(100);
        }
        assert(near.isClosed);
        assertEquals(await ws.closed, {
          code: 1000,
          reason: "",
          wasClean: true,
        });
        assertEquals(await collect(ws), []);
      })
    ),
  );
}

Deno.test(
  "a peer that does not read what it is owed cannot hold up the end",
  bounded(() =>
    withClock(async (clock) => {
      const { ws, peer, near } = open({ closeTimeout: 3000 });
      near.stall();
      const sending = ws.send(pattern(500_000));
      await peer.send(close());
      await clock.advance(3300);
      assertEquals((await ws.closed).code, 1005);
      await assertRejects(() => sending, ConnectionClosedError, "1005");
      assert(near.isClosed);
    })
  ),
);

Deno.test(
  "a peer that only half-closes gets what it is owed",
  bounded(async () => {
    const { ws, peer, near } = open({ capacity: 100 });
    const sending = ws.send(pattern(1000));
    await peer.duplex.closeWrite!();
    await quiet();
    assert(!ws.isOpen);
    await assertRejects(() => ws.receive(), ConnectionClosedError, "1006");
    await peer.expect(binary(pattern(1000)));
    await peer.expectEnd();
    await sending;
    assertEquals((await ws.closed).code, 1006);
    assert(near.isClosed);
  }),
);

Deno.test(
  "a peer that half-closes after its Close gets the answer",
  bounded(async () => {
    for (const role of ROLES) {
      const { ws, peer } = open({ role });
      await peer.send(text("last"), close(1000));
      await peer.duplex.closeWrite!();
      await quiet();
      assertEquals(await collect(ws), ["last"]);
      await peer.expect(close(1000));
      await peer.expectEnd();
      assertEquals((await ws.closed).wasClean, true);
    }
  }),
);

Deno.test(
  "a stream that cannot be half-closed is closed by the server, awaited by the client",
  bounded(async () => {
    for (const role of ROLES) {
      const { ws, peer, near } = open({ role, halfClose: false });
      await peer.send(close(1000));
      await quiet();
      assertEquals(near.isClosed, role === "server");
      if (role === "client") peer.duplex.close();
      assertEquals((await ws.closed).wasClean, true);
    }
  }),
);

Deno.test(
  "a reset after both Close frames changes nothing; before, it is the end",
  bounded(async () => {
    const after = open();
    await after.peer.send(close(1000));
    await quiet();
    after.far.reset();
    assertEquals(await after.ws.closed, {
      code: 1000,
      reason: "",
      wasClean: true,
    });

    const before = open();
    const closed = before.ws.close();
    await quiet();
    before.far.reset(new Error("Connection reset by peer"));
    const { error, ...info } = await closed;
    assertEquals(info, { code: 1006, reason: "", wasClean: false });
    assertEquals(error?.message, "Connection reset by peer");
  }),
);

Deno.test(
  "a fault of the peer's is told to it, and the stream ended",
  bounded(async () => {
    for (const role of ROLES) {
      const { ws, peer, near } = open({ role });
      await peer.send(text("good"), more("nothing to continue"));
      assertEquals(await ws.receive(), "good");
      const frame = (await peer.next())!;
      assertEquals(frame.opcode, 8);
      assertEquals(frame.payload.subarray(0, 2), new Uint8Array([3, 234]));
      await peer.expectEnd();
      assert(!near.isClosed, "what the peer has not read could be lost");
      peer.duplex.close();
      const { error, code, wasClean } = await ws.closed;
      assertEquals(
        [error?.name, code, wasClean],
        ["ProtocolError", 1002, false],
      );
      assert(near.isClosed);
    }
  }),
);

Deno.test(
  "a fault after this side's Close is not sent to the peer, but reported",
  bounded(async () => {
    const { ws, peer } = open();
    const closed = ws.close();
    await peer.send({ opcode: 3 });
    await peer.expect(close(1000));
    await peer.expectEnd();
    peer.duplex.close();
    assertEquals((await closed).error?.name, "ProtocolError");
    await assertRejects(() => ws.receive(), ConnectionClosedError);
  }),
);

// terminate(), disposal, and everything at once

Deno.test(
  "terminate() ends all that waits",
  bounded(async () => {
    const { ws, near } = open({ highWaterMark: 10 });
    near.stall();
    const waiting = [
      ws.receive(),
      ws.receive(),
      ws.send(pattern(100)),
      ws.send(pattern(200_000)),
      ws.ping(),
    ];
    const closed = ws.close();
    ws.terminate();
    ws.terminate();
    assert(near.isClosed);
    for (const promise of waiting) {
      const error = await rejection(promise);
      assertInstanceOf(error, ConnectionClosedError);
      assertEquals([error.code, error.wasClean], [1006, false]);
    }
    assertEquals(ending(await closed).code, 1006);
    assertEquals((await closed).error?.message.includes("this side"), true);
  }),
);

Deno.test(
  "`await using` closes with 1000, whatever happens in the block",
  bounded(async () => {
    const { server, client } = openBoth();
    const seen = collect(client);
    await assertRejects(
      async () => {
        await using ws = server;
        await ws.send("hello");
        throw new TypeError("mine");
      },
      TypeError,
      "mine",
    );
    assertEquals(await seen, ["hello"]);
    assertEquals((await server.closed).wasClean, true);
    assertEquals((await client.closed).code, 1000);
  }),
);

Deno.test(
  "a stream that fails to be half-closed is closed",
  bounded(async () => {
    const failure = new Error("Not connected");
    const ways = {
      "throws": () => {
        throw failure;
      },
      "rejects": () => Promise.reject(failure),
    };
    for (const [way, closeWrite] of Object.entries(ways)) {
      const { ws, near, peer } = open();
      near.closeWrite = closeWrite;
      await peer.send({ opcode: 3 });
      const { code } = await ws.closed;
      assertEquals([code, near.isClosed], [1002, true], way);
      assertEquals((await peer.next())!.opcode, 8);
      await peer.expectEnd();
    }
  }),
);

Deno.test(
  "a handler that is busy when the connection ends, or closes, is not waited for",
  bounded(async () => {
    for (const end of ["terminate", "close"] as const) {
      const { ws, peer } = open();
      ws.forEach(() => new Promise(() => {}));
      await peer.send(text("a"));
      await quiet();
      const done = finished(ws);
      assert(await isPending(done), end);
      ws[end]();
      await done;
      if (end === "terminate") await finished(ws);
      else await peer.send(close(1000));
      await ws.closed;
    }
  }),
);

Deno.test(
  "finished() waits for the joined beginning of a message as well",
  bounded(async () => {
    const { ws, peer } = open();
    const leaving = new AbortController();
    const left = ws.receiveStream({ signal: leaving.signal });
    // Half a character is no part yet.
    await peer.send({ ...text(utf8("\u00e9").subarray(0, 1)), fin: false });
    await quiet();
    leaving.abort();
    await rejection(left);
    await peer.send(more(utf8("\u00e9").subarray(1)));
    await quiet();
    const { readable } = (await ws.receiveStream())!;
    const reader = readable.getReader();
    assertEquals((await reader.read()).value, "\u00e9");
    const done = finished(ws);
    assert(await isPending(done));
    ws.terminate();
    await done;
  }),
);

Deno.test(
  "nothing is asked of a transport that is closed",
  bounded(async () => {
    const { ws, near, peer } = open();
    ws.terminate();
    ws.terminate();
    await ws.close();
    await quiet();
    const { length } = near.reads;
    await rejection(ws.send("late"));
    await rejection(ws.ping());
    await rejection(ws.receive());
    await quiet();
    assertEquals(near.reads.length, length);
    assertEquals(near.writes, []);
    await peer.expectEnd();
  }),
);

Deno.test(
  "a connection knows its role, its request and its peer's address",
  bounded(async () => {
    const request = { target: "/chat?room=1", headers: new Headers() };
    const { ws } = open({ role: "client", protocol: "chat", request });
    assertEquals(ws.role, "client");
    assertEquals(ws.protocol, "chat");
    assertEquals(ws.request, request);
    assertEquals(ws.extension, undefined);
    assertEquals(ws.remoteAddr, { transport: "memory" });
    ws.terminate();
    await ws.closed;
  }),
);

Deno.test("an error shows the peer's reason on one line, and has it unchanged", () => {
  for (
    const [reason, shown] of [
      ["Bye \u4f60\u597d \u{1f30d}", "Bye \u4f60\u597d \u{1f30d}"],
      ["a\r\nFAKE: line\u2028", "a\\x0d\\x0aFAKE: line\\u2028"],
      ["\u001b[2J\u202e\u{e0001}", "\\x1b[2J\\u202e\\udb40\\udc01"],
    ] as const
  ) {
    const info = { code: 4000, reason, wasClean: true };
    const error = new ConnectionClosedError(info);
    assertEquals(error.message, `The connection is closed (4000: ${shown})`);
    assertEquals(error.reason, reason);
  }
});
