/** What a hostile server could do to a client. */
import { assert, assertEquals } from "@std/assert";
import { connect, type ConnectOptions } from "../connect.ts";
import { permessageDeflate } from "../deflate.ts";
import { encodeFrame, Opcode } from "../frame.ts";
import { acceptKey, HandshakeError, parseRequestHead } from "../handshake.ts";
import { concat, utf8 } from "./_bytes.ts";
import { bounded, quiet } from "./_connection.ts";
import { noise } from "./_hostile.ts";
import { measuredTest } from "./_measured.ts";
import { within } from "./_server.ts";

/** A server that answers one request with any bytes, and then reads. */
async function serveOnce(
  answer: (accept: string) => Uint8Array | AsyncIterable<Uint8Array>,
  act: (url: string) => Promise<void>,
): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    using conn = await listener.accept();
    const buffer = new Uint8Array(4096);
    const length = await conn.read(buffer);
    const head = parseRequestHead(buffer.subarray(0, length ?? 0))!;
    const key = acceptKey(head.headers.get("sec-websocket-key")!);
    const bytes = answer(key);
    const parts = bytes instanceof Uint8Array ? [bytes] : bytes;
    try {
      for await (let part of parts) {
        while (part.length > 0) part = part.subarray(await conn.write(part));
      }
      while (await conn.read(buffer) !== null);
    } catch {
      // The client has had enough.
    }
  })();
  await act(`ws://127.0.0.1:${listener.addr.port}/`);
  await within(serving);
}

function accepted(key: string, ...fields: string[]): Uint8Array<ArrayBuffer> {
  const lines = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${key}`,
    ...fields,
  ];
  return utf8(`${lines.join("\r\n")}\r\n\r\n`);
}

/** What `connect()` rejects with. */
async function refusal(
  url: string,
  options: ConnectOptions = {},
): Promise<HandshakeError> {
  try {
    const ws = await within(connect(url, options));
    ws.terminate();
  } catch (error) {
    assert(error instanceof HandshakeError, `${error}`);
    return error;
  }
  throw new Error("It was taken");
}

measuredTest(
  "interim answers are skipped, and the final one counts (RFC 9110 §15.2)",
  async () => {
    const interim = utf8("HTTP/1.1 100 Continue\r\n\r\n");
    const early = utf8("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    const hello = encodeFrame({ opcode: Opcode.Text, payload: utf8("hello") });
    await serveOnce(
      (key) => concat(interim, early, accepted(key), hello),
      async (url) => {
        const ws = await within(connect(url));
        assertEquals(await within(ws.receive()), "hello");
        ws.terminate();
      },
    );
  },
);

measuredTest(
  "interim answers without end are given up, whatever the time",
  async () => {
    const interim = utf8("HTTP/1.1 100 Continue\r\n\r\n".repeat(7));
    await serveOnce(async function* () {
      for (;;) {
        yield interim;
        await quiet();
      }
    }, async (url) => {
      const { kind, status } = await refusal(url, { handshakeTimeout: 0 });
      assertEquals([kind, status], ["limit", 100]);
    });
  },
);

measuredTest(
  "interim answers that come slowly are given up in time",
  async () => {
    const interim = utf8("HTTP/1.1 100 Continue\r\n\r\n");
    await serveOnce(async function* () {
      for (;;) {
        yield interim;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }, async (url) => {
      const { kind } = await refusal(url, { handshakeTimeout: 300 });
      assertEquals(kind, "timeout");
    });
  },
);

measuredTest("an answer without end, or that is none, is refused", async () => {
  const answers = [
    utf8(`HTTP/1.1 101 A\r\nX: ${"x".repeat(100_000)}`),
    utf8(`HTTP/1.1 101 A\r\n${"X: y\r\n".repeat(200)}\r\n`),
    utf8("HTTP/1.1 101 A\nUpgrade: websocket\n\n"),
    utf8("HTTP/2 101 A\r\n\r\n"),
    utf8("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"),
    utf8("HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\n\r\n"),
    concat(Uint8Array.of(0), noise(1000)),
  ];
  for (const answer of answers) {
    await serveOnce(() => answer, async (url) => {
      await refusal(url);
    });
  }
});

measuredTest("extensions that cannot be used are refused", async () => {
  const extensions = [permessageDeflate()];
  const wrong: [ConnectOptions, string][] = [
    [{}, "permessage-deflate"], // not offered
    [{ extensions }, "x-other"],
    [{ extensions }, "permessage-deflate, permessage-deflate"],
    [{ extensions }, "permessage-deflate; server_max_window_bits=7"],
    [{ extensions }, "permessage-deflate; unknown"],
    [{ extensions }, "permessage-deflate; __proto__"],
    [{ extensions }, ";"],
  ];
  for (const [options, value] of wrong) {
    await serveOnce(
      (key) => accepted(key, `Sec-WebSocket-Extensions: ${value}`),
      async (url) => {
        assertEquals((await refusal(url, options)).kind, "extensions", value);
      },
    );
  }
});

measuredTest(
  "frames of a hostile server fail the connection, and nothing else",
  bounded(async () => {
    const frames: [Uint8Array, number][] = [
      [
        encodeFrame({ opcode: Opcode.Text, payload: utf8("a"), maskingKey: 1 }),
        1002,
      ],
      [Uint8Array.of(0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0), 1009],
      [Uint8Array.of(0x81, 1, 0xff), 1007],
      [Uint8Array.of(0xc1, 1, 0x61), 1002],
      [new Uint8Array(1000).fill(0x09).map((b, i) => i % 2 ? 0 : b), 1002],
    ];
    for (const [bytes, code] of frames) {
      await serveOnce((key) => concat(accepted(key), bytes), async (url) => {
        const ws = await connect(url);
        assertEquals((await within(ws.closed)).code, code);
      });
    }
  }, 60_000),
);
