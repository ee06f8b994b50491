/**
 * RFC 6455 over real sockets, in both roles, in bulk and byte by byte: what is
 * sent to an echo, and what has to come back before the stream ends.
 */

import { assertEquals } from "@std/assert";
import {
  acceptKey,
  connect,
  decodeFrame,
  encodeClosePayload,
  encodeFrame,
  type FrameInit,
  Opcode,
  type Role,
} from "../mod.ts";
import { serve } from "../serve.ts";
import { concat, utf8 } from "./_bytes.ts";

const MAX_MESSAGE_SIZE = 70_000;

/** A frame, or bytes as they are. */
type Sent = FrameInit | Uint8Array;
/** A frame that comes back: its opcode and its payload, or a close code. */
type Back = [opcode: number, payload: Uint8Array | number];

const { Continuation, Text, Binary, Close, Ping, Pong } = Opcode;

const bytes = (length: number) => new Uint8Array(length).map((_, i) => i * 7);
const text = (payload: string | Uint8Array, fin = true): FrameInit => ({
  opcode: Text,
  fin,
  payload: typeof payload === "string" ? utf8(payload) : payload,
});
const more = (payload: string | Uint8Array, fin = false): FrameInit => ({
  ...text(payload, fin),
  opcode: Continuation,
});
const control = (opcode: number, payload = bytes(0)): FrameInit => ({
  opcode,
  payload,
});
const goodbye = control(Close, encodeClosePayload(1000));
const fails = (code: number): Back[] => [[Close, code]];

/** What is sent, and what comes back; if it is no Close, both say goodbye. */
const cases: [name: string, sent: Sent[], back: Back[]][] = [];

for (const length of [0, 1, 125, 126, 127, 65535, 65536]) {
  const payload = bytes(length);
  const letters = new Uint8Array(length).fill(0x61);
  cases.push(
    [`§5.2 binary, ${length} bytes`, [{ opcode: Binary, payload }], [
      [Binary, payload],
    ]],
    [`§5.2 text, ${length} bytes`, [text(letters)], [[Text, letters]]],
  );
}
for (const length of [0, 1, 125]) {
  const payload = bytes(length);
  cases.push(
    [`§5.5.2 ping, ${length} bytes`, [control(Ping, payload)], [
      [Pong, payload],
    ]],
    [`§5.5.3 pong, ${length} bytes`, [control(Pong, payload)], []],
  );
}
cases.push(
  ["§5.4 fragments", [text("He", false), more("l"), more("lo", true)], [
    [Text, utf8("Hello")],
  ]],
  ["§5.4 empty fragments", [text("", false), more(""), more("", true)], [
    [Text, utf8("")],
  ]],
  ["§5.4 a ping between fragments", [
    text("He", false),
    control(Ping, utf8("!")),
    more("llo", true),
  ], [[Pong, utf8("!")], [Text, utf8("Hello")]]],
  ["§5.4 nothing to continue", [more("x", true)], fails(1002)],
  [
    "§5.4 a message within a message",
    [text("a", false), text("b")],
    fails(
      1002,
    ),
  ],
  ["§5.5 a fragmented ping", [{ opcode: Ping, fin: false }], fails(1002)],
  ["§5.5 a ping of 126 bytes", [control(Ping, bytes(126))], fails(1002)],
  ["§5.5 a Close of 126 bytes", [control(Close, bytes(126))], fails(1002)],
  ["§8.1 a character cut by fragments", [
    text(utf8("中").subarray(0, 2), false),
    more(utf8("中").subarray(2), true),
  ], [[Text, utf8("中")]]],
  ["§8.1 a text that ends within a character", [
    text(utf8("中").subarray(0, 2)),
  ], fails(1007)],
  ["§8.1 a bad byte in an unfinished message", [
    text(new Uint8Array([0x61, 0xff]), false),
  ], fails(1007)],
  ["§10.4 a message that is too big", [
    { opcode: Binary, payload: bytes(MAX_MESSAGE_SIZE + 1) },
  ], fails(1009)],
  ["§10.4 fragments that are too big", [
    { opcode: Binary, fin: false, payload: bytes(MAX_MESSAGE_SIZE) },
    { opcode: Continuation, payload: bytes(1) },
  ], fails(1009)],
  ["§5.5.1 an empty Close", [control(Close)], [[Close, 1005]]],
  ["§5.5.1 nothing behind a Close counts", [
    goodbye,
    text("late"),
    control(Ping),
  ], fails(1000)],
  ["§5.5.1 a Close of one byte", [control(Close, bytes(1))], fails(1002)],
  ["§8.1 a reason that is not UTF-8", [
    control(Close, new Uint8Array([0x03, 0xe8, 0xff])),
  ], fails(1007)],
);
for (const bad of [[0x80], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5], [0xfe]]) {
  const name = bad.map((byte) => byte.toString(16)).join(" ");
  cases.push([`§8.1 ${name}`, [text(new Uint8Array(bad))], fails(1007)]);
}
for (const reservedBits of [1, 2, 4, 7]) {
  cases.push([`§5.2 reserved bits ${reservedBits}`, [
    { opcode: Text, reservedBits, payload: utf8("x") },
  ], fails(1002)]);
}
for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
  cases.push([`§5.2 opcode ${opcode}`, [control(opcode)], fails(1002)]);
}
for (const code of [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999]) {
  cases.push([`§7.4 code ${code}`, [
    control(Close, encodeClosePayload(code, "why")),
  ], fails(code)]);
}
for (const code of [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535]) {
  const payload = new Uint8Array([code >> 8, code & 0xff]);
  cases.push([`§7.4 code ${code}`, [control(Close, payload)], fails(1002)]);
}

