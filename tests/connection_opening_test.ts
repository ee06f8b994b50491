/** accept() and connect() over a stream in memory. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { accept, readRequest } from "../accept.ts";
import { connect, type ConnectOptions } from "../connect.ts";
import type { Duplex } from "../connection.ts";
import { permessageDeflate } from "../deflate.ts";
import type { Extension } from "../extension.ts";
import {
  acceptKey,
  HandshakeError,
  isUpgrade,
  parseRequestHead,
  readUpgrade,
} from "../handshake.ts";
import { readHead as readHeadOf } from "../_opening.ts";
import { concat, utf8 } from "./_bytes.ts";
import {
  bounded,
  collect,
  isPending,
  Peer,
  quiet,
  rejection,
  withClock,
  withoutUnhandled,
} from "./_connection.ts";
import { duplexPair, type MemoryDuplex, toStreams } from "./_duplex_pair.ts";
import { flipping } from "./_fake_extensions.ts";
import { close, text, wire } from "./_protocol.ts";

const REQUEST = `GET /chat?room=1 HTTP/1.1
Host: example.com
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Version: 13
X-Mine: yes

`.replaceAll("\n", "\r\n");

async function write(duplex: MemoryDuplex, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) rest = rest.subarray(await duplex.write(rest));
}

/** Reads up to the end of a head; what is behind it is lost. */
async function readHead(duplex: MemoryDuplex): Promise<string> {
  let head = "";
  while (!head.includes("\r\n\r\n")) {
    const into = new Uint8Array(1);
    if (await duplex.read(into) === null) break;
    head += String.fromCharCode(into[0]!);
  }
  return head;
}

/** A client whose dialling ends at a server that answers by hand. */
function dialled(options: ConnectOptions = {}) {
  const [near, far] = duplexPair();
  const connecting = connect("ws://example.com/chat", {
    heartbeatInterval: 0,
    dial: () => near,
    ...options,
  });
  connecting.catch(() => {});
  return { connecting, near, far };
}

