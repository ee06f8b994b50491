/** Cases for whatever reads, and writes, frames and messages. */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { deflateRawSync } from "node:zlib";
import { PerMessageDeflate, Receiver } from "ws";
import { permessageDeflate } from "../deflate.ts";
import type { ExtensionParameters, NegotiatedExtension } from "../extension.ts";
import {
  CloseCode,
  decodeFrame,
  encodeClosePayload,
  encodeFrame,
  ProtocolError,
  type Role,
  RSV1,
} from "../frame.ts";
import { type ProtocolEvent, WebSocketProtocol } from "../protocol.ts";
import { concat, utf8 } from "./_bytes.ts";
import { type Chance, CORPUS, fromCorpus, mutate } from "./_fuzz_chance.ts";
import { deflateOptions } from "./_fuzz_handshake.ts";

// --- Frames ----------------------------------------------------------------

const OPCODES = [0, 1, 2, 8, 9, 10];

export function frames(chance: Chance): void {
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
  if (chance.once(8)) {
    const { toServer, toClient } = CORPUS;
    bytes = fromCorpus(chance, chance.once(2) ? toServer : toClient);
  }
  const whole = verdictOf(bytes);
  const cuts = [chance.below(bytes.length + 1), chance.below(16)];
  for (const cut of cuts) {
    // A shorter beginning gives no result, or the same.
    const part = verdictOf(bytes.slice(0, cut));
    if (part !== "more") assertEquals(part, whole, `cut at ${cut}`);
  }
}

