import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
  fail,
} from "@std/assert";
import { connect } from "../connect.ts";
import type { Duplex, Message, WebSocketConnection } from "../connection.ts";
import { encodeClosePayload, encodeFrame, Opcode } from "../frame.ts";
import { HandshakeError } from "../handshake.ts";
import { type Listener, serve } from "../serve.ts";
import { concat, utf8 } from "./_bytes.ts";
import { isPending, quiet, withClock } from "./_connection.ts";
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import { duplexPair, type MemoryDuplex, toStreams } from "./_duplex_pair.ts";
import { request, TestServer, upgrade, within } from "./_server.ts";

const KEY = 0x37fa213d;

/** A text message of a client, and the same as a server sends it. */
function frames(text: string): { sent: Uint8Array; echoed: Uint8Array } {
  const payload = utf8(text);
  return {
    sent: encodeFrame({ opcode: Opcode.Text, payload, maskingKey: KEY }),
    echoed: encodeFrame({ opcode: Opcode.Text, payload }),
  };
}

/** Asserts that the server still works. */
async function assertServes(server: TestServer): Promise<void> {
  await using ws = await connect(server.url);
  await ws.send("still there");
  assertEquals(await within(ws.receive()), "still there");
}

/** A promise and how to fulfil it. */
function gate(): { opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

// --- Pages -------------------------------------------------------------------

Deno.test("a handler gets a Request and answers with a Response", async () => {
  await using server = new TestServer({
    handler: async (request) => {
      const headers = new Headers({ "X-Method": request.method });
      headers.append("Set-Cookie", "a=1");
      headers.append("Set-Cookie", "b=2");
      return new Response(`${request.url} ${await request.text()}`, {
        status: 201,
        headers,
      });
    },
  });
  const { head, headers, body } = await server.ask(
    request("POST /page?x=%20y", "Content-Length: 5") + "h\u00e9llo",
  );
  assertEquals([head.status, head.statusText], [201, "Created"]);
  assertEquals(headers.getSetCookie(), ["a=1", "b=2"]);
  assertEquals(headers.get("x-method"), "POST");
  assert(!Number.isNaN(Date.parse(headers.get("date") ?? "")));
  assertEquals(body, "http://localhost/page?x=%20y h\u00e9ll");
});

Deno.test("an HTTP client nobody here wrote gets a page", async () => {
  await using server = new TestServer({
    handler: async (request) => new Response(await request.text()),
  });
  using client = Deno.createHttpClient({});
  for (const body of ["one", "two", "x".repeat(500_000)]) {
    const response = await fetch(`http://127.0.0.1:${server.port}/`, {
      method: "PUT",
      body,
      client,
    });
    assertEquals(await response.text(), body);
  }
});

Deno.test("without a handler, requests are answered with 404", async () => {
  await using server = new TestServer();
  const { status, body } = await server.ask(request("GET /"));
  assertEquals([status, body], [404, "Not found\n"]);
});

Deno.test("HEAD is answered without a body, and the next request is seen", async () => {
  await using server = new TestServer({
    handler: () => new Response("page", { headers: { "Content-Length": "4" } }),
  });
  using client = await server.dial();
  await client.write(request("HEAD /") + request("GET /"));
  const head = await client.readAnswer("HEAD");
  assertEquals(head.headers.get("content-length"), "4");
  assertEquals((await client.readAnswer()).body, "page");
});

Deno.test("answers without a body say so", async (t) => {
  const answers: Record<string, { response: () => Response; length: unknown }> =
    {
      "200 and null": { response: () => new Response(), length: "0" },
      "200 and an empty text": { response: () => new Response(""), length: "" },
      "204": {
        response: () => new Response(null, { status: 204 }),
        length: null,
      },
      "304": {
        response: () => new Response(null, { status: 304 }),
        length: null,
      },
      "a redirect": {
        response: () => Response.redirect("http://localhost/there"),
        length: "0",
      },
    };
  for (const [name, { response, length }] of Object.entries(answers)) {
    await t.step(name, async () => {
      await using server = new TestServer({ handler: response });
      using client = await server.dial();
      await client.write(request("GET /").repeat(2));
      for (let i = 0; i < 2; i++) {
        const answer = await client.readAnswer();
        assertEquals([answer.status, answer.body], [response().status, ""]);
        if (length === "") continue;
        assertEquals(answer.headers.get("content-length"), length as string);
      }
    });
  }
});

Deno.test("a response without a status, and a status without a name, are answered", async () => {
  await using server = new TestServer({
    handler: ({ url }) =>
      url.endsWith("/error")
        ? Response.error()
        : new Response("", { status: 299 }),
  });
  for (
    const [path, status, name] of [
      ["/error", 500, "Internal Server Error"],
      ["/", 299, ""],
    ] as const
  ) {
    const { head } = await server.ask(request(`GET ${path}`));
    assertEquals([head.status, head.statusText], [status, name]);
  }
});

Deno.test("a request for the server as a whole has no path (RFC 9112 §3.2.4)", async () => {
  await using server = new TestServer({
    handler: ({ method, url }) => new Response(`${method} ${url}`),
  });
  const { status, body } = await server.ask(request("OPTIONS *"));
  assertEquals([status, body], [200, "OPTIONS http://localhost/"]);
});

Deno.test("pipelined requests are answered in order, however they are cut", async () => {
  await using server = new TestServer({
    handler: async (request) => {
      const { pathname } = new URL(request.url);
      // The first one takes longest.
      for (let i = 0; i < 10 - Number(pathname.slice(1)); i++) {
        await Promise.resolve();
      }
      return new Response(pathname + await request.text());
    },
  });
  const bytes = utf8(
    request("GET /1") + request("POST /2", "Content-Length: 3") + "abc" +
      request("GET /3", "Content-Length: 2") + "xx" + request("GET /4"),
  );
  for (let cut = 0; cut < bytes.length; cut += 7) {
    using client = await server.dial();
    await client.write(bytes.subarray(0, cut));
    const last = client.write(bytes.subarray(cut));
    const bodies = [];
    for (let i = 0; i < 4; i++) bodies.push((await client.readAnswer()).body);
    await last;
    assertEquals(bodies, ["/1", "/2abc", "/3", "/4"]);
  }
});

Deno.test("the connection is closed behind the last answer", async (t) => {
  await using server = new TestServer({ handler: () => new Response("page") });
  await t.step("Connection: close", async () => {
    using client = await server.dial();
    await client.write(request("GET /", "Connection: Keep-Alive, Close"));
    const { headers, body } = await client.readAnswer();
    assertEquals([headers.get("connection"), body], ["close", "page"]);
    assertEquals(await client.readToEnd(), "");
  });
  await t.step("HTTP/1.0, which knows no chunks", async () => {
    using client = await server.dial();
    await client.write("GET / HTTP/1.0\r\n\r\n");
    const { headers, body } = await client.readAnswer();
    assertEquals([headers.get("transfer-encoding"), body], [null, "page"]);
    assertEquals(headers.get("connection"), "close");
  });
});

Deno.test("a streamed body goes out part by part", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  await using server = new TestServer({
    handler: () => new Response(readable),
  });
  using client = await server.dial();
  await client.write(request("GET /"));
  assertEquals((await client.readHead()).status, 200);
  for (const part of ["one", "", "three"]) {
    await writer.write(utf8(part));
    if (part !== "") assertEquals(await client.readChunk(), part);
  }
  await writer.close();
  assertEquals(await client.readChunk(), "");
  // The body is used up now, which is the handler's mistake.
  await client.write(request("GET /"));
  assertEquals((await client.readAnswer()).status, 500);
  assertInstanceOf(server.errors[0], TypeError);
});