async function answer(
  far: MemoryDuplex,
  { header, behind = new Uint8Array(0) }: {
    header?: string;
    behind?: Uint8Array;
  } = {},
): Promise<void> {
  const head = await readHead(far);
  const key = /sec-websocket-key: (.*)\r\n/i.exec(head)![1]!;
  const response = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${acceptKey(key)}`,
    ...(header === undefined ? [] : [header]),
    "\r\n",
  ].join("\r\n");
  await write(far, concat(utf8(response), behind));
}

// Both sides

Deno.test(
  "accept() and connect() meet, over bytes or over web streams",
  bounded(async () => {
    for (const wrap of [(it: MemoryDuplex): Duplex => it, toStreams]) {
      for (const capacity of [100, 65536]) {
        const [near, far] = duplexPair({ capacity });
        const [server, client] = await Promise.all([
          accept(wrap(near), {
            heartbeatInterval: 0,
            protocols: wrap === toStreams ? "a" : ["b", "a"],
          }),
          connect("ws://user:password@example.com/chat?room=1", {
            heartbeatInterval: 0,
            dial: (target) => {
              assertEquals(
                [target.hostname, target.port, target.secure],
                ["example.com", 80, false],
              );
              return Promise.resolve(wrap(far));
            },
            protocols: ["a", "b"],
            headers: { "x-mine": "yes" },
          }),
        ]);
        assertEquals([server.role, client.role], ["server", "client"]);
        assertEquals([server.protocol, client.protocol], ["a", "a"]);
        assertEquals(server.request?.target, "/chat?room=1");
        assertEquals(server.request?.headers.get("x-mine"), "yes");
        assertEquals(
          server.remoteAddr?.transport,
          wrap === toStreams ? "stream" : "memory",
        );
        const echo = server.forEach((message) => server.send(message));
        for (const length of [0, 1, 125, 126, 65535, 65536, 200_000]) {
          const data = new Uint8Array(length).fill(length);
          const [back] = await Promise.all([
            client.receive(),
            client.send(data),
          ]);
          assertEquals(back, data);
        }
        await client.close(1000);
        await echo;
        assertEquals((await server.closed).wasClean, true);
      }
    }
  }),
);

Deno.test(
  "readRequest() and then accept(), on web streams too",
  bounded(async () => {
    for (const wrap of [(it: MemoryDuplex): Duplex => it, toStreams]) {
      const [near, far] = duplexPair();
      const duplex = wrap(near);
      await write(far, concat(utf8(REQUEST), wire("server", text("early"))));
      const request = (await readRequest(duplex))!;
      assertEquals(request.head.target, "/chat?room=1");
      const ws = await accept(duplex, { request, heartbeatInterval: 0 });
      assert((await readHead(far)).startsWith("HTTP/1.1 101 "));
      assertEquals(await ws.receive(), "early");
      ws.terminate();
    }
  }),
);

Deno.test(
  "readRequest(): what has been read already comes first",
  bounded(async () => {
    const [near, far] = duplexPair();
    const bytes = utf8(REQUEST.repeat(2));
    await write(far, bytes.subarray(200));
    const first = await readRequest(near, { rest: bytes.slice(0, 200) });
    assertEquals(first?.head.byteLength, REQUEST.length);
    const second = await readRequest(near, { rest: first!.rest });
    assertEquals(second?.head.target, "/chat?room=1");
    assertEquals(second?.rest, new Uint8Array(0));
  }),
);

// accept()

Deno.test(
  "accept(): a request that something else has read, as a WHATWG Request is",
  bounded(async () => {
    // A browser's own Request would have none of these fields.
    const head = {
      method: "GET",
      url: "http://example.com/chat?room=1",
      headers: new Headers({
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "X-Mine": "yes",
      }),
    };
    for (const rest of [undefined, wire("server", text("early"))]) {
      const [near, far] = duplexPair();
      if (rest === undefined) await write(far, wire("server", text("late")));
      const ws = await accept(near, {
        request: { head, rest },
        heartbeatInterval: 0,
      });
      assert((await readHead(far)).startsWith("HTTP/1.1 101 "));
      assertEquals(ws.request?.target, "/chat?room=1");
      assertEquals(ws.request?.headers.get("X-Mine"), "yes");
      assertEquals(await ws.receive(), rest === undefined ? "late" : "early");
      ws.terminate();
    }
  }),
);

Deno.test(
  "accept(): frames that come with the request, byte by byte or at once",
  bounded(async () => {
    const bytes = concat(
      utf8(REQUEST),
      wire("server", text("early"), text("bird"), close(1000)),
    );
    for (const segment of [() => 1, () => 1e6]) {
      const [near, far] = duplexPair({ segment });
      const accepting = accept(near, { heartbeatInterval: 0 });
      await write(far, bytes);
      const ws = await accepting;
      assertEquals(await collect(ws), ["early", "bird"]);
      await readHead(far);
      await new Peer(far, "server").expect(close(1000));
      far.close();
      await ws.closed;
    }
  }),
);

Deno.test(
  "accept(): a stream that ends before, within or right behind the head",
  bounded(async () => {
    for (const length of [0, 1, 100, REQUEST.length - 1]) {
      const [near, far] = duplexPair();
      const accepting = accept(near);
      await write(far, utf8(REQUEST).subarray(0, length));
      far.close();
      const error = await rejection(accepting);
      assertInstanceOf(error, HandshakeError);
      assertEquals(error.kind, "closed");
      await quiet();
      assert(near.isClosed);
    }
    const [near, far] = duplexPair();
    const accepting = accept(near, { heartbeatInterval: 0 });
    await write(far, utf8(REQUEST));
    await far.closeWrite!();
    assertEquals((await (await accepting).closed).code, 1006);
  }),
);

Deno.test(
  "accept(): what is refused is answered, and the stream closed behind it",
  bounded(async () => {
    const [near, far] = duplexPair();
    const accepting = accept(near);
    await write(far, utf8(REQUEST.replace("13", "12")));
    assertInstanceOf(await rejection(accepting), HandshakeError);
    assert((await readHead(far)).startsWith("HTTP/1.1 426 "));
    assert(!near.isClosed, "the answer could be lost");
    far.close();
    await quiet();
    assert(near.isClosed);
  }),
);

Deno.test(
  "accept(): onRequest refuses with its own error, or 500 for others",
  bounded(async () => {
    for (
      const [error, status] of [
        [new HandshakeError("No", { status: 401 }), 401],
        [new TypeError("A bug"), 500],
      ] as const
    ) {
      const [near, far] = duplexPair();
      let seen: unknown;
      const accepting = accept(near, {
        onRequest: ({ target }, { remoteAddr }) => {
          seen = [target, remoteAddr?.transport];
          return Promise.reject(error);
        },
      });
      await write(far, utf8(REQUEST));
      assertEquals(await rejection(accepting), error);
      assertEquals(seen, ["/chat?room=1", "memory"]);
      const head = await readHead(far);
      assert(head.startsWith(`HTTP/1.1 ${status} `), head);
      assert(!head.includes("A bug"));
      far.close();
      await quiet();
    }
  }),
);

Deno.test(
  "accept(): the data that onRequest returns goes with the connection",
  bounded(async () => {
    const user = { name: "Anna" };
    for (const data of [user, undefined]) {
      const [near, far] = duplexPair();
      await write(far, utf8(REQUEST));
      const ws = await accept(near, {
        onRequest: () => Promise.resolve({ data }),
      });
      assertStrictEquals(ws.request?.data, data);
      ws.terminate();
      await ws.closed;
    }
  }),
);

Deno.test(
  "accept(): an error that has no answer still ends the connection",
  bounded(async () => {
    const headers = { "X-Why": "\x7f", "X-Other": "yes" };
    for (
      const [error, isTold] of [
        [new HandshakeError("No", { headers }), true],
        [Object.assign(new HandshakeError("No"), { message: 5 }), false],
      ] as const
    ) {
      const [near, far] = duplexPair();
      const accepting = accept(near, {
        onRequest: () => Promise.reject(error),
      });
      await write(far, utf8(REQUEST));
      assertEquals(await rejection(accepting), error);
      const head = await readHead(far);
      assertEquals(head.startsWith("HTTP/1.1 400 Bad Request\r\n"), isTold);
      assertEquals(head.includes("x-other: yes\r\n"), isTold);
      assert(!head.includes("x-why"));
      far.close();
      await quiet();
      assert(near.isClosed);
    }
  }),
);

Deno.test(
  "accept(): a malformed entry of `origins` is reported with the first client",
  bounded(async () => {
    const [near, far] = duplexPair();
    const accepting = accept(near, { origins: ["example.com"] });
    await write(far, utf8(REQUEST)); // of no browser
    const error = await rejection(accepting);
    assertInstanceOf(error, TypeError);
    assert(error.message.includes("[example.com]"), error.message);
    assert((await readHead(far)).startsWith("HTTP/1.1 500 "));
    far.close();
    await quiet();
    assert(near.isClosed);
  }),
);

Deno.test(
  "a stream that was reset before TCP_NODELAY could be set is closed",
  bounded(async () => {
    const failure = new Error("Socket is not connected");
    const broken = (): [MemoryDuplex, MemoryDuplex] => {
      const [near, far] = duplexPair();
      far.close();
      Object.assign(near, {
        setNoDelay: () => {
          throw failure;
        },
      });
      return [near, far];
    };
    const [accepted] = broken();
    assertEquals(await rejection(accept(accepted)), failure);
    await quiet();
    assert(accepted.isClosed, "what was accepted is left open");
    const [near] = broken();
    const { connecting } = dialled({ dial: () => near });
    assertEquals(await rejection(connecting), failure);
    assert(near.isClosed, "what was dialled is left open");
  }),
);

Deno.test(
  "accept(): a head that does not come, or an answer to it, takes too long",
  bounded(() =>
    withClock(async (clock) => {
      const { promise: never } = Promise.withResolvers<never>();
      for (
        const [sent, status] of [
          ["", 408],
          [REQUEST.slice(0, 1), 408],
          [REQUEST.slice(0, 50), 408],
          [REQUEST, 503],
        ] as const
      ) {
        const [near, far] = duplexPair();
        const accepting = accept(near, {
          handshakeTimeout: 4000,
          onRequest: () => never,
        });
        accepting.catch(() => {});
        await write(far, utf8(sent));
        await clock.advance(3999);
        assert(await isPending(accepting));
        await clock.advance(300);
        assert(!await isPending(accepting), sent);
        const error = await rejection(accepting);
        assertInstanceOf(error, HandshakeError);
        assertEquals([error.kind, error.status], ["timeout", status]);
        if (sent === "") {
          assert(near.isClosed, "there is nobody to tell");
          continue;
        }
        const head = await readHead(far);
        assert(head.startsWith(`HTTP/1.1 ${status} `), head);
        assert(!near.isClosed, "the answer could be lost");
        await clock.advance(1100);
        assert(near.isClosed);
      }
    })
  ),
);

Deno.test(
  "accept(): what comes after 408 or 503 opens nothing",
  bounded(() =>
    withClock(async (clock) => {
      for (const length of [50, REQUEST.length]) {
        const hanging = Promise.withResolvers<void>();
        const [near, far] = duplexPair();
        const accepting = accept(near, {
          handshakeTimeout: 4000,
          onRequest: () => hanging.promise,
        });
        accepting.catch(() => {});
        await write(far, utf8(REQUEST.slice(0, length)));
        await clock.advance(4300);
        assertInstanceOf(await rejection(accepting), HandshakeError);
        await write(far, utf8(REQUEST.slice(length)));
        hanging.resolve();
        await quiet();
        assert(!(await readHead(far)).startsWith("HTTP/1.1 101 "));
        const body = new Uint8Array(1000);
        await far.read(body);
        assertEquals(await far.read(body), null);
        await far.closeWrite!();
        await clock.advance(1100);
        assert(near.isClosed);
      }
    })
  ),
);

Deno.test(
  "accept(): a client that does not read the answer takes too long",
  bounded(() =>
    withClock(async (clock) => {
      for (const isRead of [false, true]) {
        for (const text of [REQUEST, REQUEST.replace("13", "12")]) {
          const [near, far] = duplexPair();
          near.stall();
          await write(far, utf8(text));
          const request = isRead ? await readRequest(near) : undefined;
          const accepting = accept(near, { request, handshakeTimeout: 4000 });
          accepting.catch(() => {});
          await clock.advance(4300);
          assert(near.isClosed);
          assertInstanceOf(await rejection(accepting), HandshakeError);
          await clock.advance(3000);
        }
      }
    })
  ),
);

Deno.test(
  "accept(): a request whose answer cannot be written is given up",
  bounded(() =>
    withClock(async (clock) => {
      for (const text of [REQUEST, REQUEST.replace("13", "12")]) {
        const head = parseRequestHead(utf8(text))!;
        let closed = 0;
        const accepting = accept({
          read: () => new Promise(() => {}),
          write: () => new Promise(() => {}),
          close: () => closed++,
        }, { request: { head } });
        accepting.catch(() => {});
        await clock.advance(10_700);
        assertInstanceOf(await rejection(accepting), HandshakeError);
        assert(closed > 0);
      }
    })
  ),
);

Deno.test(
  "accept(): an answer that is written at last opens nothing",
  bounded(() =>
    withClock(async (clock) => {
      const head = parseRequestHead(utf8(REQUEST))!;
      const writing = Promise.withResolvers<number>();
      let length = 0;
      let reads = 0;
      const accepting = accept({
        read: () => {
          reads++;
          return Promise.resolve(null);
        },
        write: (bytes) => {
          length = bytes.length;
          return writing.promise;
        },
        close: () => {},
      }, { request: { head }, handshakeTimeout: 1000 });
      accepting.catch(() => {});
      await clock.advance(1100);
      assertInstanceOf(await rejection(accepting), HandshakeError);
      writing.resolve(length);
      await quiet();
      assertEquals([reads, clock.timers], [0, 0]);
    })
  ),
);

Deno.test(
  "accept(): of those that are refused, no more than 100 are waited for",
  bounded(() =>
    withClock(async (clock) => {
      const refused = await Promise.all(
        Array.from({ length: 110 }, async () => {
          const [near, far] = duplexPair();
          await write(far, utf8(REQUEST.replace("13", "12")));
          await rejection(accept(near));
          return { near, far };
        }),
      );
      await clock.advance(10);
      assertEquals(refused.filter(({ near }) => near.isClosed).length, 10);
      for (const { far } of refused) {
        assert((await readHead(far)).startsWith("HTTP/1.1 426 "));
      }
      await clock.advance(1100);
      assert(refused.every(({ near }) => near.isClosed));
    })
  ),
);

Deno.test(
  "accept(): limits out of range are refused before there is a 101",
  bounded(async () => {
    for (
      const options of [
        { maxMessageSize: -1 },
        { maxFragments: 0 },
        { maxReadAhead: -1 },
        { idleTimeout: NaN },
        { maxHeadSize: 0 },
        { maxHeaders: 1.5 },
      ]
    ) {
      const [near, far] = duplexPair();
      const accepting = accept(near, options);
      await write(far, utf8(REQUEST));
      assertInstanceOf(await rejection(accepting), RangeError);
      assert((await readHead(far)).startsWith("HTTP/1.1 500 "));
      far.close();
      await quiet();
      assert(near.isClosed);
      assertInstanceOf(
        await rejection(connect("ws://localhost/", {
          ...options,
          dial: () => Promise.reject(new Error("It dials")),
        })),
        RangeError,
      );
    }
  }),
);

Deno.test(
  "accept(): the extension of a handshake that fails is disposed of",
  bounded(async () => {
    for (const why of ["a header that is reserved", "a write that fails"]) {
      let disposed = 0;
      const agreed = flipping({
        dispose() {
          disposed++;
          throw new Error("mine");
        },
      });
      const extension: Extension = {
        name: agreed.name,
        offers: () => [[]],
        accept: () => agreed,
        confirm: () => agreed,
      };
      const [near, far] = duplexPair();
      const offer = `Sec-WebSocket-Extensions: ${agreed.name}`;
      await write(far, utf8(REQUEST.replace("X-Mine: yes", offer)));
      const error = await rejection(accept(near, {
        extensions: [extension],
        onRequest: () => {
          if (why === "a write that fails") near.failWrites(new Error(why));
          else return { headers: { "Upgrade": "h2c" } };
        },
      }));
      assert(!`${error}`.includes("mine"));
      assertEquals(disposed, 1, why);
      far.close();
      await quiet();
    }
  }),
);

Deno.test(
  "accept(): the head of its request can still be judged afterwards",
  bounded(async () => {
    const [near, far] = duplexPair();
    await write(far, utf8(REQUEST));
    const request = (await readRequest(near))!;
    const { key } = readUpgrade(request.head);
    const ws = await accept(near, { request });
    assert(isUpgrade(request.head));
    assertEquals(readUpgrade(request.head).key, key);
    ws.terminate();
    await ws.closed;
  }),
);

Deno.test(
  "accept(): of the extensions on offer, no more than 16 are looked at",
  bounded(async () => {
    const wrong = "permessage-deflate; wrong";
    for (const [count, isTaken] of [[15, true], [16, false]] as const) {
      const offers = [...Array(count).fill(wrong), "permessage-deflate"];
      const [near, far] = duplexPair();
      await write(
        far,
        utf8(REQUEST.replace(
          "X-Mine: yes",
          `Sec-WebSocket-Extensions: ${offers.join(", ")}`,
        )),
      );
      const ws = await accept(near, { extensions: [permessageDeflate()] });
      // The parameters, not the negotiated extension itself.
      assertEquals(
        ws.extension,
        isTaken ? { name: "permessage-deflate", parameters: [] } : undefined,
      );
      ws.terminate();
      await ws.closed;
    }
  }),
);

Deno.test("a head that trickles in is not parsed for each of its bytes", async () => {
  const filler = Array.from({ length: 90 }, () => `X: ${"x".repeat(150)}\r\n`);
  const bytes = utf8(`${REQUEST.slice(0, -2)}${filler.join("")}\r\n`);
  let sent = 0;
  let parsed = 0;
  const found = await readHeadOf({
    read: (into) => {
      into[0] = bytes[sent++]!;
      return Promise.resolve(1);
    },
    write: () => Promise.reject(new Error("Nothing is to be written")),
    close: () => {},
  }, (bytes) => {
    parsed++;
    return parseRequestHead(bytes);
  }, { closedStatus: 400 });
  assertEquals(found?.head.byteLength, bytes.length);
  assertEquals(sent, bytes.length);
  // Parsed for each line, and for each eighth more.
  assert(bytes.length > 14_000 && parsed < 200, `${parsed} times`);
});

Deno.test(
  "accept(): a signal gives up, at any time",
  bounded(async () => {
    const { promise: never } = Promise.withResolvers<never>();
    for (const sent of [undefined, "", REQUEST.slice(0, 50), REQUEST]) {
      const [near, far] = duplexPair();
      const aborting = new AbortController();
      const mine = new Error("mine");
      if (sent === undefined) aborting.abort(mine);
      const accepting = accept(near, {
        signal: aborting.signal,
        onRequest: () => never,
      });
      accepting.catch(() => {});
      if (sent !== undefined) {
        await write(far, utf8(sent));
        await quiet();
        aborting.abort(mine);
      }
      assert(!await isPending(accepting), sent ?? "aborted before");
      assertEquals(await rejection(accepting), mine);
      assert(near.isClosed);
    }
  }),
);

Deno.test(
  "accept(): the signal has no say once hands are shaken",
  bounded(async () => {
    const [near, far] = duplexPair();
    const aborting = new AbortController();
    await write(far, utf8(REQUEST));
    const ws = await accept(near, {
      signal: aborting.signal,
      heartbeatInterval: 0,
    });
    aborting.abort();
    await quiet();
    assert(ws.isOpen && !near.isClosed);
    ws.terminate();
  }),
);

// connect()

Deno.test(
  "connect(): frames that come with the response",
  bounded(async () => {
    const { connecting, far } = dialled();
    await answer(far, { behind: wire("client", text("early"), close(1001)) });
    const ws = await connecting;
    assertEquals(await collect(ws), ["early"]);
    far.close();
    await ws.closed;
  }),
);

Deno.test(
  "connect(): interim answers are skipped, but not for ever",
  bounded(async () => {
    const interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    const patient = dialled();
    await write(patient.far, utf8(interim.repeat(100)));
    await answer(patient.far, { behind: wire("client", text("early")) });
    const ws = await patient.connecting;
    assertEquals(await ws.receive(), "early");
    ws.terminate();

    const { connecting, near, far } = dialled();
    await write(far, utf8(interim.repeat(101)));
    const error = await rejection(connecting);
    assertInstanceOf(error, HandshakeError);
    assertEquals([error.kind, error.status], ["limit", 103]);
    assert(near.isClosed);
  }),
);

Deno.test(
  "connect(): a server that chooses two extensions is refused",
  bounded(async () => {
    const other: Extension = {
      name: "x-flip",
      offers: () => [[]],
      accept: () => flipping(),
      confirm: () => flipping(),
    };
    const { connecting, near, far } = dialled({
      extensions: [permessageDeflate(), other],
    });
    await answer(far, {
      header: "Sec-WebSocket-Extensions: permessage-deflate, x-flip",
    });
    const error = await rejection(connecting);
    assertInstanceOf(error, HandshakeError);
    assertEquals([error.kind, error.status], ["extensions", 101]);
    assert(
      error.message.includes("[permessage-deflate, x-flip]"),
      error.message,
    );
    assert(near.isClosed);
  }),
);

Deno.test(
  "connect(): a refusal, nonsense, an early end",
  bounded(async () => {
    for (
      const [response, kind] of [
        ["HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "refused"],
        ["HTTP/1.1 101 Switching Protocols\r\n\r\n", undefined],
        ["SSH-2.0-OpenSSH_9.2p1\r\n", undefined],
        ["HTTP/1.1 101 Switch", "closed"],
        ["", "closed"],
      ] as const
    ) {
      const { connecting, near, far } = dialled();
      await readHead(far);
      await write(far, utf8(response));
      far.close();
      const error = await rejection(connecting);
      assertInstanceOf(error, HandshakeError);
      if (kind !== undefined && kind !== "refused") {
        assertEquals(error.kind, kind);
        assertEquals(error.status, 0, "the server has sent none");
      }
      assert(near.isClosed);
    }
  }),
);

Deno.test(
  "connect(): what dialling throws, and what comes of it too late",
  bounded(async () => {
    const failure = new Error("No route");
    for (
      const dial of [
        () => {
          throw failure;
        },
        () => Promise.reject(failure),
      ]
    ) assertEquals(await rejection(dialled({ dial }).connecting), failure);

    const { promise, resolve } = Promise.withResolvers<Duplex>();
    const aborting = new AbortController();
    let given: AbortSignal | undefined;
    const { connecting, near } = dialled({
      dial: ({ signal }) => {
        given = signal;
        return promise;
      },
      signal: aborting.signal,
    });
    await quiet();
    const mine = new Error("mine");
    aborting.abort(mine);
    assertEquals(await rejection(connecting), mine);
    assertEquals(given?.reason, mine);
    resolve(near);
    await quiet();
    assert(near.isClosed, "what was dialled is left open");
  }),
);

Deno.test(
  "connect(): dialling and the response together take too long",
  bounded(() =>
    withClock(async (clock) => {
      const { promise: never, resolve } = Promise.withResolvers<Duplex>();
      const first = dialled({ dial: () => never, handshakeTimeout: 4000 });
      await clock.advance(3999);
      assert(await isPending(first.connecting));
      await clock.advance(300);
      const error = await rejection(first.connecting);
      assertInstanceOf(error, HandshakeError);
      assertEquals(error.kind, "timeout");
      resolve(first.near);
      await quiet();
      assert(first.near.isClosed);

      const second = dialled({
        dial: () =>
          new Promise((resolve) =>
            setTimeout(() => resolve(second.near), 3000)
          ),
        handshakeTimeout: 4000,
      });
      await clock.advance(3001);
      assert(await isPending(second.connecting));
      await clock.advance(1300);
      assert(!await isPending(second.connecting));
      assertInstanceOf(await rejection(second.connecting), HandshakeError);
      assert(second.near.isClosed);
    })
  ),
);

Deno.test(
  "connect(): a handshakeTimeout of 0, or beyond what timers take, never ends",
  bounded(() =>
    withClock(async (clock) => {
      for (const handshakeTimeout of [0, Infinity, 2 ** 31]) {
        const { connecting, far } = dialled({ handshakeTimeout });
        await clock.advance(1e6);
        assert(await isPending(connecting));
        await answer(far);
        (await connecting).terminate();
      }
    })
  ),
);

Deno.test(
  "what a peer sends is cut short in the errors about it",
  bounded(async () => {
    const long = "x".repeat(9000);
    const [near, far] = duplexPair();
    const accepting = rejection(accept(near));
    await write(
      far,
      utf8(REQUEST.replace("X-Mine: yes", `Origin: https://${long}`)),
    );
    const refused = await accepting;
    assertInstanceOf(refused, HandshakeError);
    assertEquals(refused.kind, "origin");
    assert(refused.message.includes("[https://xxx"), refused.message);
    assert(refused.message.length < 200, refused.message);
    far.close();
    await quiet();

    const extension = permessageDeflate();
    for (const parameter of [long, `server_no_context_takeover=${long}`]) {
      const { connecting, far } = dialled({ extensions: [extension] });
      await answer(far, {
        header: `Sec-WebSocket-Extensions: ${extension.name}; ${parameter}`,
      });
      const error = await rejection(connecting);
      assertInstanceOf(error, HandshakeError);
      assertEquals(error.kind, "extensions");
      assert(error.message.includes("[permessage-deflate; "), error.message);
      assert(error.message.length < 300, error.message);
    }
  }),
);

