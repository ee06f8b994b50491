import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  acceptKey,
  acceptUpgrade,
  buildUpgradeRequest,
  type BuildUpgradeRequestOptions,
  type ExtensionElement,
  formatExtensions,
  generateKey,
  HandshakeError,
  type HandshakeErrorKind,
  isOriginAllowed,
  isUpgrade,
  parseExtensions,
  type ParseHeadOptions,
  parseRequestHead,
  parseResponseHead,
  readUpgrade,
  rejectUpgrade,
  type RequestHead,
  selectProtocol,
  type UpgradeOffer,
  type UpgradeRequest,
  verifyUpgradeResponse,
} from "../handshake.ts";
import { quote } from "../_quote.ts";
import { reasonPhrase } from "../_reason_phrases.ts";
import { concat, hex, utf8 } from "./_bytes.ts";
import { fc, property } from "./_property.ts";
import {
  fromLatin1,
  latin1,
  parseRequestSlowly,
  parseResponseSlowly,
} from "./_slow_head.ts";

// Helpers

/** RFC 6455 §1.2, the request of the client. */
const RFC_REQUEST = [
  "GET /chat HTTP/1.1",
  "Host: server.example.com",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Origin: http://example.com",
  "Sec-WebSocket-Protocol: chat, superchat",
  "Sec-WebSocket-Version: 13",
];
/** RFC 6455 §1.2, the answer of the server. */
const RFC_RESPONSE = [
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
  "Sec-WebSocket-Protocol: chat",
];
const RFC_KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** The bytes of a head of these lines. */
function head(lines: readonly string[]): Uint8Array<ArrayBuffer> {
  return latin1(lines.map((line) => `${line}\r\n`).join("") + "\r\n");
}

/** Such lines with one left out, if its name says so, and others put in. */
function edit(
  lines: readonly string[],
  without: string,
  ...added: string[]
): string[] {
  const start = `${without.toLowerCase()}:`;
  return [
    ...lines.filter((line) => !line.toLowerCase().startsWith(start)),
    ...added,
  ];
}

function request(lines: readonly string[]): RequestHead {
  const parsed = parseRequestHead(head(lines));
  assert(parsed !== undefined, "more bytes are needed");
  return parsed;
}

function read(lines: readonly string[]): UpgradeRequest {
  return readUpgrade(request(lines));
}

function verify(lines: readonly string[], sent: Partial<UpgradeOffer> = {}) {
  const parsed = parseResponseHead(head(lines));
  assert(parsed !== undefined, "more bytes are needed");
  const offer = { key: RFC_KEY, protocols: ["chat"], extensions: [] };
  return verifyUpgradeResponse(parsed, { ...offer, ...sent });
}

interface Fault {
  status: number;
  kind: HandshakeErrorKind;
  /** What the message has to name. */
  naming?: string;
}

/** Asserts that `act` throws the fault, and returns it. */
function assertRefused(
  act: () => unknown,
  { status, kind, naming = "" }: Fault,
): HandshakeError {
  const error = assertThrows(act, HandshakeError);
  assertEquals([error.status, error.kind], [status, kind], error.message);
  assertStringIncludes(error.message, naming);
  assertMatch(error.message, /^[\x20-\x7e]{1,300}$/);
  return error;
}

function text(bytes: Uint8Array): string {
  return fromLatin1(bytes);
}

function offered(...names: string[]): ExtensionElement[] {
  return names.map((name) => ({ name, parameters: [] }));
}

// Keys