Deno.test("a body that breaks off is not taken for a whole one", async (t) => {
  const parts = (...parts: unknown[]) =>
    ReadableStream.from(
      (function* () {
        for (const part of parts) {
          if (part instanceof Error) throw part;
          yield part as Uint8Array;
        }
      })(),
    );
  const bodies: Record<string, [BodyInit, HeadersInit]> = {
    "it throws": [parts(utf8("a"), new Error("mistake")), {}],
    "it is not made of bytes": [parts(utf8("a"), "b"), {}],
    "it is shorter than it says": ["a", { "Content-Length": "2" }],
    "it is longer than it says": [parts(utf8("a"), utf8("b")), {
      "Content-Length": "1",
    }],
  };
  for (const [name, [body, headers]] of Object.entries(bodies)) {
    await t.step(name, async () => {
      await using server = new TestServer({
        handler: ({ url }) =>
          url.endsWith("bad")
            ? new Response(body, { headers })
            : new Response("good"),
      });
      using client = await server.dial();
      await client.write(request("GET /bad") + request("GET /"));
      await client.readHead();
      const text = await client.readToEnd();
      assert(!text.includes("0\r\n\r\n") && !text.includes("good"), text);
      assertEquals(server.errors.length, 1);
      await assertServes(server);
    });
  }
});

Deno.test("framing fields that a handler sets are left out", async () => {
  await using server = new TestServer({
    handler: () =>
      new Response("page", {
        headers: {
          "Transfer-Encoding": "gzip",
          "Connection": "Upgrade",
          "Upgrade": "h2c",
        },
      }),
  });
  const { headers, body } = await server.ask(request("GET /"));
  assertEquals(body, "page");
  assertEquals(headers.get("transfer-encoding"), "chunked");
  assertEquals([headers.get("connection"), headers.get("upgrade")], [
    null,
    null,
  ]);
});

Deno.test("Expect: 100-continue is answered before the body comes", async () => {
  await using server = new TestServer({
    handler: async (request) => new Response(await request.text()),
  });
  using client = await server.dial();
  await client.write(
    request("POST /", "Content-Length: 4", "Expect: 100-continue"),
  );
  assertEquals((await client.readHead()).status, 100);
  await client.write("body");
  assertEquals((await client.readAnswer()).body, "body");
  // A client that has sent the body already is not asked for it.
  await client.write(
    request("POST /", "Content-Length: 4", "Expect: 100-continue") + "body",
  );
  assertEquals((await client.readAnswer()).body, "body");
});

Deno.test("a page over TLS knows its scheme", {
  ignore: !hasOpenssl, // there is no OpenSSL to make a certificate
}, async () => {
  await using certificate = await makeCertificate();
  const { pem } = certificate;
  const listener = certificate.listen();
  await using server = new TestServer({
    handler: ({ url }) => new Response(url),
  }, listener);
  using client = Deno.createHttpClient({ caCerts: [pem] });
  const url = `https://127.0.0.1:${server.port}/page`;
  const response = await fetch(url, { client });
  assertEquals(await response.text(), url);
});

// --- Those who are refused ---------------------------------------------------