Deno.test(
  "a time out of range is refused, and nothing is left open",
  bounded(async () => {
    for (const handshakeTimeout of [NaN, -1]) {
      for (const act of [accept, readRequest]) {
        const [near] = duplexPair();
        await assertRejects(
          () => act(near, { handshakeTimeout }),
          RangeError,
          `handshakeTimeout must be 0 or more (${handshakeTimeout})`,
        );
        assert(near.isClosed);
      }
      let hasDialled = false;
      const dial = () => {
        hasDialled = true;
        return duplexPair()[0];
      };
      await assertRejects(
        () => connect("ws://example.com/", { handshakeTimeout, dial }),
        RangeError,
        "handshakeTimeout",
      );
      assert(!hasDialled);
    }
  }),
);

Deno.test(
  "connect(): a signal gives up, at any time, and has no say afterwards",
  bounded(async () => {
    const mine = new Error("mine");
    const early = dialled({ signal: AbortSignal.abort(mine) });
    assertEquals(await rejection(early.connecting), mine);

    const within = new AbortController();
    const dialling = dialled({
      signal: within.signal,
      dial: () => {
        within.abort(mine);
        return new Promise(() => {});
      },
    });
    assertEquals(await rejection(dialling.connecting), mine);

    const aborting = new AbortController();
    const { connecting, near, far } = dialled({ signal: aborting.signal });
    await readHead(far);
    aborting.abort(mine);
    assertEquals(await rejection(connecting), mine);
    assert(near.isClosed);

    const later = new AbortController();
    const good = dialled({ signal: later.signal });
    await answer(good.far);
    const ws = await good.connecting;
    later.abort();
    await quiet();
    assert(ws.isOpen);
    ws.terminate();
  }),
);

