/**
 * Cases without end for whatever reads bytes of a peer's. Each has a number, from
 * which all of it follows; a case that fails throws.
 */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { deflateRawSync } from "node:zlib";
import { Receiver } from "ws";
import { permessageDeflate } from "../deflate.ts";
import {
  CloseCode,
  decodeFrame,
  encodeClosePayload,
  encodeFrame,
  ProtocolError,
  RSV1,
} from "../frame.ts";
import {
  formatExtensions,
  HandshakeError,
  parseExtensions,
  parseRequestHead,
  parseResponseHead,
} from "../handshake.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { concat, utf8 } from "./_bytes.ts";
import { randomNumbers } from "./_protocol.ts";

/** Numbers and choices that follow from a case's number. */
class Chance {
  readonly #random: () => number;

  constructor(number: number) {
    this.#random = randomNumbers(Math.imul(number, 0x9e3779b1) ^ number);
  }

  /** A whole number below the limit. */
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** Once in so many times. */
  once(times: number): boolean {
    return this.#random() * times < 1;
  }

  pick<T>(of: readonly T[]): T {
    return of[this.below(of.length)]!;
  }

  many<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.#random() * 256;
    return bytes;
  }

  /** Any length, but those most often where something changes. */
  length(most: number): number {
    const length = this.once(4)
      ? this.pick(LENGTHS) + this.below(3) - 1
      : this.below(this.pick([8, 40, 200]));
    return Math.max(0, Math.min(length, most));
  }
}

const LENGTHS = [125, 126, 1000, 1024, 4096, 65535];

// --- Mutation --------------------------------------------------------------

const ODD = [0, 1, 0x0a, 0x0d, 0x20, 0x2c, 0x3a, 0x3b, 0x3d, 0x22, 0x5c, 0x7e]
  .concat([0x7f, 0x80, 0x81, 0x88, 0x89, 0xc0, 0xc1, 0xed, 0xf4, 0xfe, 0xff]);

/** Changes, inserts, takes out and repeats some bytes. */
function mutate(
  chance: Chance,
  bytes: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  for (let left = 1 + chance.below(4); left > 0; left--) {
    const at = chance.below(bytes.length + 1);
    const length = chance.below(chance.pick([2, 4, 20]));
    const end = Math.min(at + length, bytes.length);
    switch (chance.below(5)) {
      case 0:
        if (at < bytes.length) bytes[at]! ^= 1 << chance.below(8);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = chance.pick(ODD);
        break;
      case 2:
        bytes = concat(bytes.subarray(0, at), bytes.subarray(end));
        break;
      case 3:
        bytes = concat(bytes.subarray(0, end), bytes.subarray(at));
        break;
      case 4:
        bytes = concat(
          bytes.subarray(0, at),
          Uint8Array.from({ length }, () => chance.pick(ODD)),
          bytes.subarray(at),
        );
        break;
    }
  }
  return bytes;
}

