/**
 * Vulnerabilities of other implementations, by advisory or attack. Each test
 * would fail if the library had the mistake.
 */
import {
  assert,
  assertEquals,
  assertFalse,
  assertNotEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { deflateRawSync } from "node:zlib";
import { accept } from "../accept.ts";
import { connect } from "../connect.ts";
import { permessageDeflate } from "../deflate.ts";
import {
  decodeFrame,
  encodeClosePayload,
  encodeFrame,
  Opcode,
  RSV1,
} from "../frame.ts";
import {
  acceptUpgrade,
  buildUpgradeRequest,
  HandshakeError,
  isOriginAllowed,
  isUpgrade,
  parseExtensions,
  parseRequestHead,
  parseResponseHead,
  readUpgrade,
  rejectUpgrade,
  selectProtocol,
  verifyUpgradeResponse,
} from "../handshake.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { concat, utf8 } from "./_bytes.ts";
import { masked, repeat } from "./_hostile.ts";
import { measuredTest } from "./_measured.ts";
import { request, TestServer, upgrade } from "./_server.ts";

/** The shortest of three runs, in milliseconds. */
function timeOf(act: () => unknown): number {
  return Math.min(...[1, 2, 3].map(() => {
    const began = performance.now();
    act();
    return performance.now() - began;
  }));
}

/** Asserts that time grows in proportion: 16 times as much is not 256. */
function assertLinear(act: (size: number) => unknown): void {
  act(1000);
  const small = timeOf(() => act(4000));
  const large = timeOf(() => act(64_000));
  assert(
    large < Math.max(small, 0.05) * 100,
    `${small} ms have become ${large}`,
  );
}

function heapUsed(): number {
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

function read(text: string): ReturnType<typeof readUpgrade> {
  return readUpgrade(parseRequestHead(utf8(text), LARGE)!);
}

const LARGE = { maxHeadSize: Infinity, maxHeaders: Infinity };

// Denial of service

measuredTest(
  "CVE-2024-37890 (ws): more headers than a server allows for",
  async () => {
    await using server = new TestServer();
    const many = Array.from({ length: 2001 }, (_, i) => `H${i}: x`);
    assertEquals((await server.ask(upgrade("/", ...many))).status, 431);
    // A request within the limit is served or refused, and nothing crashes.
    const upgrades = Array(90).fill("Upgrade: websocket");
    assertEquals((await server.ask(upgrade("/", ...upgrades))).status, 101);
    assertEquals((await server.ask(upgrade())).status, 101);
  },
);

measuredTest(
  "CVE-2021-32640 (ws): Sec-WebSocket-Protocol in quadratic time",
  () => {
    const asked = (value: string) =>
      readUpgrade({
        method: "GET",
        target: "/",
        headers: new Headers({
          "Host": "localhost",
          "Upgrade": "websocket",
          "Connection": "Upgrade",
          "Sec-WebSocket-Version": "13",
          "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
          "Sec-WebSocket-Protocol": value,
        }),
      });
    // parseRequestHead() lets 64 spaces in a row through; others may let more.
    assertLinear((size) => {
      const spaces = " ".repeat(60);
      const names = Array.from({ length: size / 64 }, (_, i) => `p${i}`);
      const value = names.join(`${spaces},`);
      assertEquals(asked(value).protocols.length, names.length);
      const wire = upgrade("/", `Sec-WebSocket-Protocol: ${value}`);
      assertEquals(read(wire).protocols.length, names.length);
      assertThrows(
        () => asked(names.join(`${spaces} `)),
        HandshakeError,
      );
    });
    assertLinear((size) => {
      assertThrows(
        () => asked(`b${" ".repeat(size)}x`),
        HandshakeError,
      );
    });
    assertLinear((size) => {
      const value = Array.from({ length: size / 8 }, (_, i) => `p${i}`).join();
      const { protocols } = read(
        upgrade("/", `Sec-WebSocket-Protocol: ${value}`),
      );
      return selectProtocol(protocols, ["none"]);
    });
  },
);

measuredTest(
  "CVE-2018-1000518 (Python's websockets): a bomb of 1,000 times what was sent",
  () => {
    const extension = permessageDeflate().accept([])!;
    const server = new WebSocketProtocol({
      role: "server",
      extension,
      maxMessageSize: 1024 * 1024,
    });
    const bomb = deflateRawSync(new Uint8Array(64 * 1024 * 1024), {
      finishFlush: 2,
    });
    const before = Deno.memoryUsage().rss;
    server.receive(masked({
      opcode: Opcode.Binary,
      reservedBits: RSV1,
      payload: new Uint8Array(bomb.subarray(0, -4)),
    }));
    const events = [...server];
    assertEquals(events.map((event) => event.type), ["close"]);
    assertEquals(events[0]!.type === "close" && events[0]!.code, 1009);
    assert(Deno.memoryUsage().rss - before < 32 * 1024 * 1024);
  },
);

measuredTest(
  "the extension header of 2017 (ws 3.3.1): names of Object.prototype",
  () => {
    const names = ["constructor", "__proto__", "toString", "hasOwnProperty"];
    for (const name of names) {
      for (
        const header of [name, `x; ${name}=1; ${name}`, `${name}; ${name}`]
      ) {
        const offer = parseExtensions(header);
        assert(offer.every(({ parameters }) => Array.isArray(parameters)));
        const extension = permessageDeflate();
        assertFalse(offer.some((element) => element.name === extension.name));
      }
      const extension = permessageDeflate();
      assertEquals(extension.accept([[name, undefined]]), undefined);
      assertEquals(extension.accept([[name, "1"]]), undefined);
    }
    assertLinear((size) => parseExtensions(`x${"; a".repeat(size / 3)}`));
    assertLinear((size) => parseExtensions(`x; a="${"b".repeat(size)}"`));
    assertLinear((size) => parseExtensions("x,".repeat(size / 2)));
  },
);

measuredTest(
  "CVE-2026-48779 (ws): fragments without end, of a byte or none",
  () => {
    for (const payload of [new Uint8Array(0), new Uint8Array(1)]) {
      const server = new WebSocketProtocol({ role: "server" });
      const first = masked({ opcode: Opcode.Binary, fin: false, payload });
      const more = repeat(
        masked({ opcode: Opcode.Continuation, fin: false, payload }),
        10_000,
      );
      server.receive(first);
      const before = heapUsed();
      let batches = 0;
      while (server.state === "open" && batches < 100) {
        server.receive(more);
        for (const event of server) {
          assertEquals(event.type === "close" && event.code, 1008);
        }
        if (++batches === 12) {
          const held = heapUsed() - before;
          assert(held < 10 * 1024 * 1024, `${held} bytes for an open message`);
        }
      }
      assertEquals(server.state, "failed");
      assertEquals(batches, 14); // 131,072 frames
    }
  },
);

measuredTest(
  "a response with a wrong or missing accept key is refused (RFC 6455 §4.1)",
  () => {
    const sent = buildUpgradeRequest("ws://example.com/");
    const head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" +
      "Connection: Upgrade\r\n";
    const wrong = [
      "",
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    ];
    for (const line of wrong) {
      assertThrows(
        () =>
          verifyUpgradeResponse(
            parseResponseHead(utf8(`${head}${line}\r\n`))!,
            sent,
          ),
        HandshakeError,
      );
    }
  },
);

measuredTest(
  "CVE-2020-7662 (websocket-extensions), quotes that are never closed",
  () => {
    assertLinear((size) =>
      assertThrows(
        () => parseExtensions(`a; b="${"\\c\\".repeat(size / 3)}`),
        HandshakeError,
      )
    );
  },
);

measuredTest(
  "CVE-2020-27813 (gorilla/websocket): lengths that overflow",
  () => {
    // A message whose frames together have more than 2^63 bytes.
    for (const high of [0x7fffffff, 0x80000000, 0xffffffff, 0x001fffff]) {
      const length = new Uint8Array(8);
      new DataView(length.buffer).setUint32(0, high);
      new DataView(length.buffer).setUint32(4, 0xffffffff);
      const server = new WebSocketProtocol({ role: "server" });
      server.receive(concat(
        masked({ opcode: Opcode.Binary, fin: false, payload: utf8("a") }),
        Uint8Array.of(0x00, 0xff, ...length, 0, 0, 0, 0),
      ));
      const [event] = [...server];
      assert(event?.type === "close" && [1002, 1009].includes(event.code));
    }
  },
);

// Memory

measuredTest(
  "CVE-2026-45736, CVE-2016-10518 (ws): no foreign memory goes out",
  () => {
    const server = new WebSocketProtocol({ role: "server" });
    // A number in place of bytes once became a buffer of that many bytes.
    for (const wrong of [100, "100", [1, 2], { length: 100 }]) {
      try {
        server.ping(wrong as unknown as Uint8Array);
      } catch {
        // It may be refused as well.
      }
      const bytes = server.takeOutput();
      if (bytes === undefined) continue;
      const { payload } = decodeFrame(bytes.slice())!.frame;
      assert(payload.every((byte) => byte < 3), `${payload}`);
    }
    assertThrows(
      () => encodeClosePayload("x" as unknown as number),
      RangeError,
    );
    const reason = new Float32Array(20) as unknown as string;
    assertEquals(
      encodeClosePayload(1000, reason).subarray(2),
      utf8(Array(20).fill("0").join()),
    );
    // Buffers that are used again, a secret in them: no more than the frame goes out.
    const first = new WebSocketProtocol({ role: "server" });
    first.sendText("secret ".repeat(100));
    while (first.takeOutput() !== undefined) first.releaseOutput();
    const second = new WebSocketProtocol({ role: "server" });
    second.sendText("a");
    second.close(1000, "b");
    assertEquals(
      second.takeOutput(),
      Uint8Array.of(0x81, 1, 97, 0x88, 3, 0x03, 0xe8, 98),
    );
  },
);

// Requests

measuredTest("request smuggling through an upgrade with a body", async () => {
  const seen: string[] = [];
  await using server = new TestServer({
    handler: ({ url }) => {
      seen.push(url);
      return new Response();
    },
  });
  const bodies = [
    ["Content-Length: 5"],
    ["Transfer-Encoding: chunked"],
    ["Content-Length: 5", "Content-Length: 6"],
    ["Content-Length: 5", "Transfer-Encoding: chunked"],
    ["Content-Length: +5"],
    ["Content-Length: 0x5"],
    ["Transfer-Encoding: xchunked"],
    ["Transfer-Encoding : chunked"],
    ["Content-Length:\u000b5"],
  ];
  for (const fields of bodies) {
    using client = await server.dial();
    await client.write(upgrade("/", ...fields) + request("GET /smuggled"));
    // One answer, and the end.
    const answer = await client.readToEnd();
    assertEquals(answer.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 400"]);
    assertStringIncludes(answer, "\r\nConnection: close\r\n");
  }
  assertEquals(seen, []);
});

measuredTest(
  "WebSocket smuggling (2019): nothing behind a refused upgrade is taken for a request",
  async () => {
    const seen: string[] = [];
    await using server = new TestServer({
      handler: ({ url }) => {
        seen.push(url);
        return new Response();
      },
    });
    // A proxy that takes the upgrade for accepted passes all of it on.
    using client = await server.dial();
    const refused = upgrade("/").replace("Version: 13", "Version: 7");
    await client.write(refused + request("GET /smuggled"));
    const answer = await client.readToEnd();
    assertEquals(answer.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 426"]);
    assertEquals(seen, []);
  },
);

measuredTest(
  "bare LF, folded lines, two Hosts: what two parties read differently",
  () => {
    const heads = [
      "GET / HTTP/1.1\nHost: a\n\n",
      "GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
      "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for (const head of heads) {
      assertThrows(() => parseRequestHead(utf8(head)), HandshakeError);
    }
  },
);

measuredTest("response splitting, and request splitting", () => {
  const asked = read(upgrade("/", "Sec-WebSocket-Protocol: chat"));
  for (const value of ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b"]) {
    assertThrows(
      () => acceptUpgrade(asked, { headers: [["X", value]] }),
      TypeError,
    );
    assertThrows(() => acceptUpgrade(asked, { protocol: value }));
    assertThrows(() => acceptUpgrade(asked, { extensions: value }));
    assertThrows(() =>
      buildUpgradeRequest("ws://a/", { headers: [["X", value]] })
    );
    assertThrows(() => buildUpgradeRequest("ws://a/", { origin: value }));
    assertThrows(() => buildUpgradeRequest("ws://a/", { protocols: value }));
    const said = new TextDecoder().decode(
      rejectUpgrade(new HandshakeError(value, { status: 400 })),
    );
    assertFalse(/^Set-Cookie/m.test(said.split("\r\n\r\n")[0]!));
  }
  // URLs lose line ends before they are parsed, and keep the rest encoded.
  const { bytes } = buildUpgradeRequest("ws://a/\r\nX: b?c d");
  assertEquals(
    new TextDecoder().decode(bytes).split("\r\n")[0],
    "GET /X:%20b?c%20d HTTP/1.1",
  );
});

// The web

/** Records what the system's random source returns, as words of 32 bits. */
function watchedRandomness(words: number[]): Disposable {
  const { getRandomValues } = crypto;
  crypto.getRandomValues = (into) => {
    getRandomValues.call(crypto, into);
    const { buffer, byteOffset, byteLength } = into!;
    words.push(...new Uint32Array(buffer, byteOffset, byteLength / 4));
    return into;
  };
  return {
    [Symbol.dispose]: () => {
      crypto.getRandomValues = getRandomValues;
    },
  };
}

measuredTest(
  "cross-site WebSocket hijacking (CWE-1385): another page's Origin is refused",
  async () => {
    await using server = new TestServer();
    const own = `http://localhost`;
    const others = ["https://evil.example", "null", `${own}.evil.example`]
      .concat([`${own}:1`, "https://localhost.evil.example", "", "localhost"]);
    for (const origin of others) {
      const { status } = await server.ask(upgrade("/", `Origin: ${origin}`));
      assert([400, 403].includes(status), `${origin} got ${status}`);
    }
    assertEquals(
      (await server.ask(upgrade("/", `Origin: ${own}`))).status,
      101,
    );
    for (const allowed of ["https://*.example.com", "https://example.com"]) {
      for (
        const origin of [
          "https://example.com.evil.net",
          "https://evilexample.com",
          "http://example.com",
          "https://example.com:444",
          "https://example.com@evil.net",
          "https://evil.net#.example.com",
          "https://evil.net?.example.com",
          "https://evil.net/.example.com",
        ]
      ) {
        assertFalse(
          isOriginAllowed(origin, [allowed]),
          `${origin}, ${allowed}`,
        );
      }
    }
  },
);

measuredTest(
  "proxy cache poisoning (RFC 6455 §10.3): masking keys are unpredictable",
  () => {
    const client = new WebSocketProtocol({ role: "client" });
    const keys = new Set<number>();
    const order: number[] = [];
    const drawn: number[] = [];
    using _ = watchedRandomness(drawn);
    const bits = new Array<number>(32).fill(0);
    const COUNT = 4000;
    for (let i = 0; i < COUNT; i++) {
      client.sendText("GET /script.js HTTP/1.1");
      const bytes = client.takeOutput()!.slice();
      client.releaseOutput();
      const { maskingKey } = decodeFrame(bytes)!.frame;
      keys.add(maskingKey!);
      order.push(maskingKey!);
      for (let bit = 0; bit < 32; bit++) bits[bit]! += maskingKey! >>> bit & 1;
      assertFalse(new TextDecoder().decode(bytes).includes("GET /script.js"));
    }
    assert(keys.size > COUNT - 10);
    // Each is four bytes of the system's source, but for those that were drawn
    // before, and none is used twice.
    const first = order.findIndex((key) => key === drawn[0]);
    assert(first >= 0 && first < COUNT / 2, `${first}`);
    assertEquals(order.slice(first), drawn.slice(0, COUNT - first));
    // Each bit is as often set as not: 10 standard deviations.
    for (const count of bits) {
      assert(Math.abs(count - COUNT / 2) < 320, `${bits}`);
    }
    // Fragments and control frames have keys of their own.
    client.sendFragment("text", "a");
    client.ping();
    client.sendFragment("text", "b", { fin: true });
    client.close();
    const rest = client.takeOutput()!.slice();
    const used = new Set<number | undefined>();
    for (let offset = 0; offset < rest.length;) {
      const { frame, byteLength } = decodeFrame(rest, { offset })!;
      used.add(frame.maskingKey);
      offset += byteLength;
    }
    assertEquals(used.size, 4);
  },
);

measuredTest(
  "unmasked frames are refused, on which cache poisoning would rest",
  () => {
    const server = new WebSocketProtocol({ role: "server" });
    server.receive(
      encodeFrame({ opcode: Opcode.Text, payload: utf8("GET /") }),
    );
    const [event] = [...server];
    assertEquals(event?.type === "close" && event.code, 1002);
  },
);

measuredTest("prototype pollution: __proto__ and constructor as names", () => {
  const names = ["__proto__", "constructor", "prototype", "toString"];
  for (const name of names) {
    const head = parseRequestHead(utf8(upgrade(`/?${name}=1`, `${name}: x`)))!;
    assertEquals(head.headers.get(name), "x");
    assert(isUpgrade(head));
    const { extensions } = read(
      upgrade("/", `Sec-WebSocket-Extensions: ${name}; ${name}=polluted`),
    );
    assertEquals(extensions[0]!.parameters, [[name, "polluted"]]);
    const asked = read(upgrade("/", `Sec-WebSocket-Protocol: ${name}`));
    assertEquals(selectProtocol(asked.protocols, ["chat"]), undefined);
  }
  assertEquals(Object.keys(Object.prototype), []);
  assertEquals(({} as Record<string, unknown>)["polluted"], undefined);
});

measuredTest(
  "cross-site scripting: what the peer sends is no markup in an answer",
  () => {
    const text = new TextDecoder().decode(rejectUpgrade(
      new HandshakeError("<script>alert(1)</script>", { status: 400 }),
    ));
    assert(/content-type: text\/plain/i.test(text));
  },
);

measuredTest(
  "compression of secrets (CRIME, BREACH): a sender can leave it out",
  () => {
    const extension = permessageDeflate().accept([])!;
    const server = new WebSocketProtocol({ role: "server", extension });
    const lengths = ["secret=aaaa", "secret=bbbb"].map((guess) => {
      server.sendText(`${"secret=aaaa".repeat(50)}${guess}`, {
        compress: false,
      });
      const { length } = server.takeOutput()!;
      server.releaseOutput();
      return length;
    });
    assertEquals(lengths[0], lengths[1]);
    server.sendText("secret=aaaa".repeat(50), { compress: true });
    assertNotEquals(server.takeOutput()!.length, lengths[0]);
    extension.dispose?.();
  },
);

measuredTest(
  "a refused handshake leaves no file and no timer behind",
  async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    // Deno's sanitizers fail this test if anything is left.
    const refused = connect(`ws://127.0.0.1:${port}/`).catch(() => {});
    const conn = await listener.accept();
    await accept(conn, {
      onRequest: () => {
        throw new HandshakeError("No", { status: 401 });
      },
    }).catch(() => {});
    await refused;
    listener.close();
  },
);