Deno.test(
  "signals that outlive a handshake, or a call, are not listened to",
  bounded(async () => {
    const aborting = new AbortController();
    const { signal } = aborting;
    const listeners = new Set<unknown>();
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (type: string, listener: never) => {
      listeners.add(listener);
      addEventListener.call(signal, type, listener);
    };
    signal.removeEventListener = (type: string, listener: never) => {
      listeners.delete(listener);
      removeEventListener.call(signal, type, listener);
    };
    const [near, far] = duplexPair();
    const heartbeatInterval = 0;
    const [server, client] = await Promise.all([
      accept(near, { signal, heartbeatInterval }),
      connect("ws://a/", { signal, heartbeatInterval, dial: () => far }),
    ]);
    const echo = server.forEach((message) => server.send(message, { signal }));
    for (let i = 0; i < 10; i++) {
      await client.send(new Uint8Array(300_000), { signal });
      await client.receive({ signal });
      await client.sendStream(["a", "b"], { signal });
      const stream = (await client.receiveStream({ signal }))!;
      await Array.fromAsync(stream.readable);
      await client.ping({ signal });
      const behind = client.sendStream(["c"], { signal });
      await client.send("d", { signal });
      await behind;
      await client.receive({ signal });
      await client.receive({ signal });
    }
    assertEquals(listeners.size, 0);
    await client.close();
    await echo;
  }),
);

