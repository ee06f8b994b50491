/** `serve()` on streams in memory, for any runtime. */
import { assert, assertEquals } from "@std/assert";
import { connect } from "../connect.ts";
import type { Duplex } from "../connection.ts";
import { HandshakeError, parseResponseHead } from "../handshake.ts";
import { type Listener, serve } from "../serve.ts";
import { concat, utf8 } from "./_bytes.ts";
import { bounded, rejection } from "./_connection.ts";
import { duplexPair, type MemoryDuplex } from "./_duplex_pair.ts";

/** A listener that is dialled by a call. */
class Memory implements Listener {
  #waiting = Promise.withResolvers<Duplex>();

  async accept(): Promise<Duplex> {
    const duplex = await this.#waiting.promise;
    this.#waiting = Promise.withResolvers();
    return duplex;
  }

  async dial(): Promise<MemoryDuplex> {
    const [here, there] = duplexPair();
    this.#waiting.resolve(here);
    await this.#waiting.promise;
    return there;
  }

  close(): void {
    this.#waiting.reject(new Error("It is closed"));
    this.#waiting.promise.catch(() => {});
  }
}

/** Sends a request, and reads its answer to the end. */
async function ask(
  duplex: MemoryDuplex,
  ...lines: string[]
): Promise<{ status: number; headers: Headers; body: string }> {
  const bytes = utf8([...lines, "", ""].join("\r\n"));
  assertEquals(await duplex.write(bytes), bytes.length);
  let received = new Uint8Array(0);
  for (;;) {
    const into = new Uint8Array(65_536);
    const length = await duplex.read(into);
    if (length === null) break;
    received = concat(received, into.subarray(0, length));
  }
  const head = parseResponseHead(received);
  assert(head !== undefined, "half a head");
  const { status, headers, byteLength } = head;
  const body = new TextDecoder().decode(received.subarray(byteLength));
  return { status, headers, body };
}

Deno.test(
  "pages and WebSockets come over one listener, of whatever streams",
  bounded(async () => {
    const listener = new Memory();
    const errors: unknown[] = [];
    const server = serve(listener, {
      protocols: ["chat"],
      handler: ({ method, url }) => new Response(`${method} ${url}\n`),
      onConnection: (ws) => ws.forEach((message) => ws.send(message)),
      onError: (error) => errors.push(error),
    });

    const { status, headers, body } = await ask(
      await listener.dial(),
      "GET /page?a=b HTTP/1.1",
      "Host: test",
      "Connection: close",
    );
    // In one chunk (RFC 9112 §7.1): nobody says how long a Response is.
    assertEquals(headers.get("transfer-encoding"), "chunked");
    const page = "GET http://test/page?a=b\n";
    assertEquals(
      [status, body],
      [200, `${page.length.toString(16)}\r\n${page}\r\n0\r\n\r\n`],
    );

    const ws = await connect("ws://test/", {
      protocols: ["chat"],
      dial: () => listener.dial(),
    });
    assertEquals(ws.protocol, "chat");
    for (const message of ["Hello", "é".repeat(40_000)]) {
      const [answer] = await Promise.all([ws.receive(), ws.send(message)]);
      assertEquals(answer, message);
    }
    await ws.close();

    const refused = await rejection(
      connect("ws://test/", {
        origin: "https://evil.example",
        dial: () => listener.dial(),
      }),
    );
    assert(refused instanceof HandshakeError);
    assertEquals(refused.status, 403);
    assertEquals(errors.length, 1);

    const last = await connect("ws://test/", { dial: () => listener.dial() });
    await server.shutdown();
    assertEquals((await last.closed).code, 1001);
    assertEquals(errors.length, 1);
  }),
);

Deno.test(
  "a body is cancelled where its head cannot be written, too",
  bounded(async () => {
    const listener = new Memory();
    const reported = Promise.withResolvers<unknown>();
    const cancelled = Promise.withResolvers<void>();
    const server = serve(listener, {
      handler: () => {
        client.reset();
        return new Response(
          new ReadableStream({ cancel: () => cancelled.resolve() }),
        );
      },
      onConnection: () => {},
      onError: reported.resolve,
    });
    const client = await listener.dial();
    await client.write(utf8("GET / HTTP/1.1\r\nHost: test\r\n\r\n"));
    await cancelled.promise;
    assert(`${await reported.promise}`.includes("reset"));
    await server.shutdown();
  }),
);