/** The result of decoding a frame, as text. */
function verdictOf(bytes: Uint8Array<ArrayBuffer>): string {
  try {
    const decoded = decodeFrame(bytes);
    if (decoded === undefined) return "more";
    // The encoding of a frame is unique.
    const { frame, byteLength } = decoded;
    assert(same(encodeFrame(frame), bytes.subarray(0, byteLength)));
    const cut = byteLength - 1;
    assertEquals(decodeFrame(bytes.subarray(0, cut)), undefined);
    return `${byteLength}`;
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    assert([1002, 1009].includes(error.closeCode));
    return `${error.closeCode} ${error.kind} ${error.message}`;
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

/** permessage-deflate for one side, with any parameters that can be agreed on. */
function agreed(chance: Chance, role: Role): Agreement {
  const offer = chance.once(2)
    ? deflate
    : permessageDeflate(deflateOptions(chance));
  const [parameters] = offer.offers();
  const server = offer.accept(parameters!)!;
  const client = offer.confirm(server.parameters);
  const session = role === "server" ? server : client;
  return {
    parameters: server.parameters,
    session,
    again: () =>
      role === "server"
        ? offer.accept(parameters!)!
        : offer.confirm(server.parameters),
    peer: role === "server" ? client : server,
  };
}

interface Agreement {
  /** As the server has answered. */
  readonly parameters: ExtensionParameters;
  /** This side's, another one for the same side, and the peer's. */
  readonly session: NegotiatedExtension;
  again(): NegotiatedExtension;
  readonly peer: NegotiatedExtension;
}

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
  if (chance.once(6)) {
    const entries = masks ? CORPUS.toServer : CORPUS.toClient;
    return concat(...chance.many(3, () => fromCorpus(chance, entries)));
  }
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
  role: Role;
  isCompressed: boolean;
  maxMessageSize: number;
  maxFragments: number;
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

/** How the bytes arrive, which must not make a difference. */
interface Arrival {
  cuts: number[];
  inPlace: boolean;
  /** Whether large parts are read to where the protocol wants them. */
  toDestination: boolean;
  /** Whether the memory of messages is given back. */
  reuse: boolean;
  /** Says whether it may go on at once. */
  mayGoOn(): boolean;
}

/** All events in what has been received, past pauses. */
function* eventsOf(protocol: WebSocketProtocol): Generator<ProtocolEvent> {
  for (let pauses = 0;; pauses++) {
    yield* protocol;
    if (!protocol.isPaused) return;
    assert(pauses < 100_000, "it does not go on");
    protocol.resume();
  }
}

/** Gives a protocol its bytes, in parts that are its own. */
function* deliveries(
  protocol: WebSocketProtocol,
  bytes: Uint8Array<ArrayBuffer>,
  { cuts, toDestination }: Arrival,
): Generator<Uint8Array<ArrayBuffer>> {
  let start = 0;
  for (const end of cuts) {
    while (start < end || start === end && !toDestination) {
      const part = bytes.subarray(start, end);
      const destination = toDestination ? protocol.destination : undefined;
      if (destination === undefined) {
        start = end;
        yield part.slice();
        break;
      }
      assert(destination.length > 0);
      const length = Math.min(destination.length, part.length);
      destination.set(part.subarray(0, length));
      start += length;
      yield destination.subarray(0, length);
    }
  }
}

/** All events and output for the bytes, as text. */
function outcomeOf(
  bytes: Uint8Array<ArrayBuffer>,
  settings: Settings,
  arrival: Arrival,
  extension: NegotiatedExtension | undefined,
): string {
  const protocol = new WebSocketProtocol({
    ...settings,
    extension,
    inPlace: arrival.inPlace,
    mayGoOn: () => arrival.mayGoOn(),
  });
  protocol.chunks = settings.chunks;
  protocol.reusesMemory = arrival.reuse;
  let text = "";
  let hash = 0;
  let length = 0;
  for (const part of deliveries(protocol, bytes, arrival)) {
    protocol.receive(part);
    for (const event of eventsOf(protocol)) {
      if (event.type === "close") {
        const { code, reason, wasClean, error } = event;
        const kind = error instanceof ProtocolError ? error.kind : error;
        text += `close ${code} ${reason} ${wasClean} ${kind}\n`;
        continue;
      }
      hash = addTo(hash, event.data);
      length += event.data.length;
      const isWhole = event.type !== "chunk" || event.fin;
      if (arrival.reuse && event.type !== "ping" && event.type !== "pong") {
        protocol.reuse(event.data);
      }
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
  // Pongs, up to a limit and the latest, and a Close frame, are all it may owe.
  assert(
    protocol.outputLength < MOST_OWED,
    `${protocol.outputLength} are owed`,
  );
  // What is owed to the peer.
  for (let owed; (owed = protocol.takeOutput()) !== undefined;) {
    for (let offset = 0; offset < owed.length;) {
      const decoded = decodeFrame(owed, { offset })!;
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
  // How much of a message that is too large is delivered before is not
  // specified.
  return settings.isCompressed ? text.replace(/at least \d+/g, "more") : text;
}

const TEXT = new TextDecoder();
const MOST_OWED = 64 * 1024 + 500;

/** Any stream, cut and delivered in two ways. */
export function receive(
  chance: Chance,
  role: Role = chance.pick(["client", "server"]),
  given?: Uint8Array<ArrayBuffer>,
): void {
  const isCompressed = chance.once(2);
  const settings: Settings = {
    role,
    isCompressed,
    maxMessageSize: chance.once(4) ? chance.below(1000) : 100_000,
    maxFragments: chance.once(4) ? 1 + chance.below(4) : 1000,
    chunks: chance.once(3),
    textAs: chance.once(2) ? "string" : "bytes",
  };
  const bytes = given ?? stream(chance, role === "server", isCompressed);
  const agreement = isCompressed ? agreed(chance, role) : undefined;
  const inPlace = chance.once(2);
  const expected = outcomeOf(bytes, settings, {
    cuts: [bytes.length],
    inPlace,
    toDestination: false,
    reuse: false,
    mayGoOn: () => true,
  }, agreement?.session);
  const cuts = chance.once(20) && bytes.length < 1000
    ? Array.from(bytes.keys())
    : chance.many(6, () => chance.below(bytes.length + 1));
  cuts.sort((a, b) => a - b).push(bytes.length);
  const pauses = chance.once(2);
  const outcome = outcomeOf(bytes, settings, {
    cuts,
    inPlace: !inPlace,
    toDestination: chance.once(2),
    reuse: chance.once(3),
    mayGoOn: () => !pauses || chance.once(3),
  }, agreement?.again());
  agreement?.peer.dispose?.();
  assertEquals(outcome, expected, `cut at ${cuts.slice(0, 8)}`);
}

// --- Sending ---------------------------------------------------------------

/** The options of `ws` for permessage-deflate. */
function wsExtensions(
  agreement: Agreement | undefined,
  isServer: boolean,
): Record<string, unknown> {
  if (agreement === undefined) return {};
  const deflate = new (PerMessageDeflate as unknown as {
    new (options: object): { params: Record<string, unknown> };
  })({ isServer });
  deflate.params = Object.fromEntries(
    agreement.parameters.map((
      [name, value],
    ) => [name, value === undefined ? true : Number(value)]),
  );
  return { "permessage-deflate": deflate };
}

/**
 * What `ws` makes of the bytes: it throws, or rejects, if it does not take them.
 * With permessage-deflate it is asynchronous.
 */
function receivedByWs(
  bytes: Uint8Array,
  isServer: boolean,
  agreement?: Agreement,
): string[] | Promise<string[]> {
  const receiver = new Receiver({
    isServer,
    allowSynchronousEvents: true,
    maxPayload: 0,
    skipUTF8Validation: false,
    extensions: wsExtensions(agreement, isServer),
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
  if (agreement === undefined) {
    receiver.write(Buffer.from(bytes));
    if (failure !== undefined) throw failure;
    return seen;
  }
  return new Promise((resolve, reject) => {
    receiver.on("error", reject);
    receiver.on("finish", () => resolve(seen));
    receiver.write(Buffer.from(bytes));
    receiver.end();
  });
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

/** What is sent is what a peer receives: one of our own, and `ws`. */
export function send(chance: Chance): void | Promise<void> {
  const role = chance.once(2) ? "server" : "client";
  const agreement = chance.once(2) ? agreed(chance, role) : undefined;
  const ours = agreement?.session;
  const theirs = agreement?.peer;
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
  ours?.dispose?.();
  theirs?.dispose?.();
  // With compression it takes 1 ms.
  if (agreement !== undefined && !chance.once(8)) return;
  const seen = receivedByWs(bytes, role === "client", agreement);
  if (!(seen instanceof Promise)) return assertEquals(seen, expected);
  return seen.then((seen) => assertEquals(seen, expected));
}

/** The output of a protocol that fails is well-formed, too. */
export function failures(chance: Chance): void | Promise<void> {
  const role = chance.once(2) ? "server" : "client";
  const agreement = chance.once(4) ? agreed(chance, role) : undefined;
  const extension = agreement?.session;
  const protocol = new WebSocketProtocol({
    role,
    extension,
    maxMessageSize: 2000,
  });
  const bytes = stream(chance, role === "server", agreement !== undefined);
  for (const _ of protocol.receive(bytes));
  const owed = protocol.takeOutput()?.slice();
  extension?.dispose?.();
  agreement?.peer.dispose?.();
  if (owed === undefined) return;
  const check = (seen: string[]): void => {
    const codes = seen.filter((event) => event.startsWith("close"));
    assertEquals(codes.length, protocol.state === "open" ? 0 : 1);
    if (protocol.state !== "failed") return;
    const { InvalidFramePayloadData, MessageTooBig, ProtocolError } = CloseCode;
    const allowed: number[] = [ProtocolError, InvalidFramePayloadData];
    allowed.push(MessageTooBig);
    // Work without end (RFC 7692 has no code for it).
    if (agreement !== undefined) allowed.push(CloseCode.PolicyViolation);
    assert(allowed.some((code) => codes[0]!.startsWith(`close ${code} `)));
  };
  const seen = receivedByWs(owed, role === "client", agreement);
  if (!(seen instanceof Promise)) return check(seen);
  return seen.then(check);
}