Deno.test("acceptKey: the example of RFC 6455 §1.3 and §4.2.2", () => {
  assertEquals(acceptKey(RFC_KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

Deno.test("acceptKey: the tutorial's key, whose printed answer is wrong", () => {
  // It prints HSmrc0sMlYUkAGmm5OPpG2HaGWk=, which does not agree: that belongs
  // to another key, the one that Wikipedia's example has.
  assertEquals(
    acceptKey("sN9cRrP/n9NdMgdcy2VJFQ=="),
    "fFBooB7FAkLlXgRSz0BT3v4hq5s=",
  );
  assertEquals(
    acceptKey("x3JJHMbDL1EzLkh9GBhXDw=="),
    "HSmrc0sMlYUkAGmm5OPpG2HaGWk=",
  );
});

Deno.test("acceptKey: a text that is no key is digested all the same", () => {
  assertEquals(acceptKey(""), "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=");
  assertNotEquals(acceptKey(`${RFC_KEY} `), acceptKey(RFC_KEY));
  // An earlier digest has no effect.
  assertEquals(acceptKey(RFC_KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

property(
  "acceptKey: as the platform's own digest has it",
  [fc.uint8Array({ minLength: 16, maxLength: 16 })],
  async (nonce) => {
    const key = btoa(fromLatin1(nonce));
    const digest = await crypto.subtle.digest(
      "SHA-1",
      utf8(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`),
    );
    assertEquals(acceptKey(key), btoa(fromLatin1(new Uint8Array(digest))));
  },
);

Deno.test("generateKey: 16 bytes in base64, never the same", () => {
  const keys = Array.from({ length: 1000 }, generateKey);
  for (const key of keys) {
    assertEquals(atob(key).length, 16);
    assertEquals(btoa(atob(key)), key);
  }
  assertEquals(new Set(keys).size, keys.length);
});

// Parsing heads

Deno.test("parseRequestHead: the example of RFC 6455 §1.2", () => {
  const parsed = request(RFC_REQUEST);
  assertEquals(
    [parsed.method, parsed.target, parsed.version, parsed.byteLength],
    ["GET", "/chat", "1.1", head(RFC_REQUEST).length],
  );
  assertInstanceOf(parsed.headers, Headers);
  assertEquals([...parsed.headers], [
    ["connection", "Upgrade"],
    ["host", "server.example.com"],
    ["origin", "http://example.com"],
    ["sec-websocket-key", RFC_KEY],
    ["sec-websocket-protocol", "chat, superchat"],
    ["sec-websocket-version", "13"],
    ["upgrade", "websocket"],
  ]);
});

Deno.test("parseResponseHead: the example of RFC 6455 §1.2", () => {
  const parsed = parseResponseHead(head(RFC_RESPONSE))!;
  assertEquals(
    [parsed.status, parsed.statusText, parsed.version, parsed.byteLength],
    [101, "Switching Protocols", "1.1", head(RFC_RESPONSE).length],
  );
  assertEquals(parsed.headers.get("SEC-WebSocket-protocol"), "chat");
});

Deno.test("heads at every split point, with frames behind", () => {
  const frames = hex`81 85 37 fa 21 3d 7f 9f 4d 51 58`;
  for (
    const [bytes, parse] of [
      [head(RFC_REQUEST), parseRequestHead],
      [concat(utf8("\r\n"), head(RFC_REQUEST)), parseRequestHead],
      [head(RFC_RESPONSE), parseResponseHead],
    ] as const
  ) {
    const all = concat(bytes, frames);
    for (let end = 0; end < bytes.length; end++) {
      assertEquals(parse(all.subarray(0, end)), undefined, `at ${end}`);
    }
    for (let end = bytes.length; end <= all.length; end++) {
      const parsed = parse(all.subarray(0, end));
      assertEquals(parsed?.byteLength, bytes.length);
      assertEquals([...parsed!.headers], [...parse(bytes)!.headers]);
    }
  }
});

Deno.test("heads in the middle of other bytes are left alone", () => {
  const around = concat(hex`00 ff`, head(RFC_REQUEST), hex`81 00`);
  const before = around.slice();
  const parsed = parseRequestHead(around.subarray(2));
  assertEquals(parsed?.target, "/chat");
  assertEquals(around, before);
  // Nor do they keep the bytes, which the caller may use again.
  around.fill(0);
  assertEquals(parsed?.headers.get("host"), "server.example.com");
});

Deno.test("parseRequestHead: accepted, though seldom seen", () => {
  const cases: [lines: string[], name: string, value: string | null][] = [
    [["GET / HTTP/1.1", "host:a"], "Host", "a"],
    [["GET / HTTP/1.1", "HOST: \t a \t "], "Host", "a"],
    [["GET / HTTP/1.1", "Host: a:80"], "Host", "a:80"],
    [["GET / HTTP/1.1", "Host: [::1]:80"], "Host", "[::1]:80"],
    [["GET / HTTP/1.1", "Host: a", "X:"], "X", ""],
    [["GET / HTTP/1.1", "Host: a", "X: a", "x: b"], "X", "a, b"],
    [["GET / HTTP/1.1", "Host: a", "X: a:b"], "X", "a:b"],
    [["GET / HTTP/1.1", "Host: a", "X: a\tb"], "X", "a\tb"],
    // obs-text is ISO-8859-1, not windows-1252 and not UTF-8.
    [
      ["GET / HTTP/1.1", "Host: a", "X: \x80\x9f\xa0\xe4\xff"],
      "X",
      "\x80\x9f\xa0\xe4\xff",
    ],
    [
      ["GET / HTTP/1.1", "Host: a", "!#$%&'*+-.^_`|~09aZ: x"],
      "!#$%&'*+-.^_`|~09az",
      "x",
    ],
    [["GET / HTTP/1.1", "Host: a", "__proto__: x"], "__proto__", "x"],
    [["GET / HTTP/1.1", "Host: a", "constructor: x"], "constructor", "x"],
    [["GET / HTTP/1.1", "Host: a"], "constructor", null],
    [["GET / HTTP/1.0"], "Host", null],
    [["GET / HTTP/1.2", "Host: a"], "Host", "a"],
    [["GET http://b/c?d HTTP/1.1", "Host: a"], "Host", "a"],
    [["OPTIONS * HTTP/1.1", "Host: a"], "Host", "a"],
    [["CONNECT a:443 HTTP/1.1", "Host: a:443"], "Host", "a:443"],
    [
      ["POST /?a=b HTTP/1.1", "Host: a", "Content-Length: 5"],
      "Content-Length",
      "5",
    ],
    [
      ["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"],
      "Transfer-Encoding",
      "chunked",
    ],
    [['GET /"<>\\^`{|}?"<>\\^`{|} HTTP/1.1', "Host: a"], "Host", "a"],
  ];
  for (const [lines, name, value] of cases) {
    assertEquals(request(lines).headers.get(name), value, lines.join("\n"));
  }
});

Deno.test("parseRequestHead: any printable ASCII is a target, but for #", () => {
  for (let code = 0x21; code <= 0x7e; code++) {
    const target = `/${String.fromCharCode(code)}`;
    const bytes = utf8(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    if (target === "/#") {
      const fault = { status: 400, kind: "malformed", naming: "[#]" } as const;
      assertRefused(() => parseRequestHead(bytes), fault);
    } else assertEquals(parseRequestHead(bytes)?.target, target);
  }
});

Deno.test("parseRequestHead: refused, at the byte that shows it", () => {
  const malformed = { status: 400, kind: "malformed" } as const;
  const host = { status: 400, kind: "host" } as const;
  const target = { status: 400, kind: "target" } as const;
  const body = { status: 400, kind: "body" } as const;
  const start = "GET / HTTP/1.1\r\nHost: a\r\n";
  // Each text ends with the byte that is one too much.
  const cases: [text: string, fault: Fault][] = [
    ["\x16", { ...malformed, naming: "TLS" }],
    ["\n", { ...malformed, naming: "a bare LF" }],
    ["\rG", { ...malformed, naming: "a bare CR" }],
    ["\r\n\r", malformed],
    [" ", malformed],
    ["GET\t", malformed],
    ["G(", { ...malformed, naming: "[(]" }],
    ["G\xe9", { ...malformed, naming: "[0xe9]" }],
    ["G\x7f", { ...malformed, naming: "[0x7f]" }],
    ["GET / HTTP/1.x", { ...malformed, naming: "[x]" }],
    ["GET  ", { ...malformed, naming: "[0x20]" }],
    ["GET / H~", { ...malformed, naming: "[~]" }],
    ["GET\r", malformed],
    ["GET\n", malformed],
    ["GET  ", malformed],
    ["GET /\r", malformed],
    ["GET /\n", { ...malformed, naming: "a bare LF" }],
    ["GET /\t", malformed],
    ["GET /\0", malformed],
    ["GET /\x7f", malformed],
    ["GET /\xe9", malformed],
    ["GET /#", { ...malformed, naming: "[#]" }],
    ["GET /  ", malformed],
    ["GET / h", malformed],
    ["GET / HTTP/a", malformed],
    ["GET / HTTP/1,", malformed],
    ["GET / HTTP/1.x", malformed],
    ["GET / HTTP/1.10", malformed],
    ["GET / HTTP/1.1 ", malformed],
    ["GET / HTTP/1.1\n", { ...malformed, naming: "a bare LF" }],
    ["GET / HTTP/1.1\rH", { ...malformed, naming: "a bare CR" }],
    ["GET / HTTP/2.0", { status: 505, kind: "http-version", naming: "[2]" }],
    ["PRI * HTTP/2.0", { status: 505, kind: "http-version" }],
    ["GET / HTTP/0.9", { status: 505, kind: "http-version" }],
    [`${start}\n`, { ...malformed, naming: "a bare LF" }],
    [`${start}\rX`, { ...malformed, naming: "a bare CR" }],
    [`${start}:`, malformed],
    [`${start} `, { ...malformed, naming: "folding" }],
    [`${start}\t`, { ...malformed, naming: "folding" }],
    [`${start}X `, { ...malformed, naming: "whitespace" }],
    [`${start}X\t`, { ...malformed, naming: "whitespace" }],
    [`${start}X\r`, malformed],
    [`${start}X(`, { ...malformed, naming: "[(]" }],
    [`${start}X\0`, { ...malformed, naming: "[0x00]" }],
    [`${start}\xe9`, malformed],
    [`${start}X: \0`, { ...malformed, naming: "[0x00]" }],
    [`${start}X: \x08`, malformed],
    [`${start}X: \x0b`, malformed],
    [`${start}X: \x1f`, malformed],
    [`${start}X: \x7f`, malformed],
    [`${start}X: y\n`, { ...malformed, naming: "a bare LF" }],
    [`${start}X: y\r\r`, { ...malformed, naming: "a bare CR" }],
    [`${start}X: y\rz`, { ...malformed, naming: "a bare CR" }],
    [`${start}X: y\r\n z`.slice(0, -1), { ...malformed, naming: "folding" }],
    // What only the end of the head can show.
    ["GET / HTTP/1.1\r\n\r\n", { ...host, naming: "missing" }],
    [`${start}Host: a\r\n\r\n`, { ...host, naming: "[a, a]" }],
    [`${start}host: b\r\n\r\n`, host],
    ["GET / HTTP/1.1\r\nHost:\r\n\r\n", host],
    ["GET / HTTP/1.1\r\nHost: a b\r\n\r\n", host],
    ["GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", host],
    ["GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", host],
    ["GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", host],
    ["GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", host],
    ["GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", host],
    ["GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", host],
    ["GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", host],
    ["GET * HTTP/1.1\r\nHost: a\r\n\r\n", { ...target, naming: "[*]" }],
    ["GET a HTTP/1.1\r\nHost: a\r\n\r\n", target],
    ["GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", target],
    ["GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", target],
    ["GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", target],
    ["CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", target],
    ["CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", target],
    [`${start}Content-Length: 1\r\nContent-Length: 1\r\n\r\n`, body],
    [`${start}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`, body],
    [`${start}Content-Length: -1\r\n\r\n`, { ...body, naming: "[-1]" }],
    [`${start}Content-Length: +1\r\n\r\n`, body],
    [`${start}Content-Length: 0x1\r\n\r\n`, body],
    [`${start}Content-Length:\r\n\r\n`, body],
    [`${start}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n`, body],
    ["GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", body],
  ];
  for (const [text, fault] of cases) {
    const bytes = latin1(text);
    const before = bytes.subarray(0, -1);
    assertEquals(parseRequestHead(before), undefined, JSON.stringify(text));
    assertRefused(() => parseRequestHead(bytes), fault);
    // Whatever comes behind it.
    const more = concat(bytes, head(RFC_REQUEST));
    assertRefused(() => parseRequestHead(more), fault);
  }
});

Deno.test("parseResponseHead: accepted, though seldom seen", () => {
  const cases: [line: string, status: number, statusText: string][] = [
    ["HTTP/1.1 101", 101, ""],
    ["HTTP/1.1 101 ", 101, ""],
    ["HTTP/1.1 200 \t\xe9", 200, "\t\xe9"],
    ["HTTP/1.0 502 Bad Gateway", 502, "Bad Gateway"],
    ["HTTP/1.1 999 Go away", 999, "Go away"],
  ];
  for (const [line, status, statusText] of cases) {
    const parsed = parseResponseHead(head([line]))!;
    assertEquals([parsed.status, parsed.statusText], [status, statusText]);
  }
});

Deno.test("parseResponseHead: refused, at the byte that shows it", () => {
  const malformed = { status: 0, kind: "malformed" } as const;
  const start = "HTTP/1.1 101 Switching Protocols\r\n";
  const cases: [text: string, fault: Fault][] = [
    ["\r", malformed],
    ["SSH-2.0-OpenSSH".slice(0, 1), malformed],
    ["HTTP/1.1\r", malformed],
    ["HTTP/1.1\t", malformed],
    ["HTTP/1.1 0", malformed],
    ["HTTP/1.1 1x", malformed],
    ["HTTP/1.1 10 ", malformed],
    ["HTTP/1.1 1011", malformed],
    ["HTTP/1.1 101 \0", malformed],
    ["HTTP/1.1 101 a\n", { ...malformed, naming: "a bare LF" }],
    ["HTTP/1.1 101\n", { ...malformed, naming: "a bare LF" }],
    ["HTTP/1.1 101\rX", { ...malformed, naming: "a bare CR" }],
    ["HTTP/1.1x", { ...malformed, naming: "[x] in the version" }],
    [
      "HTTP/2.0",
      { status: 0, kind: "http-version", naming: "must be 1, got [2]" },
    ],
    [`${start} `, { ...malformed, naming: "folding" }],
    [`${start}X `, { ...malformed, naming: "whitespace" }],
    [`${start}X: \n`, { ...malformed, naming: "a bare LF" }],
    [`${start}X: \0`, { ...malformed, naming: "[0x00]" }],
    [`${start}\n`, { ...malformed, naming: "a bare LF" }],
  ];
  for (const [text, fault] of cases) {
    const bytes = latin1(text);
    const before = bytes.subarray(0, -1);
    assertEquals(parseResponseHead(before), undefined, JSON.stringify(text));
    assertRefused(() => parseResponseHead(bytes), fault);
  }
});

Deno.test("heads: the limit in bytes is that of the head, not of what follows", () => {
  const bytes = head(RFC_REQUEST);
  const all = concat(bytes, new Uint8Array(100));
  assert(parseRequestHead(all, { maxHeadSize: bytes.length }));
  const maxHeadSize = bytes.length - 1;
  const fault = {
    status: 431,
    kind: "limit",
    naming: `(${maxHeadSize} bytes)`,
  } as const;
  assertRefused(() => parseRequestHead(all, { maxHeadSize }), fault);
  assertRefused(() => parseRequestHead(bytes, { maxHeadSize }), fault);
  assertRefused(
    () => parseRequestHead(bytes.subarray(0, maxHeadSize), { maxHeadSize }),
    fault,
  );
  const before = bytes.subarray(0, maxHeadSize - 1);
  assertEquals(parseRequestHead(before, { maxHeadSize }), undefined);
  const response = head(RFC_RESPONSE);
  assertRefused(
    () => parseResponseHead(response, { maxHeadSize: response.length - 1 }),
    { status: 0, kind: "limit" },
  );
  // Nor does one come that has not ended at the limit.
  const part = response.subarray(0, 50);
  assertEquals(parseResponseHead(part, { maxHeadSize: 51 }), undefined);
  assertRefused(
    () => parseResponseHead(part, { maxHeadSize: 50 }),
    { status: 0, kind: "limit", naming: "(50 bytes)" },
  );
});

Deno.test("heads: a long value of ISO-8859-1, character by character", () => {
  const value = Array.from(
    { length: 10_000 },
    (_, i) => String.fromCharCode(0xa1 + i % 0x5f),
  ).join("");
  const lines = ["GET / HTTP/1.1", "Host: a", `X: ${value}`];
  assertEquals(request(lines).headers.get("X"), value);
});

Deno.test("heads: 16 KiB by default, in any part", () => {
  const fault = {
    status: 431,
    kind: "limit",
    naming: "(16384 bytes)",
  } as const;
  const long = "a".repeat(16_384);
  for (
    const start of ["", "GET /", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nX:"]
  ) {
    const bytes = utf8(start + long);
    assertEquals(parseRequestHead(bytes.subarray(0, 16_383)), undefined);
    assertRefused(() => parseRequestHead(bytes.subarray(0, 16_384)), fault);
    assert(parseRequestHead(bytes, { maxHeadSize: Infinity }) === undefined);
  }
});

Deno.test("heads: 100 header fields by default", () => {
  const lines = (count: number) => [
    "GET / HTTP/1.1",
    "Host: a",
    ...Array.from({ length: count - 1 }, (_, i) => `X-${i}: ${i}`),
  ];
  assertEquals([...request(lines(100)).headers].length, 100);
  const fault = { status: 431, kind: "limit", naming: "(100)" } as const;
  assertRefused(() => request(lines(101)), fault);
  const options: ParseHeadOptions = { maxHeaders: 101 };
  assert(parseRequestHead(head(lines(101)), options));
  assertRefused(
    () => parseResponseHead(head(RFC_RESPONSE), { maxHeaders: 3 }),
    { status: 0, kind: "limit", naming: "(3)" },
  );
  const least = ["HTTP/1.1 200 OK", "X: 1"];
  assertEquals(
    parseResponseHead(head(least), { maxHeaders: 1 })?.headers.get("X"),
    "1",
  );
});

Deno.test("heads: limits that make no sense are the programmer's error", () => {
  for (const value of [0, -1, 1.5, NaN]) {
    for (const parse of [parseRequestHead, parseResponseHead]) {
      const bytes = new Uint8Array();
      assertThrows(() => parse(bytes, { maxHeadSize: value }), RangeError);
      assertThrows(() => parse(bytes, { maxHeaders: value }), RangeError);
    }
  }
});

Deno.test("heads: spaces in a value, before Headers choke on them", () => {
  const lines = (
    spaces: string,
  ) => ["GET / HTTP/1.1", "Host: a", `X: a${spaces}b`];
  const most = " \t".repeat(32);
  assertEquals(request(lines(most)).headers.get("X"), `a${most}b`);
  const fault = { status: 400, kind: "malformed", naming: " 64 " } as const;
  assertRefused(() => request(lines(`${most} `)), fault);
  const [, ...fields] = lines(`${most} `);
  assertRefused(
    () => parseResponseHead(head(["HTTP/1.1 200 OK", ...fields])),
    { ...fault, status: 0 },
  );
  // Those around a value go before they can do harm.
  const around = [...lines("").slice(0, 2), `X:${most}${most}a${most}${most}`];
  assertEquals(request(around).headers.get("X"), "a");
});

Deno.test("heads that trickle in byte by byte do not cost much", () => {
  const bytes = utf8(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(16_400)}`);
  const start = performance.now();
  for (let end = 1; end < 16_384; end++) {
    assert(parseRequestHead(bytes.subarray(0, end)) === undefined);
  }
  // About 0.1 s; quadratic time would take far longer.
  assert(performance.now() - start < 5000);
});

const TCHARS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ" +
  "KLMNOPQRSTUVWXYZ";
const token = fc.string({
  unit: fc.constantFrom(...TCHARS),
  minLength: 1,
  maxLength: 8,
});
const fieldValue = fc.string({
  unit: fc.oneof(
    fc.constantFrom(" ", "\t", ",", ":", ";", '"'),
    fc.integer({ min: 0x20, max: 0x7e }).map((code) =>
      String.fromCharCode(code)
    ),
    fc.integer({ min: 0x80, max: 0xff }).map((code) =>
      String.fromCharCode(code)
    ),
  ),
  maxLength: 12,
});
const fieldName = fc.oneof(
  token,
  fc.constantFrom(
    "__proto__",
    "constructor",
    "Set-Cookie",
    "hasOwnProperty",
    "Upgrade",
  ),
);
const fieldLines = fc.array(fc.tuple(fieldName, fieldValue), { maxLength: 8 });
const requestText = fc.tuple(
  fc.constantFrom("", "", "\r\n"),
  token,
  fc.constantFrom("/", "/chat?a=b", "http://a/", "*"),
  fieldLines,
).map(([empty, method, target, fields]) =>
  `${empty}${method} ${target} HTTP/1.1\r\nHost: a\r\n${
    fields.map(([name, value]) => `${name}:${value}\r\n`).join("")
  }\r\n`
);
/** A few bytes put in, taken out or changed. */
const edits = fc.array(
  fc.tuple(
    fc.nat(200),
    fc.nat(2),
    fc.constantFrom("", "\r", "\n", "\r\n", " ", "\t", ":", "\0", "a", "\xe9"),
  ),
  { maxLength: 3 },
);

function damage(text: string, changes: [number, number, string][]): string {
  for (const [at, length, replacement] of changes) {
    const index = at % (text.length + 1);
    text = text.slice(0, index) + replacement + text.slice(index + length);
  }
  return text;
}

property(
  "parseRequestHead: as the slow one, and as Headers have it",
  [requestText, edits],
  (text, changes) => {
    const bytes = latin1(damage(text, changes));
    const slow = parseRequestSlowly(bytes);
    let fast;
    try {
      fast = parseRequestHead(bytes);
    } catch (error) {
      assertInstanceOf(error, HandshakeError);
      // Faults in what the grammar allows.
      const isJudgement = ["host", "body", "target"].includes(error.kind);
      assert(slow === undefined || isJudgement, error.message);
      return;
    }
    assertEquals(fast?.byteLength, slow?.byteLength);
    if (fast === undefined || slow === undefined) return;
    assertEquals(
      [fast.method, fast.target, fast.version],
      [slow.method, slow.target, slow.version],
    );
    assertEquals([...fast.headers], [...new Headers(slow.fields)]);
  },
);

property(
  "parseResponseHead: as the slow one, and as Headers have it",
  [fieldLines, fc.integer({ min: 100, max: 999 }), fieldValue, edits],
  (fields, status, reason, changes) => {
    const lines = fields.map(([name, value]) => `${name}:${value}`);
    const text = fromLatin1(head([`HTTP/1.1 ${status} ${reason}`, ...lines]));
    const bytes = latin1(damage(text, changes));
    const slow = parseResponseSlowly(bytes);
    let fast;
    try {
      fast = parseResponseHead(bytes);
    } catch (error) {
      assertInstanceOf(error, HandshakeError);
      assertEquals(slow, undefined);
      return;
    }
    assertEquals(fast?.byteLength, slow?.byteLength);
    if (fast === undefined || slow === undefined) return;
    assertEquals(
      [fast.status, fast.statusText, fast.version],
      [slow.status, slow.statusText, slow.version],
    );
    assertEquals([...fast.headers], [...new Headers(slow.fields)]);
  },
);

property(
  "heads: how the bytes are cut does not matter",
  [requestText, edits],
  (text, changes) => {
    const bytes = latin1(damage(text, changes));
    const verdict = (end: number) => {
      try {
        const parsed = parseRequestHead(bytes.subarray(0, end));
        return parsed && [parsed.byteLength, ...parsed.headers];
      } catch (error) {
        assertInstanceOf(error, HandshakeError);
        return error.message;
      }
    };
    let first: unknown;
    for (let end = 0; end <= bytes.length; end++) {
      const now = verdict(end);
      if (first !== undefined) assertEquals(now, first);
      first ??= now;
    }
  },
);

property(
  "heads: any bytes give a head, undefined or a HandshakeError",
  [fc.uint8Array({ maxLength: 64 })],
  (bytes) => {
    for (const parse of [parseRequestHead, parseResponseHead]) {
      try {
        parse(bytes);
      } catch (error) {
        assertInstanceOf(error, HandshakeError);
      }
    }
  },
);

// The server: reading a request

Deno.test("readUpgrade: the example of RFC 6455 §1.2", () => {
  const upgrade = read(RFC_REQUEST);
  assertEquals(upgrade.key, RFC_KEY);
  assertEquals(upgrade.protocols, ["chat", "superchat"]);
  assertEquals(upgrade.extensions, []);
  assertEquals(upgrade.origin, "http://example.com");
  assertEquals(upgrade.host, "server.example.com");
  assertEquals(upgrade.target, "/chat");
  assertEquals(upgrade.headers.get("Upgrade"), "websocket");
});

Deno.test("readUpgrade: what browsers and proxies send", () => {
  const cases: [without: string, ...added: string[]][] = [
    ["Connection", "connection: keep-alive, Upgrade"],
    ["Connection", "CONNECTION: UPGRADE"],
    ["Connection", "Connection: keep-alive", "Connection: ,\t upgrade ,"],
    ["Upgrade", "upgrade: WebSocket"],
    ["Upgrade", "Upgrade: h2c, websocket"],
    ["-", "Content-Length: 0"],
    ["-", "Content-Length: 000"],
    ["-", "Sec-Fetch-Mode: websocket", "Cookie: a=b", "DNT: 1"],
  ];
  for (const [without, ...added] of cases) {
    const lines = edit(RFC_REQUEST, without, ...added);
    assert(isUpgrade(request(lines)));
    assertEquals(read(lines).key, RFC_KEY, added.join("\n"));
  }
  assertEquals(read(edit(RFC_REQUEST, "Origin")).origin, undefined);
});

Deno.test("readUpgrade: several subprotocol and extension headers are one", () => {
  const upgrade = read(edit(
    RFC_REQUEST,
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Protocol: a,b",
    "Sec-WebSocket-Extensions: x; p",
    "sec-websocket-protocol: ,c ,, d",
    'sec-websocket-extensions: y; q="1", x; q=2; q=3',
  ));
  assertEquals(upgrade.protocols, ["a", "b", "c", "d"]);
  assertEquals(upgrade.extensions, [
    { name: "x", parameters: [["p", undefined]] },
    { name: "y", parameters: [["q", "1"]] },
    { name: "x", parameters: [["q", "2"], ["q", "3"]] },
  ]);
});

Deno.test("readUpgrade: refused", () => {
  const key = { status: 400, kind: "key" } as const;
  const version = { status: 426, kind: "version" } as const;
  const protocol = { status: 400, kind: "protocol" } as const;
  const extensions = { status: 400, kind: "extensions" } as const;
  const connection = { status: 400, kind: "connection" } as const;
  const body = { status: 400, kind: "body" } as const;
  const KEY = "Sec-WebSocket-Key";
  const cases: [without: string, added: string[], fault: Fault][] = [
    ["Connection", [], { ...connection, naming: "missing" }],
    ["Connection", ["Connection: close"], { ...connection, naming: "[close]" }],
    ["Connection", ["Connection: upgraded"], connection],
    ["Connection", ["Connection: keep-alive Upgrade"], connection],
    [KEY, [], { ...key, naming: "missing" }],
    [KEY, [`${KEY}:`], key],
    [KEY, [`${KEY}: ${RFC_KEY}`, `${KEY}: ${RFC_KEY}`], key],
    [KEY, [`${KEY}: ${RFC_KEY}, ${RFC_KEY}`], key],
    // 15 and 17 bytes, no base64, the alphabet of URLs, no padding.
    [KEY, [`${KEY}: ${btoa("123456789012345")}`], key],
    [KEY, [`${KEY}: ${btoa("12345678901234567")}`], key],
    [KEY, [`${KEY}: dGhlIHNhbXBsZSBub25jZ!==`], { ...key, naming: "jZ!==]" }],
    [KEY, [`${KEY}: _-hlIHNhbXBsZSBub25jZQ==`], key],
    [KEY, [`${KEY}: dGhlIHNhbXBsZSBub25jZQ`], key],
    [KEY, [`${KEY}: dGhlIHNhbXBsZSBub25jZQ=`], key],
    [KEY, [`${KEY}: dGhlIHNhbXBsZSBub25jZQ===`], key],
    [KEY, [`${KEY}: dGhlIHNhbXBs ZSBub25jZQ==`], key],
    // The spare bits of the last digit are set: another text, the same bytes.
    [KEY, [`${KEY}: dGhlIHNhbXBsZSBub25jZR==`], key],
    ["Sec-WebSocket-Version", [], { ...version, naming: "missing" }],
    ...["12", "8", "14", "013", "13, 8", "0", "13a", ""].map((value) =>
      ["Sec-WebSocket-Version", [`Sec-WebSocket-Version: ${value}`], {
        ...version,
        naming: `[${value}]`,
      }] as [string, string[], Fault]
    ),
    ["-", ["Sec-WebSocket-Version: 13"], { ...version, naming: "[13, 13]" }],
    ["Sec-WebSocket-Protocol", ["Sec-WebSocket-Protocol:"], protocol],
    ["Sec-WebSocket-Protocol", ["Sec-WebSocket-Protocol: ,"], protocol],
    ["Sec-WebSocket-Protocol", ["Sec-WebSocket-Protocol: a b"], protocol],
    ["Sec-WebSocket-Protocol", ["Sec-WebSocket-Protocol: a\xa0"], protocol],
    ["Sec-WebSocket-Protocol", ["Sec-WebSocket-Protocol: a, b;c"], protocol],
    ["-", ["Sec-WebSocket-Protocol: chat"], {
      ...protocol,
      naming: "chat, chat",
    }],
    ["-", ["Sec-WebSocket-Extensions:"], extensions],
    ["-", ["Sec-WebSocket-Extensions: a;"], extensions],
    ["-", ["Content-Length: 5"], { ...body, naming: "[5]" }],
    ["-", ["Content-Length: 00000000000000000001"], body],
    ["-", ["Transfer-Encoding: chunked"], { ...body, naming: "[chunked]" }],
    ["-", ["Transfer-Encoding: identity"], body],
  ];
  for (const [without, added, fault] of cases) {
    const lines = edit(RFC_REQUEST, without, ...added);
    assert(isUpgrade(request(lines)), "a fault is answered, not served");
    assertRefused(() => read(lines), fault);
  }
});

Deno.test("readUpgrade: a fault is named, with what it should be", () => {
  for (
    const [line, kind, naming] of [
      ["Sec-WebSocket-Version: 8", "version", "must be 13, got [8]"],
      ["Sec-WebSocket-Key: no", "key", "16 bytes in base64, once, got [no]"],
    ] as const
  ) {
    const [name] = line.split(":");
    const error = assertThrows(
      () => read(edit(RFC_REQUEST, name!, line)),
      HandshakeError,
      naming,
    );
    assertEquals(error.kind, kind);
  }
});

Deno.test("readUpgrade: refused for the request line", () => {
  const [, ...fields] = RFC_REQUEST;
  for (const method of ["POST", "HEAD", "get", "PUT", "OPTIONS"]) {
    const error = assertRefused(
      () => read([`${method} / HTTP/1.1`, ...fields]),
      {
        status: 405,
        kind: "method",
        naming: `[${method}]`,
      },
    );
    assertEquals(error.headers.get("Allow"), "GET");
  }
  assertRefused(() => read(["GET / HTTP/1.0", ...fields]), {
    status: 505,
    kind: "http-version",
    naming: "[1.0]",
  });
});

Deno.test("readUpgrade: 426 says which version, and to what to upgrade", () => {
  for (const without of ["Sec-WebSocket-Version", "Upgrade"]) {
    const lines = edit(RFC_REQUEST, without);
    const error = assertThrows(() => read(lines), HandshakeError);
    assertEquals(error.status, 426);
    assertEquals(error.headers.get("Sec-WebSocket-Version"), "13");
    const answer = text(rejectUpgrade(error));
    assertStringIncludes(answer, "HTTP/1.1 426 Upgrade Required\r\n");
    assertStringIncludes(answer, "\r\nConnection: close, Upgrade\r\n");
    assertStringIncludes(answer, "\r\nUpgrade: websocket\r\n");
    assertMatch(answer, /\r\nsec-websocket-version: 13\r\n/i);
  }
});

Deno.test("isUpgrade: a page is served unless Upgrade names websocket", () => {
  assertFalse(isUpgrade(request(["GET / HTTP/1.1", "Host: a"])));
  assertFalse(isUpgrade(request(edit(RFC_REQUEST, "Upgrade"))));
  for (const value of ["h2c", "TLS/1.0", "", "websocke", "websockets"]) {
    const lines = edit(RFC_REQUEST, "Upgrade", `Upgrade: ${value}`);
    assertFalse(isUpgrade(request(lines)), value);
    assertRefused(() => read(lines), { status: 426, kind: "upgrade" });
  }
  const [, ...fields] = RFC_REQUEST;
  assert(isUpgrade(request(["POST / HTTP/1.0", ...fields])));
  assert(
    isUpgrade({
      method: "GET",
      headers: new Headers({ upgrade: "WebSocket" }),
    }),
  );
});

Deno.test("readUpgrade: the target and the host that it was asked for", () => {
  const [, ...fields] = RFC_REQUEST;
  // RFC 9112 §3.2.2: an absolute-form goes before Host.
  const cases: [target: string, host: string, path: string][] = [
    ["/chat?a=b", "server.example.com", "/chat?a=b"],
    ["//chat", "server.example.com", "//chat"],
    ["http://other:81/chat?a", "other:81", "/chat?a"],
    ["WS://other", "other", "/"],
    ["ws://other?a", "other", "/?a"],
    ["https://[::1]:80/", "[::1]:80", "/"],
  ];
  for (const [target, host, path] of cases) {
    const upgrade = read([`GET ${target} HTTP/1.1`, ...fields]);
    assertEquals([upgrade.host, upgrade.target], [host, path]);
  }
  const fault = { status: 400, kind: "host" } as const;
  assertRefused(() => read(["GET http://u@a/ HTTP/1.1", ...fields]), fault);
  assertRefused(() => read(["GET http://a:b/ HTTP/1.1", ...fields]), fault);
});

Deno.test("readUpgrade: takes anything with a method and Headers", () => {
  const { headers } = request(RFC_REQUEST);
  const plain = readUpgrade({ method: "GET", headers });
  assertEquals([plain.host, plain.target], ["server.example.com", "/"]);
  assertEquals(plain.protocols, ["chat", "superchat"]);
  assertEquals(plain.headers, headers);

  const named = readUpgrade({ method: "GET", headers, url: "http://b/c?d" });
  assertEquals([named.host, named.target], ["server.example.com", "/c?d"]);
  const relative = readUpgrade({ method: "GET", headers, url: "/c?d" });
  assertEquals(relative.target, "/c?d");

  const without = new Headers(headers);
  without.delete("Host");
  const url = "https://b:8443/";
  const noHost = readUpgrade({ method: "GET", headers: without, url });
  assertEquals(noHost.host, "b:8443");
  const fault = { status: 400, kind: "host" } as const;
  assertRefused(() => readUpgrade({ method: "GET", headers: without }), fault);
  without.append("Host", "a");
  without.append("Host", "b");
  assertRefused(() => readUpgrade({ method: "GET", headers: without }), fault);
  assertRefused(
    () => readUpgrade({ method: "GET", headers, target: "*" }),
    { status: 400, kind: "target", naming: "[*]" },
  );
});

Deno.test("readUpgrade: Headers that were changed come first", () => {
  const parsed = request(RFC_REQUEST);
  parsed.headers.set("Sec-WebSocket-Protocol", "other");
  assertEquals(readUpgrade(parsed).protocols, ["other"]);
  parsed.headers.delete("Upgrade");
  assertFalse(isUpgrade(parsed));
});

property(
  "readUpgrade: reads our own heads as it reads real Headers",
  [
    fc.array(
      fc.constantFrom(
        ...RFC_REQUEST.slice(2),
        "upgrade: h2c",
        "CONNECTION: close",
        "Sec-WebSocket-Extensions: a; b=1",
        "Sec-WebSocket-Protocol: \t",
        "Origin: null",
      ),
      { maxLength: 12 },
    ),
    fc.constantFrom([], ["Content-Length: 0"], ["Transfer-Encoding: chunked"]),
  ],
  (fields, body) => {
    const lines = [...fields, ...body];
    const parsed = request(["GET /chat HTTP/1.1", "Host: a", ...lines]);
    const headers = new Headers(
      ["Host: a", ...lines].map((line) => line.split(": ") as [string, string]),
    );
    const outcome = (act: () => UpgradeRequest) => {
      try {
        const { key, protocols, extensions, origin, host, target } = act();
        return { key, protocols, extensions, origin, host, target };
      } catch (error) {
        assertInstanceOf(error, HandshakeError);
        return [error.status, error.kind, error.message, ...error.headers];
      }
    };
    assertEquals(
      outcome(() => readUpgrade(parsed)),
      outcome(() => readUpgrade({ method: "GET", target: "/chat", headers })),
    );
  },
);

// The server: answering

Deno.test("acceptUpgrade: the example of RFC 6455 §1.2", () => {
  const bytes = acceptUpgrade(read(RFC_REQUEST), { protocol: "chat" });
  assertEquals(bytes, head(RFC_RESPONSE));
});

Deno.test("acceptUpgrade: nothing is chosen unless said so", () => {
  const lines = [...RFC_REQUEST, "Sec-WebSocket-Extensions: x"];
  const answer = text(acceptUpgrade(read(lines)));
  assertEquals(answer, text(head(RFC_RESPONSE.slice(0, -1))));
  const empty = acceptUpgrade(read(lines), {
    protocol: undefined,
    extensions: [],
    headers: [],
  });
  assertEquals(text(empty), answer);
  assertEquals(text(acceptUpgrade(read(lines), { extensions: "" })), answer);
});

Deno.test("acceptUpgrade: extensions, as a list or as text", () => {
  const lines = [...RFC_REQUEST, "Sec-WebSocket-Extensions: x; a, y"];
  const extensions: ExtensionElement[] = [
    { name: "x", parameters: [["a", "1"], ["b", undefined]] },
  ];
  for (const option of [extensions, "x;a=1;b"]) {
    assertStringIncludes(
      text(acceptUpgrade(read(lines), { extensions: option })),
      "\r\nSec-WebSocket-Extensions: x; a=1; b\r\n",
    );
  }
});

Deno.test("acceptUpgrade: only what was offered", () => {
  const upgrade = read(RFC_REQUEST);
  for (
    const protocol of ["other", "Chat", "", "chat, superchat", "chat\r\nX: y"]
  ) {
    assertThrows(() => acceptUpgrade(upgrade, { protocol }), RangeError);
  }
  const extensions = offered("x");
  assertThrows(() => acceptUpgrade(upgrade, { extensions }), RangeError);
  const offer = { key: RFC_KEY, protocols: ["a\r\nb"], extensions };
  assertThrows(() => acceptUpgrade(offer, { protocol: "a\r\nb" }), RangeError);
  assertThrows(() => acceptUpgrade(offer, { extensions: "x;" }), TypeError);
  assertThrows(
    () =>
      acceptUpgrade(offer, {
        extensions: [{ name: "x", parameters: [["a", "b\r\nc: d"]] }],
      }),
    TypeError,
  );
});

Deno.test("acceptUpgrade: further header fields", () => {
  const cookies: [string, string][] = [
    ["Set-Cookie", "a=1; Path=/"],
    ["Set-Cookie", "b=2"],
    ["X-Name", "J\xf6rg"],
  ];
  const answer = text(acceptUpgrade(read(RFC_REQUEST), { headers: cookies }));
  assertStringIncludes(
    answer,
    "\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-Name: J\xf6rg\r\n\r\n",
  );
  for (
    const headers of [new Headers(cookies), { "set-cookie": "a=1; Path=/" }]
  ) {
    const { headers: parsed } = parseResponseHead(
      acceptUpgrade(read(RFC_REQUEST), { headers }),
    )!;
    assertEquals(parsed.getSetCookie()[0], "a=1; Path=/");
  }
});

Deno.test("header fields of the caller's: no splitting, no overriding", () => {
  const upgrade = read(RFC_REQUEST);
  const refused: [name: string, value: string][] = [
    ["X", "a\r\nY: b"],
    ["X", "a\n"],
    ["X", "\r"],
    ["X", "a\0"],
    ["X", "\x7f"],
    ["X", "\u4f60"],
    // Cutting a code unit to a byte would make CR and LF of these.
    ["X", "a\u010d\u010aY: b"],
    ["X\r\nY", "b"],
    ["X ", "b"],
    ["", "b"],
    ["X:", "b"],
    ["\xe9", "b"],
    ["Connection", "close"],
    ["UPGRADE", "h2c"],
    ["Content-Length", "5"],
    ["transfer-encoding", "chunked"],
    ["Sec-WebSocket-Accept", "x"],
    ["sec-websocket-protocol", "chat"],
    ["Sec-WebSocket-Extensions", "x"],
    ["Sec-WebSocket-Key", RFC_KEY],
    ["Sec-WebSocket-Version", "8"],
    ["Host", "b"],
  ];
  for (const [name, value] of refused) {
    for (
      const headers of [[[name, value]], { [name]: value }] as HeadersInit[]
    ) {
      const what = JSON.stringify([name, value]);
      assertThrows(
        () => acceptUpgrade(upgrade, { headers }),
        TypeError,
        "",
        what,
      );
      assertThrows(() => buildUpgradeRequest("ws://a", { headers }), TypeError);
    }
  }
});

Deno.test("rejectUpgrade: a whole answer, and the end of the connection", () => {
  const error = new HandshakeError("No such room [<b>]", {
    status: 404,
    headers: [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]],
  });
  assertEquals(
    text(rejectUpgrade(error)),
    "HTTP/1.1 404 Not Found\r\n" +
      "Connection: close\r\n" +
      "Content-Type: text/plain; charset=utf-8\r\n" +
      "X-Content-Type-Options: nosniff\r\n" +
      "Content-Length: 19\r\n" +
      "set-cookie: a=1\r\nset-cookie: b=2\r\n" +
      "\r\n" +
      "No such room [<b>]\n",
  );
});

Deno.test("rejectUpgrade: the reason phrases of RFC 9110 §15", () => {
  const reasons: Record<number, string> = {
    300: "",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    418: "",
    421: "Misdirected Request",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    599: "",
  };
  for (const [status, reason] of Object.entries(reasons)) {
    const error = new HandshakeError("No", { status: Number(status) });
    const answer = text(rejectUpgrade(error));
    assertEquals(answer.split("\r\n", 1), [`HTTP/1.1 ${status} ${reason}`]);
  }
  assertEquals(
    [200, 201, 204, 206, 304].map(reasonPhrase),
    ["OK", "Created", "No Content", "Partial Content", "Not Modified"],
  );
});

Deno.test("rejectUpgrade: a message of any characters", () => {
  const message = "\u4f60\u597d \r\n\0\x1b[31m \ud800 \u{1f600}";
  const bytes = rejectUpgrade(new HandshakeError(message));
  const { headers, byteLength, status } = parseResponseHead(bytes)!;
  assertEquals(status, 400);
  const body = bytes.subarray(byteLength);
  assertEquals(Number(headers.get("Content-Length")), body.length);
  assertEquals(
    new TextDecoder().decode(body),
    "\u4f60\u597d \ufffd\ufffd\ufffd\ufffd[31m \ufffd \u{1f600}\n",
  );
});

Deno.test("rejectUpgrade: an error cannot speak for the framing of the answer", () => {
  const bytes = rejectUpgrade(
    new HandshakeError("No", {
      status: 503,
      headers: {
        "Connection": "keep-alive",
        "Content-Length": "0",
        "Content-Type": "text/html",
        "Transfer-Encoding": "chunked",
        "Retry-After": "5",
      },
    }),
  );
  const { headers, status, statusText } = parseResponseHead(bytes)!;
  assertEquals([status, statusText], [503, "Service Unavailable"]);
  assertEquals([...headers], [
    ["connection", "close"],
    ["content-length", "3"],
    ["content-type", "text/plain; charset=utf-8"],
    ["retry-after", "5"],
    ["x-content-type-options", "nosniff"],
  ]);
});

Deno.test("rejectUpgrade: what is no field value is left out", () => {
  for (const character of ["\x01", "\x08", "\x0b", "\x1f", "\x7f"]) {
    const headers = { "X-Why": `a${character}b`, "X-Other": "c\xe9" };
    const { status, headers: answered } = parseResponseHead(
      rejectUpgrade(new HandshakeError("No", { headers })),
    )!;
    assertEquals(status, 400);
    assertEquals(answered.get("X-Why"), null);
    assertEquals(answered.get("X-Other"), "c\xe9");

    const upgrade = { "Upgrade": `websocket${character}` };
    assertEquals(
      parseResponseHead(
        rejectUpgrade(new HandshakeError("No", { headers: upgrade })),
      )!.headers.get("Upgrade"),
      null,
    );
  }
});

// RFC 6455 §4.2.2 lets a server answer with a 3xx.
Deno.test("rejectUpgrade: a server sends its clients elsewhere", () => {
  const reasons: Record<number, string> = {
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
  };
  for (const [status, reason] of Object.entries(reasons)) {
    const headers = { "Location": "https://example.com/" };
    const answer = parseResponseHead(
      rejectUpgrade(
        new HandshakeError("Moved", { status: Number(status), headers }),
      ),
    )!;
    assertEquals([answer.status, answer.statusText], [Number(status), reason]);
    assertEquals(answer.headers.get("Location"), "https://example.com/");
  }
});

Deno.test("rejectUpgrade: which errors are told as they are", () => {
  const kinds = { rejected: 300, malformed: 400 } as const;
  for (const [kind, from] of Object.entries(kinds)) {
    for (let status = 100; status < 600; status++) {
      const error = new HandshakeError("No", {
        status,
        kind: kind as keyof typeof kinds,
      });
      const answer = parseResponseHead(rejectUpgrade(error))!;
      assertEquals(answer.status, status < from ? 502 : status, kind);
    }
  }
});

Deno.test("rejectUpgrade: what is no refusal becomes 502", () => {
  for (const status of [0, 100, 101, 200, 299]) {
    const answer = parseResponseHead(
      rejectUpgrade(
        new HandshakeError("No", { status, headers: { "X-Mine": "yes" } }),
      ),
    )!;
    assertEquals([answer.status, answer.headers.get("X-Mine")], [502, null]);
  }
});

Deno.test("rejectUpgrade: a body without its length", () => {
  const bytes = rejectUpgrade(new HandshakeError("No", { status: 411 }));
  assertEquals(parseResponseHead(bytes)!.statusText, "Length Required");
});

Deno.test("rejectUpgrade: a client's error becomes 502, and tells nothing more", () => {
  const headers = { "Set-Cookie": "secret", "Location": "/" };
  for (const status of [0, 101, 200, 302, 401, 503]) {
    const error = new HandshakeError("No", { status, kind: "status", headers });
    const answer = parseResponseHead(rejectUpgrade(error))!;
    assertEquals([answer.status, answer.statusText], [502, "Bad Gateway"]);
    assertEquals(answer.headers.get("Set-Cookie"), null);
  }
});

Deno.test("what a peer sent is quoted up to 64 characters", () => {
  for (const length of [0, 1, 63, 64]) {
    assertEquals(quote("a".repeat(length)), `[${"a".repeat(length)}]`);
  }
  for (const length of [65, 66, 1000]) {
    assertEquals(quote("a".repeat(length)), `[${"a".repeat(64)}...]`);
  }
  assertEquals(quote("\x1f ~\x7f\u0100"), "[\\x1f ~\\x7f\\u0100]");
});

Deno.test("rejectUpgrade: what the peer sent is quoted on one line", () => {
  const lines = edit(
    RFC_REQUEST,
    "Sec-WebSocket-Key",
    `Sec-WebSocket-Key: <script>\xe9${"a".repeat(500)}`,
  );
  const error = assertThrows(() => read(lines), HandshakeError);
  assertStringIncludes(error.message, "[<script>\\xe9aaa");
  assert(error.message.length < 150);
  const bytes = rejectUpgrade(error);
  const { byteLength } = parseResponseHead(bytes)!;
  assertEquals(text(bytes.subarray(byteLength)), `${error.message}\n`);
});

Deno.test("HandshakeError: made by the application", () => {
  const error = new HandshakeError("No", { cause: "why" });
  assertEquals([error.status, error.kind, error.name], [
    400,
    "rejected",
    "HandshakeError",
  ]);
  assertEquals([...error.headers], []);
  assertEquals(error.cause, "why");
  assertFalse("cause" in new HandshakeError("No"));
  assertInstanceOf(error, Error);
  for (const status of [-1, 1, 99, 1000, 400.5, NaN]) {
    assertThrows(
      () => new HandshakeError("No", { status }),
      RangeError,
      `Status must be from 100 to 999 (${status})`,
    );
  }
  for (const status of [0, 100, 999]) {
    assertEquals(new HandshakeError("No", { status }).status, status);
  }
  const headers = { X: "a\r\nb" };
  assertThrows(() => new HandshakeError("No", { headers }), TypeError);
});

// Subprotocols and extensions

Deno.test("selectProtocol: the first one offered that is supported", () => {
  assertEquals(selectProtocol(["a", "b"], ["b", "a"]), "a");
  assertEquals(selectProtocol(["c", "b"], ["b", "a"]), "b");
  assertEquals(selectProtocol(["A"], ["a"]), undefined);
  assertEquals(selectProtocol([], ["a"]), undefined);
  assertEquals(selectProtocol(["a"], []), undefined);
});

Deno.test("parseExtensions: RFC 6455 §9.1 and RFC 7692 §7.1", () => {
  const cases: [header: string, elements: ExtensionElement[]][] = [
    ["foo", offered("foo")],
    ["foo, bar ,\tbaz", offered("foo", "bar", "baz")],
    [" ,foo,, bar, ", offered("foo", "bar")],
    ["foo; bar; baz=2", [
      { name: "foo", parameters: [["bar", undefined], ["baz", "2"]] },
    ]],
    ["foo;bar=1;bar=2;bar", [
      {
        name: "foo",
        parameters: [["bar", "1"], ["bar", "2"], ["bar", undefined]],
      },
    ]],
    ['foo ; bar = "1" , foo;bar="a\\b\\c"', [
      { name: "foo", parameters: [["bar", "1"]] },
      { name: "foo", parameters: [["bar", "abc"]] },
    ]],
    ["__proto__; constructor=__proto__; __proto__", [
      {
        name: "__proto__",
        parameters: [["constructor", "__proto__"], ["__proto__", undefined]],
      },
    ]],
    [
      "permessage-deflate; client_max_window_bits; server_max_window_bits=10, " +
      "permessage-deflate; client_max_window_bits",
      [
        {
          name: "permessage-deflate",
          parameters: [
            ["client_max_window_bits", undefined],
            ["server_max_window_bits", "10"],
          ],
        },
        {
          name: "permessage-deflate",
          parameters: [["client_max_window_bits", undefined]],
        },
      ],
    ],
  ];
  for (const [header, elements] of cases) {
    assertEquals(parseExtensions(header), elements, header);
    assertEquals(parseExtensions(formatExtensions(elements)), elements);
  }
});

Deno.test("parseExtensions: a fault is shown, where it is and 16 characters of it", () => {
  for (
    const [header, found] of [
      ["a; b=c=01234567890123456789", "found [=012345678901234] at offset 6"],
      ["a, b c", "found [c] at offset 5"],
      ["a;", "it ends too early"],
      ["a; b=", "it ends too early"],
    ] as const
  ) {
    const error = assertThrows(() => parseExtensions(header), HandshakeError);
    assertEquals(
      error.message,
      `Malformed Sec-WebSocket-Extensions: ${found}`,
    );
  }
});

Deno.test("parseExtensions: refused", () => {
  const cases = [
    ...["", " ", ",", ";", "=", "a;", "a; ", "a;;b", "a;=b", "a;b=", "a;b=,c"],
    ...["a b", "a,b c", "a;b c", "a;b=c d", "a=b", "a;b==c", "a;b=c=d", "a/b"],
    ...['"a"', 'a;"b"', 'a;b="', 'a;b="c', 'a;b=""', 'a;b="c\\', 'a;b="c\\"'],
    ...['a;b="c d"', 'a;b="c,d"', 'a;b="\\ "', 'a;b="c"d', 'a;b="c""d"'],
    ...["a;b=\xe9", "\u4f60", "a\0", "a\r\nb", "a;b=\u0141", 'a;b="\u0141"'],
  ];
  for (const header of cases) {
    assertRefused(() => parseExtensions(header), {
      status: 400,
      kind: "extensions",
    });
  }
});

Deno.test("parseExtensions and subprotocols take linear time", () => {
  const start = performance.now();
  const size = 200_000;
  const headers = [
    "a,".repeat(size) + "a",
    "a;".repeat(size) + "a",
    `a;b="${"\\a".repeat(size)}"`,
    `a;b="${"\\".repeat(size * 2)}`,
    " ".repeat(size) + "a" + " ".repeat(size) + "b",
    `${" ,".repeat(size)}a`,
    `a${"\t ".repeat(size)}`,
  ];
  for (const header of headers) {
    try {
      parseExtensions(header);
    } catch (error) {
      assertInstanceOf(error, HandshakeError);
    }
    const { headers } = request(RFC_REQUEST);
    for (const name of ["sec-websocket-protocol", "upgrade", "connection"]) {
      // Not a real Headers, which in Deno takes quadratic time itself.
      const get = (other: string) =>
        other === name ? header : headers.get(other);
      try {
        readUpgrade({ method: "GET", headers: { get } as Headers });
      } catch (error) {
        assertInstanceOf(error, HandshakeError);
      }
    }
  }
  // About 0.5 s; quadratic time would take far longer.
  assert(performance.now() - start < 10_000);
});

Deno.test("formatExtensions: tokens only", () => {
  assertEquals(formatExtensions([]), "");
  for (const bad of ["", "a b", "a,b", 'a"', "a\r\nb", "\xe9", "\u4f60"]) {
    for (
      const element of [
        { name: bad, parameters: [] },
        { name: "a", parameters: [[bad, undefined]] },
        { name: "a", parameters: [["b", bad]] },
      ] as ExtensionElement[]
    ) {
      assertThrows(() => formatExtensions([element]), TypeError);
    }
  }
});

property(
  "parseExtensions is the inverse of formatExtensions, quoted or not",
  [
    fc.array(
      fc.record({
        name: fieldName,
        parameters: fc.array(
          fc.tuple(fieldName, fc.option(token, { nil: undefined })),
          { maxLength: 4 },
        ),
      }, { noNullPrototype: true }),
      { minLength: 1, maxLength: 4 },
    ),
  ],
  (elements) => {
    const header = formatExtensions(elements);
    assertEquals(parseExtensions(header), elements);
    const quoted = header.replace(
      /=([^;,]+)/g,
      (_, value) => ` = "${value.replace(/./g, "\\$&")}"`,
    );
    assertEquals(parseExtensions(quoted), elements);
  },
);

// The client: the request

function build(
  url: string | URL,
  options?: BuildUpgradeRequestOptions,
): string {
  return text(buildUpgradeRequest(url, options).bytes);
}

Deno.test("buildUpgradeRequest: a request that a server takes", () => {
  const sent = buildUpgradeRequest("ws://example.com/chat?a=b", {
    protocols: ["a", "b"],
    extensions: "x; y=1",
    origin: "https://example.com",
    headers: { "Cookie": "c=d" },
  });
  assertEquals(
    text(sent.bytes),
    "GET /chat?a=b HTTP/1.1\r\n" +
      "Host: example.com\r\n" +
      "Upgrade: websocket\r\n" +
      "Connection: Upgrade\r\n" +
      `Sec-WebSocket-Key: ${sent.key}\r\n` +
      "Sec-WebSocket-Version: 13\r\n" +
      "Origin: https://example.com\r\n" +
      "Sec-WebSocket-Protocol: a, b\r\n" +
      "Sec-WebSocket-Extensions: x; y=1\r\n" +
      "Cookie: c=d\r\n\r\n",
  );
  const upgrade = readUpgrade(parseRequestHead(sent.bytes)!);
  assertEquals(upgrade.key, sent.key);
  assertEquals(upgrade.protocols, sent.protocols);
  assertEquals(upgrade.extensions, sent.extensions);
  const negotiated = verifyUpgradeResponse(
    parseResponseHead(
      acceptUpgrade(upgrade, { protocol: "b", extensions: "x" }),
    )!,
    sent,
  );
  assertEquals(negotiated, { protocol: "b", extensions: offered("x") });
});

Deno.test("buildUpgradeRequest: where to, by the URL", () => {
  const cases: [
    url: string,
    line: string,
    host: string,
    to: [hostname: string, port: number, secure: boolean],
  ][] = [
    ["ws://a", "/", "a", ["a", 80, false]],
    ["wss://a", "/", "a", ["a", 443, true]],
    ["http://a", "/", "a", ["a", 80, false]],
    ["https://a", "/", "a", ["a", 443, true]],
    ["ws://a:80/b", "/b", "a", ["a", 80, false]],
    ["wss://a:443/b", "/b", "a", ["a", 443, true]],
    ["ws://a:443/b", "/b", "a:443", ["a", 443, false]],
    ["wss://a:80/b", "/b", "a:80", ["a", 80, true]],
    ["ws://A.Example:9001/B?c=D", "/B?c=D", "a.example:9001", [
      "a.example",
      9001,
      false,
    ]],
    ["ws://[::1]", "/", "[::1]", ["::1", 80, false]],
    ["wss://[2001:DB8::1]:8443/", "/", "[2001:db8::1]:8443", [
      "2001:db8::1",
      8443,
      true,
    ]],
    ["ws://127.1/", "/", "127.0.0.1", ["127.0.0.1", 80, false]],
    ["ws://a/b c?d e&\u4f60", "/b%20c?d%20e&%E4%BD%A0", "a", ["a", 80, false]],
    ["ws://\u4f60.example/", "/", "xn--6qq.example", [
      "xn--6qq.example",
      80,
      false,
    ]],
    ["ws://a?b", "/?b", "a", ["a", 80, false]],
    ["ws://a/b%23c", "/b%23c", "a", ["a", 80, false]],
    ["ws://a/b\r\nX: y", "/bX:%20y", "a", ["a", 80, false]],
  ];
  for (const [url, target, host, to] of cases) {
    for (const given of [url, new URL(url)]) {
      const sent = buildUpgradeRequest(given);
      const start = `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n`;
      assertStringIncludes(text(sent.bytes), start);
      assertEquals([sent.hostname, sent.port, sent.secure], to);
      assertEquals(parseRequestHead(sent.bytes)?.target, target);
    }
  }
});

Deno.test("buildUpgradeRequest: URLs that are refused", () => {
  for (
    const url of [
      ...["", "a", "//a/", "ws:", "ws://", "ws://a:99999/", "ws://a:b/"],
      ...["ws://a,b/", 'ws://loca"lhost/', "ws://a{b}/"],
      ...["ftp://a/", "file:///a", "data:,a", "wsx://a/", "blob:ws://a/"],
      ...["ws://a/#", "ws://a/#b", "ws://a/?b#c"],
      ...["ws://%zz@a/", "ws://%ff@a/", "ws://b:%e9@a/"],
      ...["ws://b%3ac:d@a/", "ws://b%0ac@a/", "ws://b:c%00@a/"],
    ]
  ) {
    assertThrows(() => buildUpgradeRequest(url), SyntaxError, "", url);
  }
});

Deno.test("buildUpgradeRequest: user and password become Authorization", () => {
  const cases: [userinfo: string, credentials: string][] = [
    ["user:pass", "user:pass"],
    ["user", "user:"],
    [":pass", ":pass"],
    ["us%40er:p%3Aa:s%2Fs", "us@er:p:a:s/s"],
    ["%E4%BD%A0:\u597d%F0%9F%98%80", "\u4f60:\u597d\u{1f600}"],
  ];
  for (const [userinfo, credentials] of cases) {
    const lines = build(`ws://${userinfo}@example.com/`);
    const value = /\r\nAuthorization: Basic (.*)\r\n/.exec(lines)?.[1] ?? "";
    assertEquals(latin1(atob(value)), utf8(credentials));
    assertStringIncludes(lines, "\r\nHost: example.com\r\n");
  }
  assertFalse(build("ws://example.com/").includes("Authorization"));
  const headers = { "authorization": "Bearer x" };
  const lines = build("ws://user:pass@example.com/", { headers });
  assertEquals(lines.match(/^authorization:.*$/gim), [
    "authorization: Bearer x",
  ]);
});

Deno.test("buildUpgradeRequest: offers and headers that are refused", () => {
  const syntax: BuildUpgradeRequestOptions[] = [
    { protocols: "" },
    { protocols: [""] },
    { protocols: "a, b" },
    { protocols: ["a b"] },
    { protocols: ["a\r\nb"] },
    { protocols: ["\xe9"] },
    { protocols: ["a", "b", "a"] },
  ];
  for (const options of syntax) {
    assertThrows(() => build("ws://a", options), SyntaxError);
  }
  const type: BuildUpgradeRequestOptions[] = [
    { extensions: "a;" },
    { extensions: [{ name: "a b", parameters: [] }] },
    { origin: "a\r\nb" },
    { origin: "https://a", headers: { "ORIGIN": "https://b" } },
  ];
  for (const options of type) {
    assertThrows(() => build("ws://a", options), TypeError);
  }
  assertStringIncludes(build("ws://a", { protocols: "a" }), "-Protocol: a\r\n");
  const headers = { "Origin": "https://b" };
  assertStringIncludes(
    build("ws://a", { headers }),
    "\r\nOrigin: https://b\r\n",
  );
  assertFalse(/Protocol|Extensions/.test(build("ws://a", { protocols: [] })));
});

Deno.test("errors do not tell passwords", () => {
  const url = "wss://user:pass@word@example.com:99999/";
  const error = assertThrows(() => buildUpgradeRequest(url), SyntaxError);
  assertStringIncludes(error.message, "[wss://...@example.com:99999/]");
  const headers = { "Authorization": "Bearer password\n" };
  const other = assertThrows(() => build("ws://a", { headers }), TypeError);
  assertStringIncludes(other.message, "[Authorization]");
  assertStringIncludes(other.message, "[\\x0a]");
  assertFalse(other.message.includes("pass"));
});

Deno.test("buildUpgradeRequest: a fresh key each time", () => {
  const keys = Array.from(
    { length: 100 },
    () => buildUpgradeRequest("ws://a").key,
  );
  assertEquals(new Set(keys).size, 100);
});

// The client: the answer

Deno.test("verifyUpgradeResponse: the example of RFC 6455 §1.2", () => {
  assertEquals(verify(RFC_RESPONSE), { protocol: "chat", extensions: [] });
});

Deno.test("verifyUpgradeResponse: accepted", () => {
  const cases: [without: string, ...added: string[]][] = [
    ["Connection", "connection: keep-alive, upgrade"],
    ["Connection", "Connection: keep-alive", "Connection: Upgrade"],
    ["Upgrade", "UPGRADE: WebSocket"],
    ["-", "Set-Cookie: a=b", "Server: x"],
  ];
  for (const [without, ...added] of cases) {
    const lines = edit(RFC_RESPONSE, without, ...added);
    assertEquals(verify(lines).protocol, "chat", added.join());
  }
  const silent = edit(RFC_RESPONSE, "Sec-WebSocket-Protocol");
  assertEquals(verify(silent).protocol, undefined);
});

Deno.test("verifyUpgradeResponse: refused", () => {
  const accept = { status: 101, kind: "accept" } as const;
  const protocol = { status: 101, kind: "protocol" } as const;
  const extensions = { status: 101, kind: "extensions" } as const;
  const connection = { status: 101, kind: "connection" } as const;
  const upgrade = { status: 101, kind: "upgrade" } as const;
  const ACCEPT = "Sec-WebSocket-Accept";
  const PROTOCOL = "Sec-WebSocket-Protocol";
  const EXTENSIONS = "Sec-WebSocket-Extensions";
  const right = acceptKey(RFC_KEY);
  const cases: [without: string, added: string[], fault: Fault][] = [
    ["Upgrade", [], { ...upgrade, naming: "missing" }],
    ["Upgrade", ["Upgrade: h2c"], { ...upgrade, naming: "[h2c]" }],
    ["Connection", [], { ...connection, naming: "missing" }],
    ["Connection", ["Connection: close"], connection],
    [ACCEPT, [], { ...accept, naming: "missing" }],
    [ACCEPT, [`${ACCEPT}: ${right.toLowerCase()}`], accept],
    [ACCEPT, [`${ACCEPT}: ${right}, ${right}`], accept],
    ["-", [`${ACCEPT}: ${right}`], accept],
    [ACCEPT, [`${ACCEPT}: ${RFC_KEY}`], { ...accept, naming: RFC_KEY }],
    [PROTOCOL, [`${PROTOCOL}: other`], { ...protocol, naming: "[other]" }],
    [PROTOCOL, [`${PROTOCOL}: Chat`], protocol],
    [PROTOCOL, [`${PROTOCOL}:`], protocol],
    [PROTOCOL, [`${PROTOCOL}: chat, chat`], protocol],
    ["-", [`${PROTOCOL}: chat`], { ...protocol, naming: "[chat, chat]" }],
    ["-", [`${EXTENSIONS}: y`], { ...extensions, naming: "[y]" }],
    ["-", [`${EXTENSIONS}: x, y`], { ...extensions, naming: "[y]" }],
    ["-", [`${EXTENSIONS}: x, x; a`], { ...extensions, naming: "[x]" }],
    ["-", [`${EXTENSIONS}: x`, `${EXTENSIONS}: x`], extensions],
    ["-", [`${EXTENSIONS}: x;`], extensions],
    ["-", [`${EXTENSIONS}:`], extensions],
  ];
  for (const [without, added, fault] of cases) {
    const lines = edit(RFC_RESPONSE, without, ...added);
    const error = assertRefused(
      () => verify(lines, { extensions: offered("x") }),
      fault,
    );
    assertEquals(rejectUpgrade(error), rejectUpgrade(error));
  }
  assertRefused(
    () => verify(RFC_RESPONSE, { protocols: [] }),
    { ...protocol, naming: "[chat]" },
  );
  const [, ...fields] = RFC_RESPONSE;
  assertRefused(
    () => verify(["HTTP/1.0 101 Switching Protocols", ...fields]),
    { status: 101, kind: "http-version", naming: "[1.0]" },
  );
});

Deno.test("verifyUpgradeResponse: other answers come with status and headers", () => {
  const cases: [line: string, status: number, field: string, value: string][] =
    [
      ["HTTP/1.1 301 Moved", 301, "Location", "wss://example.com/"],
      ["HTTP/1.1 307 Temporary Redirect", 307, "Location", "/elsewhere"],
      ["HTTP/1.1 401 Unauthorized", 401, "WWW-Authenticate", 'Basic realm="x"'],
      ["HTTP/1.1 200 OK", 200, "Content-Type", "text/html"],
      ["HTTP/1.0 503 Service Unavailable", 503, "Retry-After", "5"],
      ["HTTP/1.1 999 Go away", 999, "Server", "x"],
      ["HTTP/1.1 103 Early Hints", 103, "Link", "</a>"],
    ];
  for (const [line, status, field, value] of cases) {
    const error = assertRefused(() => verify([line, `${field}: ${value}`]), {
      status,
      kind: "status",
      naming: `Server answered with another status than 101 (${status})`,
    });
    assertEquals(error.headers.get(field), value);
  }
  const { headers } = new Response("");
  assertRefused(
    () =>
      verifyUpgradeResponse({ status: 200, headers }, {
        key: RFC_KEY,
        protocols: [],
        extensions: [],
      }),
    { status: 200, kind: "status" },
  );
});

// Origins

Deno.test("isOriginAllowed: who may open a WebSocket", () => {
  const list = [
    "https://a.example",
    "https://b.example:8443",
    "HTTP://C.Example:80",
    "https://*.d.example",
    "chrome-extension://abcdef",
  ];
  const cases: [origin: string | undefined | null, allowed: boolean][] = [
    [undefined, true],
    [null, true],
    ["https://a.example", true],
    ["https://a.example:443", true],
    ["HTTPS://A.EXAMPLE", true],
    ["http://a.example", false],
    ["https://a.example:8443", false],
    ["https://a.example.evil", false],
    ["https://evil-a.example", false],
    ["https://evil/https://a.example", false],
    ["https://a.example@evil", false],
    ["https://evil#https://a.example", false],
    ["https://evil\\.a.example", false],
    ["https://a.example/", false],
    ["https://a.example https://evil", false],
    ["https://a.example, https://a.example", false],
    [" https://a.example", false],
    ["https://b.example:8443", true],
    ["https://b.example", false],
    ["http://c.example", true],
    ["https://x.d.example", true],
    ["https://y.x.d.example", true],
    ["https://d.example", false],
    ["https://xd.example", false],
    ["http://x.d.example", false],
    ["https://x.d.example:444", false],
    ["https://x.d.example.evil", false],
    ["chrome-extension://abcdef", true],
    ["chrome-extension://abcdeg", false],
    ["null", false],
    ["", false],
    ["*", false],
    ["https://*.d.example", true],
    ["a.example", false],
    ["https://", false],
    ["https://a.example:99999", false],
    ["https://undefined", false],
    ["file://", false],
    ["__proto__", false],
  ];
  for (const [origin, allowed] of cases) {
    assertEquals(isOriginAllowed(origin, list), allowed, `${origin}`);
  }
  assertFalse(isOriginAllowed("https://a.example", []));
  for (const [origin, allowed] of cases.slice(2)) {
    assertEquals(
      isOriginAllowed(origin, "https://*.d.example"),
      allowed && /d\.example/.test(origin!),
      `${origin}`,
    );
  }
  assert(isOriginAllowed("null", ["null"]));
  assert(isOriginAllowed("https://anywhere", ["*"]));
  assert(isOriginAllowed("null", ["*"]));
});

Deno.test("isOriginAllowed: the same host and port", () => {
  const cases: [origin: string, host: string, allowed: boolean][] = [
    ["https://a.example", "a.example", true],
    ["http://a.example", "a.example", true],
    ["https://a.example", "A.Example", true],
    ["https://a.example", "a.example:443", true],
    ["http://a.example", "a.example:80", true],
    ["https://a.example:8443", "a.example:8443", true],
    ["http://[::1]:8001", "[::1]:8001", true],
    ["http://127.0.0.1:8001", "127.0.0.1:8001", true],
    ["https://a.example", "a.example:80", false],
    ["https://a.example:8443", "a.example", false],
    ["http://localhost:3000", "localhost:8001", false],
    ["https://evil", "a.example", false],
    ["https://sub.a.example", "a.example", false],
    ["https://a.example", "sub.a.example", false],
    ["capacitor://localhost", "localhost", false],
    ["https://", "", false],
    ["null", "null", false],
    ["https://a.example", "a.example, evil", false],
    ["https://a.example", "u@a.example", false],
  ];
  for (const [origin, host, allowed] of cases) {
    assertEquals(
      isOriginAllowed(origin, [], host),
      allowed,
      `${origin} ${host}`,
    );
  }
  assert(
    isOriginAllowed("https://b.example", ["https://b.example"], "a.example"),
  );
});

Deno.test("isOriginAllowed: a list that is none is the programmer's error", () => {
  for (
    const entry of [
      ...["example.com", "https://a/", "https://a/b", "https://*", "", "*.a"],
      ...["https://a.*", "https://", "https://a, https://b", "https://u@a"],
    ]
  ) {
    assertThrows(
      () => isOriginAllowed(undefined, [entry]),
      TypeError,
      "",
      entry,
    );
  }
});