/** Lengths that no encoder writes, with the mask that the role asks for. */
function malformed(role: Role): typeof cases {
  const masked = role === "server" ? 0x80 : 0;
  const key = new Uint8Array(masked === 0 ? 0 : 4);
  const header = (second: number, ...length: number[]): Sent[] => [
    concat(new Uint8Array([0x82, masked | second, ...length]), key),
  ];
  return [
    ["§5.2 125 in 16 bits", header(126, 0, 125), fails(1002)],
    [
      "§5.2 65,535 in 64 bits",
      header(127, 0, 0, 0, 0, 0, 0, 255, 255),
      fails(
        1002,
      ),
    ],
    ["§5.2 2^63", header(127, 128, 0, 0, 0, 0, 0, 0, 0), fails(1002)],
    ["§5.2 2^53", header(127, 0, 32, 0, 0, 0, 0, 0, 0), fails(1009)],
    ["§5.1 masked the wrong way", [
      role === "server"
        ? new Uint8Array([0x81, 0])
        : new Uint8Array([0x81, 0x80, 0, 0, 0, 0]),
    ], fails(1002)],
  ];
}

/** Sends as the peer of that role, cut as told, and takes what comes back. */
async function play(
  conn: Deno.Conn,
  role: Role,
  sent: Sent[],
  step: number,
): Promise<Back[]> {
  const wire = concat(
    ...sent.map((frame) =>
      frame instanceof Uint8Array ? frame : encodeFrame(
        role === "server" ? { ...frame, maskingKey: 0x37fa213d } : frame,
      )
    ),
  );
  const sending = (async () => {
    for (let at = 0; at < wire.length;) {
      at += await conn.write(wire.subarray(at, at + step));
    }
  })().catch(() => {}); // it may have seen enough
  const back: Back[] = [];
  let received = new Uint8Array(0);
  const into = new Uint8Array(65536);
  reading: for (;;) {
    for (;;) {
      const decoded = decodeFrame(received);
      if (decoded === undefined) break;
      received = received.slice(decoded.byteLength);
      const { opcode, payload, maskingKey } = decoded.frame;
      assertEquals(maskingKey !== undefined, role === "client");
      if (opcode !== Close) {
        back.push([opcode, payload]);
        continue;
      }
      const [high = 1005 >> 8, low = 1005 & 0xff] = payload;
      back.push([opcode, high << 8 | low]);
      break reading;
    }
    const length = await conn.read(into);
    if (length === null) break;
    received = concat(received, into.subarray(0, length));
  }
  await sending;
  return back;
}

/** Reads a head with nothing behind it. */
async function readHead(conn: Deno.Conn): Promise<string> {
  let head = "";
  const into = new Uint8Array(4096);
  while (!head.endsWith("\r\n\r\n")) {
    head += new TextDecoder().decode(
      into.subarray(0, (await conn.read(into))!),
    );
  }
  return head;
}

async function check(
  role: Role,
  open: () => Promise<Deno.Conn>,
): Promise<void> {
  for (const [name, sent, back] of [...cases, ...malformed(role)]) {
    const isLarge = sent.some((frame) =>
      !(frame instanceof Uint8Array) && (frame.payload?.length ?? 0) > 1000
    );
    const closes = back.some(([opcode]) => opcode === Close);
    const all = closes ? sent : [...sent, goodbye];
    const expected = closes ? back : [...back, ...fails(1000)];
    for (const step of [Infinity, isLarge ? 997 : 1]) {
      using conn = await open();
      const got = await play(conn, role, all, step);
      assertEquals(got, expected, `${role}: ${name}, ${step} at a time`);
    }
  }
}

const options = {
  textAs: "bytes",
  maxMessageSize: MAX_MESSAGE_SIZE,
  closeTimeout: 500,
} as const;

Deno.test("RFC 6455, a server, in bulk and byte by byte", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = serve(listener, {
    ...options,
    onConnection: (ws) => ws.forEach((data, type) => ws.send(data, { type })),
  });
  const { port } = listener.addr;
  await check("server", async () => {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    conn.setNoDelay();
    await conn.write(utf8(
      "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n" +
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ));
    await readHead(conn);
    return conn;
  });
  await server.shutdown({ timeout: 2000 });
});

Deno.test("RFC 6455, a client, in bulk and byte by byte", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const clients: Promise<unknown>[] = [];
  await check("client", async () => {
    const opening = connect(`ws://127.0.0.1:${listener.addr.port}/`, options);
    const conn = await listener.accept();
    conn.setNoDelay();
    const key = /Sec-WebSocket-Key: (.*)\r\n/.exec(await readHead(conn))![1]!;
    await conn.write(utf8(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" +
        `Connection: Upgrade\r\nSec-WebSocket-Accept: ${
          acceptKey(key)
        }\r\n\r\n`,
    ));
    const ws = await opening;
    ws.forEach((data, type) => ws.send(data, { type })).catch(() => {});
    clients.push(ws.closed);
    return conn;
  });
  await Promise.all(clients);
});