Deno.test("what is no request is refused, and the next client served", async (t) => {
  const refused: Record<string, { bytes: string; status: number }> = {
    "no HTTP": { bytes: "hello\r\n\r\n", status: 400 },
    "a TLS handshake": { bytes: "\x16\x03\x01\x02\x00", status: 400 },
    "a bare LF": { bytes: "GET / HTTP/1.1\n\n", status: 400 },
    "no Host": { bytes: "GET / HTTP/1.1\r\n\r\n", status: 400 },
    "HTTP/2": { bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 505 },
    "a head of 20 kB": {
      bytes: request(`GET /${"a".repeat(20_000)}`),
      status: 431,
    },
    "too many fields": {
      bytes: request("GET /", ...Array(101).fill("A: b")),
      status: 431,
    },
    "two lengths": {
      bytes: request("POST /", "Content-Length: 1", "Content-Length: 2") + "ab",
      status: 400,
    },
    "length and chunks": {
      bytes: request(
        "POST /",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
      ) + "0\r\n\r\n",
      status: 400,
    },
    "a body in chunks": {
      bytes: request("POST /", "Transfer-Encoding: chunked") + "0\r\n\r\n",
      status: 411,
    },
    "a body of 2 MB": {
      bytes: request("POST /", "Content-Length: 2000000") + "x".repeat(100_000),
      status: 413,
    },
    "a body without bounds": {
      bytes: request("POST /", `Content-Length: ${"9".repeat(400)}`),
      status: 413,
    },
    "CONNECT": { bytes: request("CONNECT localhost:80"), status: 400 },
    "TRACE": { bytes: request("TRACE /"), status: 400 },
    "no URL": { bytes: request("GET http://[/"), status: 400 },
    "an upgrade by POST": {
      bytes: upgrade().replace("GET", "POST"),
      status: 405,
    },
    "an old version": {
      bytes: upgrade().replace("Version: 13", "Version: 8"),
      status: 426,
    },
    "a page of another origin": {
      bytes: upgrade("/", "Origin: https://evil.example"),
      status: 403,
    },
  };
  await using server = new TestServer({ handler: () => new Response("page") });
  for (const [name, { bytes, status }] of Object.entries(refused)) {
    await t.step(name, async () => {
      using client = await server.dial();
      await client.write(bytes);
      const { head, headers, body } = await client.readAnswer();
      assertEquals(head.status, status, body);
      assertEquals(headers.get("connection")?.split(",")[0], "close");
      assertEquals(await client.readToEnd(), "");
      assertInstanceOf(server.errors.at(-1), HandshakeError);
      await assertServes(server);
    });
  }
});

Deno.test("a client that goes away in its head, or its body, is no harm", async () => {
  await using server = new TestServer({ handler: () => new Response("page") });
  const bytes = utf8(request("POST /", "Content-Length: 10") + "0123");
  for (let length = 0; length <= bytes.length; length += 5) {
    using client = await server.dial();
    await client.write(bytes.subarray(0, length));
  }
  await assertServes(server);
});