Deno.test(
  "nothing that fails while opening is an unhandled rejection",
  bounded(() =>
    withoutUnhandled(async () => {
      const [near, far] = duplexPair();
      const aborting = new AbortController();
      const slow = Promise.withResolvers<void>();
      const accepting = accept(near, {
        signal: aborting.signal,
        onRequest: () => slow.promise,
      });
      await write(far, utf8(REQUEST));
      await quiet();
      aborting.abort();
      await assertRejects(() => accepting);
      slow.reject(new Error("too late"));
      await quiet();
      const again = duplexPair();
      const late = Promise.withResolvers<void>();
      const aborted = new AbortController();
      const second = accept(again[0], {
        signal: aborted.signal,
        onRequest: () => late.promise,
      });
      await write(again[1], utf8(REQUEST));
      await quiet();
      aborted.abort();
      await assertRejects(() => second);
      late.resolve();
    })
  ),
);

Deno.test("connect(): outside Deno, somebody else has to dial", async () => {
  const own = Object.getOwnPropertyDescriptor(globalThis, "Deno");
  Reflect.deleteProperty(globalThis, "Deno");
  try {
    const error = await rejection(connect("ws://127.0.0.1:1/"));
    assert(error instanceof TypeError);
    assert(error.message.includes("`dial`"), error.message);
  } finally {
    if (own) Object.defineProperty(globalThis, "Deno", own);
  }
});