function latin1(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// --- Heads -----------------------------------------------------------------

const METHODS = ["GET", "GET", "GET", "POST", "OPTIONS", "CONNECT", "g!"];
const TARGETS = ["/", "/a?b=c", "*", "http://a/b", "a:80", "/\u00e9", "", "/#"];
const NAMES = ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Origin"]
  .concat(["Content-Length", "Transfer-Encoding", "__proto__", "constructor"])
  .concat(["X", "Sec-WebSocket-Extensions", "toString", "Cookie"]);
const VALUES = ["a", "localhost:80", "websocket", "keep-alive, Upgrade", "13"]
  .concat(["dGhlIHNhbXBsZSBub25jZQ==", "0", "10", "chunked", "", "\t a \t"])
  .concat(["permessage-deflate; client_max_window_bits", "\u00e9\u00ff", ","]);

function fieldLines(chance: Chance): [string, string][] {
  const lines: [string, string][] = chance.many(
    8,
    () => [chance.pick(NAMES), chance.pick(VALUES)],
  );
  if (!chance.once(8)) lines.unshift(["Host", "localhost"]);
  return lines;
}

function headText(first: string, fields: [string, string][]): string {
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  return `${first}\r\n${lines.join("")}\r\n`;
}

type Head = ReturnType<typeof parseRequestHead | typeof parseResponseHead>;

/** What comes of a head, as text. */
function verdictOf(parse: () => Head): string {
  try {
    const head = parse();
    if (head === undefined) return "more";
    const { headers, byteLength, version } = head;
    const first = "method" in head
      ? `${head.method} ${head.target}`
      : `${head.status} ${head.statusText}`;
    return `${first} ${version} ${byteLength} ${JSON.stringify([...headers])}`;
  } catch (error) {
    if (!(error instanceof HandshakeError)) throw error;
    return `${error.kind} ${error.status} ${error.message}`;
  }
}

function checkHead(
  chance: Chance,
  first: string,
  parse: (bytes: Uint8Array, options: object) => Head,
): void {
  const fields = fieldLines(chance);
  let bytes = latin1(headText(first, fields));
  if (!chance.once(4)) bytes = mutate(chance, bytes);
  if (chance.once(4)) bytes = concat(bytes, chance.bytes(8));
  const options = chance.once(4)
    ? { maxHeadSize: 1 + chance.below(200), maxHeaders: 1 + chance.below(8) }
    : {};
  const before = chance.once(50) ? bytes.slice() : undefined;
  const whole = verdictOf(() => parse(bytes, options));
  // Whatever is there first: nothing is known too early, or otherwise.
  let last = "more";
  const cuts = [chance.below(bytes.length), chance.below(bytes.length)];
  for (const cut of cuts.sort((a, b) => a - b)) {
    const part = verdictOf(() => parse(bytes.subarray(0, cut), options));
    if (last !== "more") assertEquals(part, last, `at ${cut}`);
    last = part;
  }
  if (last !== "more") assertEquals(whole, last);
  if (before !== undefined) assertEquals(bytes, before, "input was changed");
}

function requestHead(chance: Chance): void {
  const line = `${chance.pick(METHODS)} ${chance.pick(TARGETS)} HTTP/1.1`;
  checkHead(chance, line, parseRequestHead);
}

function responseHead(chance: Chance): void {
  const status = chance.pick(["101", "200", "302", "099", "1000", "426"]);
  const reason = chance.pick([" Switching Protocols", "", " ", " \u00e9"]);
  checkHead(chance, `HTTP/1.1 ${status}${reason}`, parseResponseHead);
}

// --- Extensions ------------------------------------------------------------

const PIECES = ["permessage-deflate", "x", "; ", ";", ",", ", ", "=", '"', "a"]
  .concat(['"1"', "client_max_window_bits", "10", " ", "\t", "\\", "__proto__"])
  .concat(["\u00e9", "constructor", '"\\a"', '""']);

function extensions(chance: Chance): void {
  const header = chance.many(30, () => chance.pick(PIECES)).join("");
  try {
    const list = parseExtensions(header);
    assertEquals(parseExtensions(formatExtensions(list)), list);
    assert(list.length > 0);
  } catch (error) {
    if (!(error instanceof HandshakeError)) throw error;
    assertEquals(error.status, 400);
  }
}

// --- Frames ----------------------------------------------------------------

const OPCODES = [0, 1, 2, 8, 9, 10];

function frames(chance: Chance): void {
  const payload = chance.bytes(chance.length(70_000));
  const frame = {
    fin: chance.once(2),
    reservedBits: chance.below(8),
    opcode: chance.below(16),
    maskingKey: chance.once(2) ? chance.below(2 ** 32) : undefined,
    payload,
  };
  let bytes = encodeFrame(frame);
  const decoded = decodeFrame(bytes)!;
  assertEquals(decoded.byteLength, bytes.length);
  assert(same(decoded.frame.payload, payload));
  assertEquals({ ...decoded.frame, payload }, frame);
  bytes = mutate(chance, bytes.slice(0, 200 + chance.below(100)));
  if (chance.once(3)) bytes = chance.bytes(chance.below(20));
  try {
    const decoded = decodeFrame(bytes);
    if (decoded === undefined) return;
    // There is one way to write a frame.
    const { frame, byteLength } = decoded;
    assert(same(encodeFrame(frame), bytes.subarray(0, byteLength)));
    const cut = chance.below(byteLength);
    assertEquals(decodeFrame(bytes.subarray(0, cut)), undefined);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    assert([1002, 1009].includes(error.closeCode));
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

// --- Receiving -------------------------------------------------------------

const TEXTS = ["", "Hello", "\u00e9\u4f60\u{1f30d}", "a".repeat(200)].map(utf8);
TEXTS.push(Uint8Array.of(0xc3), Uint8Array.of(0xf4, 0x90, 0x80, 0x80));

const deflate = permessageDeflate({ maxContexts: 4 });

// Messages, as they are compressed; those that refer to each other, too.
const COMPRESSED: Uint8Array<ArrayBuffer>[] = [
  ...TEXTS,
  new Uint8Array(20_000),
  utf8("all work and no play ".repeat(100)),
  Uint8Array.from({ length: 700 }, (_, i) => i * i >> 3),
].flatMap((data) =>
  [0, 1, 9].map((level) =>
    new Uint8Array(
      deflateRawSync(data, { level, finishFlush: 2 }).subarray(0, -4),
    )
  )
);
COMPRESSED.push(
  new Uint8Array(deflateRawSync(utf8("finished"))), // with BFINAL
  Uint8Array.of(0),
  Uint8Array.of(0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0),
);

const CODES = [1000, 1001, 1007, 3000, 4999];

/** Some frames, most of them right. */
function stream(
  chance: Chance,
  masks: boolean,
  isCompressed: boolean,
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let isBegun = false;
  for (let left = 1 + chance.below(10); left > 0; left--) {
    let opcode = chance.once(40) ? chance.below(16) : chance.pick(OPCODES);
    if (opcode < 3 && !chance.once(40)) {
      opcode = isBegun ? 0 : 1 + chance.below(2);
    }
    let reservedBits = chance.once(60) ? chance.below(8) : 0;
    let payload: Uint8Array;
    if (opcode === 8) {
      if (!chance.once(5)) continue;
      payload = chance.once(3)
        ? chance.bytes(chance.below(5))
        : encodeClosePayload(chance.pick(CODES), "why");
    } else if (opcode > 8) {
      payload = chance.bytes(chance.once(30) ? 126 : chance.below(10));
    } else if (isCompressed && !chance.once(3)) {
      payload = chance.pick(COMPRESSED);
      if (opcode !== 0) reservedBits = RSV1;
      if (chance.once(8)) payload = mutate(chance, payload.slice());
    } else if (chance.once(2)) {
      payload = chance.pick(TEXTS);
    } else {
      payload = chance.bytes(chance.length(3000));
    }
    const fin = opcode > 2 ? !chance.once(40) : !chance.once(3);
    if (opcode < 3) isBegun = !fin;
    parts.push(encodeFrame({
      fin,
      opcode,
      reservedBits,
      payload,
      maskingKey: masks !== chance.once(80) ? chance.below(2 ** 32) : undefined,
    }));
  }
  const bytes = concat(...parts);
  return chance.once(3) ? mutate(chance, bytes) : bytes;
}

interface Settings {
  role: "client" | "server";
  isCompressed: boolean;
  maxMessageSize: number;
  maxFragments: number;
  inPlace: boolean;
  chunks: boolean;
  textAs: "string" | "bytes";
}

function addTo(hash: number, data: string | Uint8Array): number {
  const bytes = typeof data === "string" ? utf8(data) : data;
  for (let i = 0; i < bytes.length; i++) {
    hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  }
  return hash;
}

/** All that comes of the bytes, however they are cut, as text. */
function outcomeOf(
  bytes: Uint8Array<ArrayBuffer>,
  cuts: number[],
  settings: Settings,
): string {
  const extension = settings.isCompressed ? deflate.accept([]) : undefined;
  const protocol = new WebSocketProtocol({ ...settings, extension });
  protocol.chunks = settings.chunks;
  let text = "";
  let hash = 0;
  let length = 0;
  let start = 0;
  for (const end of cuts) {
    protocol.receive(bytes.slice(start, end));
    start = end;
    for (const event of protocol) {
      if (event.type === "close") {
        const { code, reason, wasClean, error } = event;
        const kind = error instanceof ProtocolError ? error.kind : error;
        text += `close ${code} ${reason} ${wasClean} ${kind}\n`;
        continue;
      }
      hash = addTo(hash, event.data);
      length += event.data.length;
      const isWhole = event.type !== "chunk" || event.fin;
      if (event.type !== "ping" && event.type !== "pong") {
        assert(
          event.data.length <= settings.maxMessageSize,
          "a message is too large",
        );
      }
      if (!isWhole) continue;
      const type = event.type === "chunk" ? event.of : event.type;
      text += `${type} ${length} ${hash}\n`;
      hash = length = 0;
    }
    assert(protocol.unfinishedLength <= settings.maxMessageSize, "memory");
  }
  const isOpen = protocol.state === "open";
  text += `${protocol.state} ${protocol.transport}\n`;
  // What is owed to the peer.
  for (let owed; (owed = protocol.takeOutput()) !== undefined;) {
    for (let offset = 0; offset < owed.length;) {
      const decoded = decodeFrame(owed as Uint8Array<ArrayBuffer>, { offset })!;
      offset += decoded.byteLength;
      const { opcode, payload, maskingKey } = decoded.frame;
      assertEquals(maskingKey !== undefined, settings.role === "client");
      text += `${opcode} ${
        opcode === 8 ? TEXT.decode(payload.subarray(2)) : payload
      }\n`;
    }
    protocol.releaseOutput();
  }
  assertEquals(protocol.receiveEnd() !== undefined, isOpen);
  extension?.dispose?.();
  // How much of a message that is too large has come out is nobody's promise.
  return settings.isCompressed ? text.replace(/at least \d+/g, "more") : text;
}

const TEXT = new TextDecoder();

function receive(chance: Chance): void {
  const isCompressed = chance.once(2);
  const settings: Settings = {
    role: chance.once(2) ? "server" : "client",
    isCompressed,
    maxMessageSize: chance.once(4) ? chance.below(1000) : 100_000,
    maxFragments: chance.once(4) ? 1 + chance.below(4) : 1000,
    inPlace: chance.once(2),
    chunks: chance.once(3),
    textAs: chance.once(2) ? "string" : "bytes",
  };
  const bytes = stream(chance, settings.role === "server", isCompressed);
  const expected = outcomeOf(bytes, [bytes.length], settings);
  const cuts = chance.once(20) && bytes.length < 1000
    ? Array.from(bytes.keys())
    : chance.many(6, () => chance.below(bytes.length + 1));
  cuts.sort((a, b) => a - b).push(bytes.length);
  const other = { ...settings, inPlace: !settings.inPlace };
  const outcome = outcomeOf(bytes, cuts, other);
  assertEquals(outcome, expected, `cut at ${cuts.slice(0, 8)}`);
}

// --- Sending ---------------------------------------------------------------

/** What `ws` makes of the bytes: it throws if it does not take them. */
function receivedByWs(bytes: Uint8Array, isServer: boolean): string[] {
  const receiver = new Receiver({
    isServer,
    allowSynchronousEvents: true,
    maxPayload: 0,
    skipUTF8Validation: false,
  });
  const seen: string[] = [];
  let failure: Error | undefined;
  receiver.on("error", (error: Error) => failure = error);
  receiver.on("message", (data: Buffer, isBinary: boolean) => {
    seen.push(`${isBinary ? "binary" : "text"} ${addTo(0, data)}`);
  });
  receiver.on("ping", (data: Buffer) => seen.push(`ping ${addTo(0, data)}`));
  receiver.on("pong", (data: Buffer) => seen.push(`pong ${addTo(0, data)}`));
  receiver.on(
    "conclude",
    (code: number, reason: Buffer) => seen.push(`close ${code} ${reason}`),
  );
  receiver.write(Buffer.from(bytes));
  if (failure !== undefined) throw failure;
  return seen;
}

function receivedByUs(
  bytes: Uint8Array<ArrayBuffer>,
  protocol: WebSocketProtocol,
): string[] {
  const seen: string[] = [];
  for (const event of protocol.receive(bytes)) {
    if (event.type === "close") {
      assert(event.wasClean, event.reason);
      seen.push(`close ${event.code} ${event.reason}`);
    } else {
      seen.push(`${event.type} ${addTo(0, event.data)}`);
    }
  }
  return seen;
}

function send(chance: Chance): void {
  const role = chance.once(2) ? "server" : "client";
  const isCompressed = chance.once(2);
  const ours = isCompressed
    ? (role === "server" ? deflate.accept([]) : deflate.confirm([]))
    : undefined;
  const theirs = isCompressed
    ? (role === "server" ? deflate.confirm([]) : deflate.accept([]))
    : undefined;
  const protocol = new WebSocketProtocol({ role, extension: ours });
  const expected: string[] = [];
  for (let left = chance.below(8); left > 0; left--) {
    const compress = chance.once(2);
    const isText = chance.once(2);
    const data = isText
      ? chance.pick(["", "Hello", "\u00e9\u4f60\u{1f30d}", "ab".repeat(300)])
      : chance.bytes(chance.length(70_000));
    const type = isText ? "text" : "binary";
    switch (chance.below(4)) {
      case 0:
        if (typeof data === "string") protocol.sendText(data, { compress });
        else protocol.sendBinary(data, { compress });
        expected.push(`${type} ${addTo(0, data)}`);
        break;
      case 1: {
        const cut = chance.below(data.length + 1);
        protocol.sendFragment(type, data.slice(0, cut), { compress });
        if (chance.once(2)) {
          protocol.ping();
          expected.push("ping 0");
        }
        protocol.sendFragment(type, data.slice(cut), { compress, fin: true });
        expected.push(`${type} ${addTo(0, data)}`);
        break;
      }
      default: {
        const payload = chance.bytes(chance.below(126));
        const name = chance.pick(["ping", "pong"] as const);
        protocol[name](payload);
        expected.push(`${name} ${addTo(0, payload)}`);
      }
    }
  }
  if (chance.once(3)) {
    const code = chance.pick(CODES);
    protocol.close(code, "why");
    expected.push(`close ${code} why`);
  }
  const parts: Uint8Array[] = [];
  for (let owed; (owed = protocol.takeOutput()) !== undefined;) {
    parts.push(owed.slice());
    protocol.releaseOutput();
  }
  const bytes = concat(...parts);
  const peer = role === "server" ? "client" : "server";
  const receiver = new WebSocketProtocol({ role: peer, extension: theirs });
  assertEquals(receivedByUs(bytes, receiver), expected);
  // Its inflating is asynchronous; tests/deflate_interop_test.ts is about it.
  if (!isCompressed && chance.once(4)) {
    assertEquals(receivedByWs(bytes, role === "client"), expected);
  }
  ours?.dispose?.();
  theirs?.dispose?.();
}

/** What a failing protocol says to its peer is well-formed, too. */
function failures(chance: Chance): void {
  const role = chance.once(2) ? "server" : "client";
  const protocol = new WebSocketProtocol({ role, maxMessageSize: 2000 });
  const bytes = stream(chance, role === "server", false);
  for (const _ of protocol.receive(bytes));
  const owed = protocol.takeOutput();
  if (owed === undefined) return;
  const seen = receivedByWs(owed, role === "client");
  const codes = seen.filter((event) => event.startsWith("close"));
  assertEquals(codes.length, protocol.state === "open" ? 0 : 1);
  if (protocol.state !== "failed") return;
  const { InvalidFramePayloadData, MessageTooBig, ProtocolError } = CloseCode;
  const allowed = [ProtocolError, InvalidFramePayloadData, MessageTooBig];
  assert(allowed.some((code) => codes[0]!.startsWith(`close ${code} `)));
}

/** What is fuzzed, and how many of a hundred cases. */
export const TARGETS_OF_FUZZ: Record<
  string,
  { share: number; run: (chance: Chance) => void }
> = {
  parseRequestHead: { share: 15, run: requestHead },
  parseResponseHead: { share: 10, run: responseHead },
  parseExtensions: { share: 15, run: extensions },
  decodeFrame: { share: 20, run: frames },
  receive: { share: 20, run: receive },
  send: { share: 10, run: send },
  failures: { share: 10, run: failures },
};

/** How long a case may take, in milliseconds: there is no hang. */
const LONGEST = 5000;

/** Runs one case. */
export function fuzzCase(target: string, number: number): void {
  const began = performance.now();
  try {
    TARGETS_OF_FUZZ[target]!.run(new Chance(number));
  } catch (error) {
    const replay = `deno task fuzz --target ${target} --case ${number}`;
    const reason = error instanceof Error ? error : new Error(String(error));
    reason.message = `Repeat with \`${replay}\`\n${reason.message}`;
    throw reason;
  }
  const took = performance.now() - began;
  assert(took < LONGEST, `${target} took ${took} ms for case ${number}`);
}