Deno.test("a head that comes too slowly, and a body, are not waited for", async (t) => {
  await using server = new TestServer({
    handler: () => new Response("page"),
    handshakeTimeout: 200,
    keepAliveTimeout: 50,
  });
  await t.step("no byte", async () => {
    using client = await server.dial();
    assertEquals(await client.readToEnd(), "");
  });
  await t.step("a byte at a time", async () => {
    using client = await server.dial();
    const trickle = (async () => {
      for (;;) {
        await client.write("A");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    const broken = assertRejects(() => trickle);
    await client.readToEnd().catch(() => {});
    await within(broken);
  });
  await t.step("no further request", async () => {
    using client = await server.dial();
    await client.write(request("GET /"));
    assertEquals((await client.readAnswer()).body, "page");
    assertEquals(await client.readToEnd(), "");
  });
  await t.step("half of a further request", async () => {
    using client = await server.dial();
    await client.write(request("GET /") + "GET /");
    assertEquals((await client.readAnswer()).body, "page");
    assertEquals((await client.readAnswer()).status, 408);
  });
  const kinds = server.errors.map((error) => (error as HandshakeError).kind);
  // A client that has got its page, and asks for nothing more, is no error.
  assertEquals(kinds, ["timeout", "timeout", "timeout"]);
  await assertServes(server);
});

Deno.test("a handler that throws is reported and answered with 500", async (t) => {
  const mistake = new Error("nobody's business");
  const handlers = {
    "at once": () => {
      throw mistake;
    },
    "later": () => Promise.reject(mistake),
  };
  for (const [name, handler] of Object.entries(handlers)) {
    await t.step(name, async () => {
      await using server = new TestServer({ handler });
      using client = await server.dial();
      await client.write(request("GET /").repeat(2));
      assertEquals((await client.readAnswer()).status, 500);
      const { body } = await client.readAnswer();
      assert(!body.includes(mistake.message), body);
      assertEquals(server.errors, [mistake, mistake]);
      await assertServes(server);
    });
  }
});

Deno.test("an onError that throws stops nobody", async () => {
  const { error } = console;
  const lines: unknown[] = [];
  console.error = (line) => lines.push(line);
  try {
    await using server = new TestServer({
      onError: () => {
        throw new Error("in onError");
      },
    });
    await server.ask("hello\r\n\r\n");
    await assertServes(server);
  } finally {
    console.error = error;
  }
  assertEquals(lines.length, 1);
  assertStringIncludes(String(lines[0]), "Error: in onError (");
});

Deno.test("without onError, a mistake is one line on stderr", async () => {
  const { error } = console;
  const lines: unknown[] = [];
  console.error = (line) => lines.push(line);
  try {
    const mistakes: unknown[] = [
      new TypeError("mine"),
      Object.assign(new Error("of no place"), { stack: undefined }),
      // Deno panics if it has to make a stack trace then.
      Object.defineProperty(new Error("No more (os error 24)"), "stack", {
        get: () => fail("its stack trace is made"),
      }),
      "text",
      undefined,
    ];
    await using server = new TestServer({
      onError: undefined,
      handler: () => {
        throw mistakes.shift();
      },
    });
    for (let left = mistakes.length; left > 0; left--) {
      assertEquals((await server.ask(request("GET /"))).status, 500);
    }
    await server.ask("hello\r\n\r\n"); // a peer's
  } finally {
    console.error = error;
  }
  assertEquals(lines.slice(1), [
    "of no place",
    "Error: No more (os error 24)",
    "text",
    "undefined",
  ]);
  assertStringIncludes(String(lines[0]), "TypeError: mine (");
});

// --- WebSockets --------------------------------------------------------------

Deno.test("an upgrade on any path, cut at every byte, with frames behind it", async () => {
  await using server = new TestServer();
  const { sent, echoed } = frames("Hello");
  const bytes = concat(utf8(upgrade("/any/path?at=all")), sent, sent);
  for (let cut = 0; cut <= bytes.length; cut++) {
    using client = await server.dial();
    await client.write(bytes.subarray(0, cut));
    await client.write(bytes.subarray(cut));
    const { status, headers } = await client.readHead();
    assertEquals(status, 101);
    assertEquals(
      headers.get("sec-websocket-accept"),
      "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    );
    assertEquals(await client.read(2 * echoed.length), concat(echoed, echoed));
  }
});

Deno.test("an upgrade that comes byte by byte", async () => {
  await using server = new TestServer();
  const { sent, echoed } = frames("Hello");
  using client = await server.dial();
  for (const byte of concat(utf8(upgrade()), sent)) {
    await client.write(Uint8Array.of(byte));
  }
  assertEquals((await client.readHead()).status, 101);
  assertEquals(await client.read(echoed.length), echoed);
});

Deno.test("pages first, then a WebSocket on the same connection", async () => {
  await using server = new TestServer({ handler: () => new Response("page") });
  const { sent, echoed } = frames("Hello");
  using client = await server.dial();
  await client.write(
    concat(utf8(request("GET /").repeat(2) + upgrade()), sent),
  );
  assertEquals((await client.readAnswer()).body, "page");
  assertEquals((await client.readAnswer()).body, "page");
  assertEquals((await client.readHead()).status, 101);
  assertEquals(await client.read(echoed.length), echoed);
});

Deno.test("a connection is closed when its handler is through", async (t) => {
  const mistake = new Error("mistake");
  const handlers: Record<string, [() => unknown, number]> = {
    "it returns": [() => {}, 1000],
    "it throws": [() => {
      throw mistake;
    }, 1011],
    "it rejects": [() => Promise.reject(mistake), 1011],
  };
  for (const [name, [onConnection, code]] of Object.entries(handlers)) {
    await t.step(name, async () => {
      await using server = new TestServer({ onConnection });
      const ws = await connect(server.url);
      assertEquals((await within(ws.closed)).code, code);
      assertEquals(server.errors, code === 1011 ? [mistake] : []);
    });
  }
});

Deno.test("the peer's own end is no error of the handler's", async () => {
  const { error } = console;
  const lines: unknown[] = [];
  console.error = (line) => lines.push(line);
  try {
    await using server = new TestServer();
    // The default, which says nothing of peers.
    await using quiet = new TestServer({ onError: undefined! });
    for (const { url } of [server, quiet]) {
      (await connect(url)).terminate();
      await (await connect(url)).close(4000);
    }
    await within(server.server.shutdown());
    await within(quiet.server.shutdown());
    assertEquals(server.errors.map((error) => (error as Error).name), [
      "ConnectionClosedError",
      "ConnectionClosedError",
    ]);
  } finally {
    console.error = error;
  }
  assertEquals(lines, []);
});

Deno.test("a listener may wrap what it accepts, and see the bytes of pages and of WebSockets", async () => {
  const seen: string[] = [];
  await using server = new TestServer({
    tap: (conn) => ({
      read: async (into) => {
        const length = await conn.read(into);
        seen.push(new TextDecoder().decode(into.subarray(0, length ?? 0)));
        return length;
      },
      write: (bytes) => conn.write(bytes),
      close: () => conn.close(),
      closeWrite: () => conn.closeWrite(),
    }),
  });
  await server.ask(request("GET /page"));
  await assertServes(server);
  assertStringIncludes(seen.join(""), "GET /page HTTP/1.1");
  assertStringIncludes(seen.join(""), "Sec-WebSocket-Key");
});

Deno.test("no answer waits for its head to be acknowledged", async () => {
  const calls: unknown[] = [];
  await using server = new TestServer({
    handler: () => {
      calls.push("answer");
      return new Response("A page");
    },
    tap: (conn) => ({
      read: (into) => conn.read(into),
      write: (bytes) => conn.write(bytes),
      close: () => conn.close(),
      closeWrite: () => conn.closeWrite(),
      setNoDelay: (noDelay) => calls.push(noDelay),
    }),
  });
  await server.ask(request("GET /"));
  assertEquals(calls, [true, "answer"]);
});

Deno.test("both kinds of handlers get the peer's address", async () => {
  const asked: (string | undefined)[] = [];
  await using server = new TestServer({
    handler: (_, { remoteAddr }) => {
      asked.push(remoteAddr?.hostname);
      return new Response("A page");
    },
    onRequest: (_, { remoteAddr }) => {
      asked.push(remoteAddr?.hostname);
    },
  });
  await server.ask(request("GET /"));
  await assertServes(server);
  assertEquals(asked, ["127.0.0.1", "127.0.0.1"]);
});

// --- Any listener ------------------------------------------------------------

/** A listener of streams in memory, that knows no error of Deno's. */
class MemoryListener implements Listener {
  accepted = 0;
  isClosed = false;
  #waiting: ReturnType<typeof Promise.withResolvers<Duplex>> | undefined;

  accept(): Promise<Duplex> {
    this.accepted++;
    this.#waiting = Promise.withResolvers();
    if (this.isClosed) this.close();
    return this.#waiting.promise;
  }

  /** Connects to it. */
  dial(wrap: (duplex: MemoryDuplex) => Duplex): MemoryDuplex {
    const [here, there] = duplexPair();
    this.#waiting!.resolve(wrap(here));
    return there;
  }

  close(): void {
    this.isClosed = true;
    this.#waiting?.reject(new Error("It is closed"));
  }
}

Deno.test("connections may come from anywhere, as bytes or as streams", async () => {
  const listener = new MemoryListener();
  const errors: unknown[] = [];
  const server = serve(listener, {
    onConnection: (ws) => ws.forEach((message) => ws.send(message)),
    onError: (error) => errors.push(error),
  });
  for (const wrap of [(it: MemoryDuplex): Duplex => it, toStreams]) {
    const ws = await connect("ws://test/", {
      dial: () => listener.dial(wrap),
    });
    await ws.send("Hello");
    assertEquals(await within(ws.receive()), "Hello");
    await ws.close();
  }
  await within(server.shutdown());
  // Its rejection after that is not reported.
  assertEquals(errors, []);
  assertEquals(listener.accepted, 3);
});

Deno.test("a connection that can't be used is reported, and the next one served", async () => {
  const listener = new MemoryListener();
  const errors: unknown[] = [];
  const server = serve(listener, {
    onConnection: (ws) => ws.forEach((message) => ws.send(message)),
    onError: (error) => errors.push(error),
  });
  const closed: string[] = [];
  const closing = {
    "by itself": { close: () => closed.push("by itself") },
    "with an error": {
      close: () => {
        closed.push("with an error");
        return Promise.reject(new Error("It is locked"));
      },
    },
    "not at all": {},
  };
  for (const close of Object.values(closing)) {
    listener.dial((duplex) => {
      const streams = toStreams(duplex);
      streams.readable.getReader();
      return { ...streams, ...close };
    });
    await quiet();
  }
  assertEquals(errors.map((error) => (error as Error).name), [
    "TypeError",
    "TypeError",
    "TypeError",
  ]);
  assertEquals(closed, ["by itself", "with an error"]);
  const ws = await connect("ws://test/", {
    dial: () => listener.dial((it) => it),
  });
  await ws.send("Hello");
  assertEquals(await within(ws.receive()), "Hello");
  await ws.close();
  await within(server.shutdown());
  assertEquals(errors.length, 3);
});

// --- Limits ------------------------------------------------------------------

Deno.test("more connections than there may be are answered with 503", async (t) => {
  const limits = {
    maxConnections: "The server",
    maxConnectionsPerAddress: "Your address",
  };
  for (const [name, whose] of Object.entries(limits)) {
    await t.step(name, async () => {
      await using server = new TestServer({ [name]: 2 });
      const ws = await connect(server.url);
      using silent = await server.dial();
      for (const request of [upgrade(), "", "GET / HTTP/1.1\r\n"]) {
        const { status, headers, body } = await server.ask(request);
        assertEquals(status, 503);
        assertEquals(headers.get("retry-after"), "10");
        assertStringIncludes(body, whose);
      }
      await ws.send("not disturbed");
      assertEquals(await within(ws.receive()), "not disturbed");
      // A place is free again.
      await ws.close();
      using _ = silent;
      await assertServesSoon(server);
    });
  }
});

/** As soon as the last client's end has been seen. */
async function assertServesSoon(server: TestServer): Promise<void> {
  const deadline = AbortSignal.timeout(5000);
  for (;;) {
    try {
      return await assertServes(server);
    } catch (error) {
      deadline.throwIfAborted();
      assertInstanceOf(error, HandshakeError);
    }
  }
}

Deno.test("limits that make no sense are refused, and nothing is served", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  for (
    const name of [
      "maxConnections",
      "maxConnectionsPerAddress",
      "keepAliveTimeout",
      "handshakeTimeout",
      "maxBodySize",
    ]
  ) {
    for (const wrong of [NaN, -1]) {
      const options = { onConnection: () => {}, [name]: wrong };
      assertThrows(
        () => serve(listener, options),
        RangeError,
        `${name} must be 0 or more (${wrong})`,
      );
    }
  }
  for (const name of ["maxHeadSize", "maxHeaders"]) {
    for (const wrong of [NaN, 0, 1.5]) {
      const options = { onConnection: () => {}, [name]: wrong };
      assertThrows(
        () => serve(listener, options),
        RangeError,
        `${name} must be a positive integer or Infinity (${wrong})`,
      );
    }
  }
  assertThrows(
    () => serve(listener, { onConnection: () => {}, origins: "example.com" }),
    TypeError,
    "[example.com]",
  );
  await using server = new TestServer();
  await assertRejects(
    () => server.server.shutdown({ timeout: NaN }),
    RangeError,
    "timeout",
  );
  await assertServes(server);
});

Deno.test("a body that is larger than it may be is refused", async () => {
  await using server = new TestServer({
    maxBodySize: 5,
    handler: async (request) => new Response(await request.text()),
  });
  for (const [length, status] of [[5, 200], [6, 413]] as const) {
    const answer = await server.ask(
      request("POST /", `Content-Length: ${length}`) + "x".repeat(length),
    );
    assertEquals(answer.status, status);
  }
});

Deno.test("IPv4 addresses are limited singly, those of IPv6 by their first 64 bits", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accept = listener.accept.bind(listener);
  let hostname: string | undefined;
  listener.accept = async () => {
    const conn = await accept();
    const value = { transport: "tcp", hostname };
    return Object.defineProperty(conn, "remoteAddr", { value });
  };
  await using server = new TestServer(
    { maxConnectionsPerAddress: 1 },
    listener,
  );
  await using closing = new AsyncDisposableStack();
  for (
    const [address, isOther] of [
      ["192.0.2.1", true],
      ["192.0.2.1", false],
      ["192.0.2.2", true],
      // The same, in IPv6.
      ["::ffff:192.0.2.2", false],
      ["::FFFF:192.0.2.3", true],
      ["192.0.2.3", false],
      // The first 64 bits count.
      ["2001:db8:1:2:3:4:5:6", true],
      ["2001:db8:1:2::1", false],
      ["2001:0DB8:0001:0002:ffff::", false],
      ["2001:db8:1:3::1", true],
      ["2001:db8:1::1", true],
      ["2001:db8:1:0:5::", false],
      ["fe80::1%eth0", true],
      ["fe80::2%eth1", false],
      ["::1", true],
      ["::2", false],
      // What has none, such as a Unix socket, is not limited.
      [undefined, true],
      [undefined, true],
    ] as const
  ) {
    hostname = address;
    if (isOther) closing.use(await connect(server.url));
    else assertEquals((await server.ask(upgrade())).status, 503, address);
  }
});

Deno.test("a refused peer gets a second to read why; of many, 100 do", async () => {
  await using server = new TestServer({ maxConnections: 1 });
  await using ws = await connect(server.url);
  const crowd = await Promise.all(
    Array.from({ length: 300 }, () => server.dial()),
  );
  // All have been accepted when the last one's answer is there.
  let answered = 0;
  await Promise.all(crowd.map(async (client) => {
    const { status } = await client.readAnswer();
    assertEquals(status, 503);
    answered++;
  }));
  assertEquals(answered, 300);
  await ws.send("not disturbed");
  assertEquals(await within(ws.receive()), "not disturbed");
  for (const client of crowd) client[Symbol.dispose]();
});

Deno.test("a body that does not come is answered with 408", async () => {
  await withClock(async (clock) => {
    const [near, far] = duplexPair();
    const accepting = Promise.withResolvers<MemoryDuplex>();
    const connections = [Promise.resolve(near), accepting.promise];
    const errors: unknown[] = [];
    const server = serve({
      accept: () => connections.shift()!,
      close: () =>
        accepting.reject(
          Object.assign(new Error("closed"), { name: "BadResource" }),
        ),
    }, { onConnection: () => {}, onError: (error) => errors.push(error) });
    let rest: Uint8Array = utf8(
      `${request("POST /", "Content-Length: 5")}abc`,
    );
    while (rest.length > 0) rest = rest.subarray(await far.write(rest));
    await clock.advance(29_000);
    const buffer = new Uint8Array(1000);
    const reading = far.read(buffer);
    assert(await isPending(reading));
    while (await isPending(reading)) await clock.advance(100);
    const length = await reading;
    const answer = new TextDecoder().decode(buffer.subarray(0, length ?? 0));
    assert(answer.startsWith("HTTP/1.1 408 "), answer);
    await far.write(utf8("de")); // too late
    await clock.advance(1100);
    assert(near.isClosed);
    assertEquals(errors.map((error) => (error as HandshakeError).kind), [
      "timeout",
    ]);
    await server.shutdown({ timeout: 0 });
  });
});

Deno.test("a slot is free once the connection is gone, handler or not", async () => {
  const never = gate();
  await using server = new TestServer({
    maxConnections: 1,
    onConnection: () => never.opened,
  });
  await (await connect(server.url)).close();
  const ws = await connectSoon(server);
  await ws.close();
  never.open();
});

async function connectSoon(server: TestServer): Promise<WebSocketConnection> {
  const deadline = AbortSignal.timeout(5000);
  for (;;) {
    try {
      return await connect(server.url);
    } catch (error) {
      deadline.throwIfAborted();
      assertInstanceOf(error, HandshakeError);
    }
  }
}

Deno.test("the loop goes on when accept() fails", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accept = listener.accept.bind(listener);
  let calls = 0;
  // Each connection that is accepted takes the last file for a while.
  listener.accept = () =>
    calls++ % 3 < 2
      ? Promise.reject(new Error("Too many open files (os error 24)"))
      : accept();
  await using server = new TestServer({}, listener);
  for (let i = 0; i < 3; i++) await assertServes(server);
  assertEquals(server.errors.length, 1, "told once in a while");
});

Deno.test("a crowd that comes as fast as it is accepted does not keep the others out", async () => {
  const CROWD = 200;
  let accepted = 0;
  let othersAt: number | undefined;
  setTimeout(() => othersAt = accepted, 0);
  const { promise, reject } = Promise.withResolvers<Duplex>();
  promise.catch(() => {}); // the loop may not have come to wait for it
  const server = serve({
    accept() {
      if (accepted === CROWD) return promise;
      accepted++;
      for (const began = performance.now(); performance.now() < began + 1;);
      if (accepted % 2 === 0) {
        const error = new Error("It is gone");
        error.name = "NotConnected";
        return Promise.reject(error);
      }
      const [here, there] = duplexPair();
      there.close();
      return Promise.resolve(here);
    },
    close: () => reject(new Error("It is closed")),
  }, { onConnection: () => {}, onError: () => {} });
  while (accepted < CROWD) {
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await server.shutdown();
  assert(othersAt !== undefined && othersAt < CROWD / 2, `${othersAt}`);
});

// --- The end -----------------------------------------------------------------

Deno.test("a peer that hangs up before it is accepted does not keep others waiting", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let left = 1000;
  const gone = {
    addr: listener.addr,
    accept: (): Promise<Deno.Conn> =>
      left-- > 0
        ? Promise.reject(new Deno.errors.NotConnected("os error 107"))
        : listener.accept(),
    close: () => listener.close(),
  } as Deno.Listener;
  const began = performance.now();
  await using server = new TestServer({}, gone);
  assertEquals((await server.ask(request("GET /"))).status, 404);
  assert(performance.now() - began < 10_000);
  assertEquals(server.errors, []);
});

Deno.test("shutdown() closes WebSockets with 1001 and frees the address at once", async () => {
  const server = new TestServer();
  const clients = await Promise.all(
    Array.from({ length: 20 }, () => connect(server.url)),
  );
  // Sent before, so answered before.
  for (const ws of clients) await ws.send("last");
  for (const ws of clients) assertEquals(await ws.receive(), "last");
  await within(server.server.shutdown());
  for (const ws of clients) {
    const { code, wasClean } = await within(ws.closed);
    assertEquals([code, wasClean], [1001, true]);
  }
  await within(server.server.finished);
  assertEquals(server.errors, []);
  await using next = new TestServer(
    {},
    Deno.listen({ hostname: "127.0.0.1", port: server.port }),
  );
  await assertServes(next);
});

Deno.test("shutdown() lets answers finish, and closes idle connections", async () => {
  const { opened, open } = gate();
  const arrived = gate();
  const server = new TestServer({
    handler: async ({ url }) => {
      if (url.endsWith("/idle")) return new Response("idle");
      arrived.open();
      await opened;
      return new Response("finished");
    },
  });
  using idle = await server.dial();
  await idle.write(request("GET /idle"));
  assertEquals((await idle.readAnswer()).body, "idle");
  using silent = await server.dial();
  using busy = await server.dial();
  await busy.write(request("GET /") + request("GET /"));
  await within(arrived.opened);

  const done = server.server.shutdown();
  assertEquals(await idle.readToEnd(), "");
  assertEquals(await silent.readToEnd(), "");
  open();
  const { headers, body } = await busy.readAnswer();
  assertEquals([headers.get("connection"), body], ["close", "finished"]);
  assertEquals(await busy.readToEnd(), "");
  await within(done);
  assertEquals(server.errors, []);
});

Deno.test("shutdown() waits for handlers, but not for ever", async (t) => {
  await t.step("they have the time they need", async () => {
    let isDone = false;
    const server = new TestServer({
      onConnection: async (ws) => {
        await ws.closed;
        await new Promise((resolve) => setTimeout(resolve, 50));
        isDone = true;
      },
    });
    await using _ = await connect(server.url);
    await within(server.server.shutdown());
    assert(isDone);
  });
  await t.step("unless it is too much", async () => {
    const asked = gate();
    const server = new TestServer({
      onConnection: () => new Promise(() => {}),
      handler: () => {
        asked.open();
        return new Promise(() => {});
      },
    });
    using deaf = await server.dial(); // never answers a Close frame
    await deaf.write(upgrade());
    await deaf.readHead();
    using waiting = await server.dial();
    await waiting.write(request("GET /"));
    await within(asked.opened);
    const began = performance.now();
    await within(server.server.shutdown({ timeout: 200 }));
    assert(performance.now() - began < 2000);
    await within(server.server.finished);
    assertEquals(await waiting.readToEnd(), "");
  });
});

type Answer = (message: Message) => Promise<void>;

/** How a program can receive messages, and answer them. */
const WAYS: Record<
  string,
  (ws: WebSocketConnection, answer: Answer) => unknown
> = {
  "forEach()": (ws, answer) => ws.forEach(answer),
  "for await": async (ws, answer) => {
    for await (const message of ws) await answer(message);
  },
  "receive()": async (ws, answer) => {
    for (let message; (message = await ws.receive()) !== undefined;) {
      await answer(message);
    }
  },
};

for (const [way, receive] of Object.entries(WAYS)) {
  Deno.test(`shutdown() lets messages finish that have arrived: ${way}`, async () => {
    const taken = gate();
    const server = new TestServer({
      onConnection: (ws) =>
        receive(ws, async (message) => {
          taken.open();
          await new Promise((resolve) => setTimeout(resolve, 300));
          await ws.send(message);
        }),
    });
    await using idle = await connect(server.url);
    await using ws = await connect(server.url);
    // Both are written, and read, at once.
    ws.send("one");
    ws.send("two");
    await within(taken.opened);
    const began = performance.now();
    const done = server.server.shutdown();
    assertEquals((await within(idle.closed)).code, 1001);
    ws.send("too late").catch(() => {});
    const answers: unknown[] = [];
    for await (const message of ws) answers.push(message);
    assertEquals(answers.slice(0, 2), ["one", "two"]);
    assertEquals((await within(ws.closed)).code, 1001);
    await within(done);
    assert(performance.now() - began < 4000); // not at the timeout
  });
}

Deno.test("shutdown() closes with 1001 while a handler is at a message for ever", async () => {
  for (const timeout of [400, 3000]) {
    const taken = gate();
    const server = new TestServer({
      onConnection: (ws) =>
        ws.forEach(() => {
          taken.open();
          return ws.closed;
        }),
    });
    await using ws = await connect(server.url);
    await ws.send("one");
    await within(taken.opened);
    const began = performance.now();
    const done = server.server.shutdown({ timeout });
    assertEquals((await within(ws.closed)).code, 1001);
    const took = performance.now() - began;
    // Half of the time, or all but a second of it.
    assert(took > (timeout === 400 ? 190 : 1900), `${took} ms`);
    await within(done);
  }
});

Deno.test("shutdown() is not put off by a peer that goes on sending", async () => {
  const taken = gate();
  const server = new TestServer({
    maxReadAheadMessages: 4,
    onConnection: (ws) =>
      ws.forEach(async () => {
        taken.open();
        await new Promise((resolve) => setTimeout(resolve, 50));
      }),
  });
  await using ws = await connect(server.url);
  const sending = setInterval(() => ws.send("more").catch(() => {}), 5);
  await within(taken.opened);
  const began = performance.now();
  const done = server.server.shutdown({ timeout: 20_000 });
  assertEquals((await within(ws.closed)).code, 1001);
  clearInterval(sending);
  await within(done);
  assert(performance.now() - began < 8000);
});

Deno.test("shutdown() does not wait for what handlers have left, or never asked for", async () => {
  const server = new TestServer({
    onConnection: async (ws) => {
      if (ws.request?.target === "/leave") {
        await ws.receive();
        await assertRejects(
          () => ws.receive({ signal: AbortSignal.timeout(1) }),
        );
      }
      await ws.closed;
    },
  });
  const clients = await Promise.all(
    ["", "leave"].map((path) => connect(`${server.url}${path}`)),
  );
  for (const ws of clients) {
    await ws.send("for nobody");
    await ws.ping();
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  const done = server.server.shutdown({ timeout: 0 });
  for (const ws of clients) {
    assertEquals((await within(ws.closed)).code, 1001);
  }
  await within(done);
});

Deno.test("shutdown() while hands are being shaken closes with 1001", async () => {
  const { opened, open } = gate();
  const arrived = gate();
  let isCalled = false;
  const server = new TestServer({
    onRequest: async () => {
      arrived.open();
      await opened;
    },
    onConnection: () => isCalled = true,
  });
  using client = await server.dial();
  await client.write(upgrade());
  await within(arrived.opened);
  const done = server.server.shutdown();
  open();
  assertEquals((await client.readHead()).status, 101);
  const goodbye = encodeFrame({
    opcode: Opcode.Close,
    payload: encodeClosePayload(1001),
  });
  assertEquals(await client.read(goodbye.length), goodbye);
  client.conn.close();
  await within(done);
  assert(!isCalled);
});

Deno.test("a signal shuts the server down, early or late", async () => {
  const stopping = new AbortController();
  const server = new TestServer({ signal: stopping.signal });
  const ws = await connect(server.url);
  stopping.abort();
  await within(server.server.finished);
  assertEquals((await within(ws.closed)).code, 1001);
  const late = new TestServer({ signal: stopping.signal });
  await within(late.server.finished);
  assertEquals([...server.errors, ...late.errors], []);
});

Deno.test("`await using` shuts the server down", async () => {
  const listener = new MemoryListener();
  {
    await using _ = serve(listener, { onConnection: () => {} });
    assert(!listener.isClosed);
  }
  assert(listener.isClosed);
});

Deno.test("shutdown() with a timeout of 0 waits as long as it takes", async () => {
  const { opened, open } = gate();
  const server = new TestServer({ onConnection: () => opened });
  const ws = await connect(server.url);
  const done = server.server.shutdown({ timeout: 0 });
  assertEquals((await within(ws.closed)).code, 1001);
  let isDone = false;
  done.then(() => isDone = true);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert(!isDone);
  open();
  await within(done);
});

Deno.test("closing the listener stops nothing but the loop", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = new TestServer({}, listener);
  const ws = await connect(server.url);
  listener.close();
  await ws.send("still there");
  assertEquals(await within(ws.receive()), "still there");
  await ws.close();
  await within(server.server.finished);
  await within(server.server.shutdown());
});
