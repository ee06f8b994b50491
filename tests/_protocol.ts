/**
 * Streams of frames for a {@linkcode WebSocketProtocol}, and their outcome,
 * however they are cut.
 */
import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  decodeFrame,
  encodeClosePayload,
  encodeFrame,
  type FrameInit,
  Opcode,
  ProtocolError,
  type Role,
} from "../frame.ts";
import {
  type ProtocolEvent,
  type ProtocolOptions,
  type ProtocolState,
  WebSocketProtocol,
} from "../protocol.ts";
import { concat, utf8 } from "./_bytes.ts";
import { seed } from "./_property.ts";

export const ROLES: Role[] = ["server", "client"];
export const KEY = 0x37fa213d;

// Frames, masked or not when they are put on the wire

type Data = string | Uint8Array;

function payloadOf(data: Data): Uint8Array {
  return typeof data === "string" ? utf8(data) : data;
}

export function text(data: Data = "", fin = true): FrameInit {
  return { opcode: Opcode.Text, fin, payload: payloadOf(data) };
}

export function binary(data: Data = "", fin = true): FrameInit {
  return { opcode: Opcode.Binary, fin, payload: payloadOf(data) };
}

export function more(data: Data = "", fin = false): FrameInit {
  return { opcode: Opcode.Continuation, fin, payload: payloadOf(data) };
}

export function last(data: Data = ""): FrameInit {
  return more(data, true);
}

export function ping(data: Data = ""): FrameInit {
  return { opcode: Opcode.Ping, payload: payloadOf(data) };
}

export function pong(data: Data = ""): FrameInit {
  return { opcode: Opcode.Pong, payload: payloadOf(data) };
}

export function close(code?: number | Uint8Array, reason = ""): FrameInit {
  const payload = typeof code === "number" || code === undefined
    ? encodeClosePayload(code, reason)
    : code;
  return { opcode: Opcode.Close, payload };
}

/** The frames as the peer of `role` sends them. Bytes are let through. */
export function wire(
  role: Role,
  ...frames: (FrameInit | Uint8Array)[]
): Uint8Array<ArrayBuffer> {
  let key = KEY;
  return concat(...frames.map((frame) => {
    if (frame instanceof Uint8Array) return frame;
    key = Math.imul(key, 0x9e3779b1) >>> 0;
    const maskingKey = role === "server" ? key : undefined;
    return encodeFrame({ maskingKey, ...frame });
  }));
}

// Events and output

/** An error without its stack. */
export interface Fault {
  closeCode: number;
  kind: string;
  message: string;
}

/** An event in which a failure can be compared. */
export type Seen =
  | Exclude<ProtocolEvent, { type: "close" }>
  | {
    type: "close";
    code: number;
    reason: string;
    wasClean: boolean;
    error?: Fault | Error;
  };

/** A frame that the protocol has sent. */
export interface Sent {
  fin: boolean;
  reservedBits: number;
  opcode: number;
  payload: Uint8Array;
}

/** All that can be seen of a protocol that has been given bytes. */
export interface Outcome {
  events: Seen[];
  sent: Sent[];
  state: ProtocolState;
  transport: string;
}

export function seen(event: ProtocolEvent): Seen {
  if (event.type !== "close") return event;
  const { error, ...rest } = event;
  if (error === undefined) return rest;
  if (!(error instanceof ProtocolError)) return { ...rest, error };
  const { closeCode, kind, message } = error;
  return { ...rest, error: { closeCode, kind, message } };
}

/** Takes all events that there are now. */
export function drain(protocol: WebSocketProtocol): Seen[] {
  const events: Seen[] = [];
  for (;;) {
    const event = protocol.nextEvent();
    if (event === undefined) return events;
    events.push(seen(event));
  }
}

/** Takes a copy of all bytes that are owed to the peer. */
export function takeAll(protocol: WebSocketProtocol): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let owed = protocol.outputLength;
  for (let part; (part = protocol.takeOutput()) !== undefined;) {
    parts.push(part.slice());
    owed -= part.length;
    protocol.releaseOutput();
  }
  assert(owed <= 0, "outputLength told of more than there was");
  assertEquals(protocol.outputLength, 0);
  return concat(...parts);
}

/** The frames in bytes that `role` has sent; they must be masked by role. */
export function framesFrom(
  role: Role,
  bytes: Uint8Array<ArrayBuffer>,
): Sent[] {
  const frames: Sent[] = [];
  for (let offset = 0; offset < bytes.length;) {
    const decoded = decodeFrame(bytes, { offset });
    assert(decoded !== undefined, "the last frame is cut off");
    const { maskingKey, ...frame } = decoded.frame;
    assertEquals(maskingKey !== undefined, role === "client", "masking (§5.1)");
    frames.push(frame);
    offset += decoded.byteLength;
  }
  return frames;
}

export function sentBy(protocol: WebSocketProtocol): Sent[] {
  return framesFrom(protocol.role, takeAll(protocol));
}

/** A frame as {@linkcode sentBy} returns it. */
export function sent(frame: FrameInit): Sent {
  return {
    fin: frame.fin ?? true,
    reservedBits: frame.reservedBits ?? 0,
    opcode: frame.opcode,
    payload: frame.payload ?? new Uint8Array(0),
  };
}

function outcomeOf(protocol: WebSocketProtocol, events: Seen[]): Outcome {
  return {
    events,
    sent: sentBy(protocol),
    state: protocol.state,
    transport: protocol.transport,
  };
}

// However the bytes are cut

/** Where the bytes are cut. */
export type Cuts = number[];

/** Deterministic numbers below 1, so that a printed seed repeats a run. */
export function randomNumbers(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ state >>> 15, state | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
  };
}

// Longer streams are not cut at every single point.
const EVERY_POINT_UP_TO = 400;

/** Ways to cut a stream: not at all, at each point, everywhere, at random. */
export function* waysToCut(length: number): Generator<Cuts> {
  const isShort = length <= EVERY_POINT_UP_TO;
  const random = randomNumbers(seed);
  yield [];
  for (let at = 1; at < length; at++) {
    if (isShort || at < 16 || at > length - 4) yield [at];
  }
  const step = isShort ? 1 : Math.ceil(length / EVERY_POINT_UP_TO);
  yield Array.from({ length: Math.ceil(length / step) }, (_, i) => i * step);
  for (let i = 0; i < (isShort ? 16 : 4); i++) {
    const count = 1 + Math.floor(random() * 8);
    yield Array.from({ length: count }, () => Math.floor(random() * length))
      .sort((a, b) => a - b);
  }
}

export function cut(
  bytes: Uint8Array<ArrayBuffer>,
  cuts: Cuts,
): Uint8Array<ArrayBuffer>[] {
  const ends = [...cuts, bytes.length];
  return ends.map((end, i) => bytes.subarray(cuts[i - 1] ?? 0, end));
}

/** How the events of a cut stream are asked for. */
export type Way = "eagerly" | "late" | "in place" | "to the destination";
export const WAYS: Way[] = [
  "eagerly",
  "late",
  "in place",
  "to the destination",
];

/** Gives the parts to the protocol, and takes its events. */
export function feed(
  protocol: WebSocketProtocol,
  parts: Uint8Array<ArrayBuffer>[],
  way: Way = "eagerly",
): Seen[] {
  const events: Seen[] = [];
  if (way === "late") {
    for (const part of parts) protocol.receive(part);
    return drain(protocol);
  }
  for (const part of parts) {
    for (let at = 0; at < part.length;) {
      const there = way === "to the destination"
        ? protocol.destination
        : undefined;
      const length = Math.min(part.length - at, there?.length ?? Infinity);
      const bytes = part.subarray(at, at + length);
      at += length;
      if (there === undefined) protocol.receive(bytes);
      else {
        there.set(bytes);
        protocol.receive(there.subarray(0, length));
      }
      events.push(...drain(protocol));
    }
  }
  return events;
}

function protocolFor(options: ProtocolOptions, way: Way): WebSocketProtocol {
  return new WebSocketProtocol({
    ...options,
    ...(way === "in place" ? { inPlace: true } : undefined),
  });
}

/** The outcome of the bytes, cut and taken in one way. */
export function outcome(
  options: ProtocolOptions,
  bytes: Uint8Array<ArrayBuffer>,
  cuts: Cuts = [],
  way: Way = "eagerly",
): Outcome {
  const protocol = protocolFor(options, way);
  const own = bytes.slice();
  const events = feed(protocol, cut(own, cuts), way);
  const result = outcomeOf(protocol, events);
  if (!options.inPlace && way !== "in place") {
    assertEquals(own, bytes, "received bytes were changed");
  }
  return result;
}

/** Messages put together from their chunks; one that is unfinished is left out. */
export function joinChunks(events: Seen[]): Seen[] {
  const joined: Seen[] = [];
  let parts: Uint8Array[] = [];
  let isText = false;
  for (const event of events) {
    if (event.type !== "chunk") {
      joined.push(event);
      continue;
    }
    isText ||= typeof event.data === "string";
    assert(event.fin || event.data.length > 0, "an empty chunk");
    parts.push(payloadOf(event.data));
    if (!event.fin) continue;
    const whole = concat(...parts);
    const data = isText
      ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole)
      : whole;
    joined.push(
      event.of === "text"
        ? { type: "text", data }
        : { type: "binary", data: data as Uint8Array<ArrayBuffer> },
    );
    parts = [];
    isText = false;
  }
  return joined;
}

/** As {@linkcode outcome}, in chunks, which are then put together. */
export function outcomeInChunks(
  options: ProtocolOptions,
  bytes: Uint8Array<ArrayBuffer>,
  cuts: Cuts = [],
  way: Way = "eagerly",
): Outcome {
  const protocol = protocolFor(options, way);
  protocol.chunks = true;
  const events = feed(protocol, cut(bytes.slice(), cuts), way);
  return outcomeOf(protocol, joinChunks(events));
}

/** The expected outcome of a stream; what is left out is not compared. */
export interface Expected {
  events?: Seen[];
  sent?: FrameInit[];
  state?: ProtocolState;
  transport?: string;
}

/**
 * Asserts the outcome of the bytes that the peer sends, cut in every way, taken
 * in every way, whole and in chunks.
 *
 * @returns The one outcome.
 */
export function assertReceived(
  options: ProtocolOptions,
  bytes: Uint8Array<ArrayBuffer>,
  expected: Expected = {},
): Outcome {
  const whole = outcome(options, bytes);
  const told = `${options.role}, ${whole.events.map(({ type }) => type)}`;
  if (expected.events) assertEquals(whole.events, expected.events, told);
  if (expected.sent) assertEquals(whole.sent, expected.sent.map(sent), told);
  if (expected.state) assertEquals(whole.state, expected.state, told);
  if (expected.transport) {
    assertEquals(whole.transport, expected.transport, told);
  }
  let turn = seed;
  for (const cuts of waysToCut(bytes.length)) {
    // Uncut and cut everywhere in all ways; at other points they take turns.
    const isExtreme = cuts.length === 0 || cuts.length > 8;
    const ways = isExtreme ? WAYS : [WAYS[turn++ % WAYS.length]!];
    for (const way of ways) {
      const message = `cut at ${cuts.slice(0, 20)}, ${way}, SEED=${seed}`;
      assertEquals(outcome(options, bytes, cuts, way), whole, message);
      const inChunks = outcomeInChunks(options, bytes, cuts, way);
      assertEquals(inChunks, whole, `${message}, in chunks`);
    }
  }
  return whole;
}

/**
 * Asserts that the connection fails, with which code and kind, what came before
 * it, and that the Close frame on the wire says so.
 *
 * @param at After how many bytes it has to fail; by default the last of them.
 */
export function assertFails(
  options: ProtocolOptions,
  bytes: Uint8Array<ArrayBuffer>,
  expected: {
    closeCode: number;
    kind: string;
    reason?: string;
    before?: Seen[];
    sentBefore?: FrameInit[];
    at?: number;
  },
): void {
  const { closeCode, kind, before = [], sentBefore = [] } = expected;
  const { at = bytes.length } = expected;
  const result = assertReceived(options, bytes, { state: "failed" });
  assertEquals(result.transport, "close");
  const end = result.events.at(-1)!;
  assert(end.type === "close");
  assert(end.error !== undefined && "kind" in end.error);
  assertEquals([end.error.closeCode, end.error.kind], [closeCode, kind]);
  assertEquals([end.code, end.wasClean], [closeCode, false]);
  assertEquals(result.events.slice(0, -1), before);
  assertEquals(
    result.sent,
    [...sentBefore, close(closeCode, end.reason)].map(sent),
  );
  assertEquals(end.reason, end.error.message.slice(0, end.reason.length));
  assert(end.reason.length > 10, "the reason says why (§7.1.6)");
  if (expected.reason !== undefined) assertEquals(end.reason, expected.reason);
  const upTo = bytes.subarray(0, at);
  assertFalse(
    outcome(options, upTo.subarray(0, at - 1)).state === "failed",
    `failed before byte ${at}`,
  );
  assertEquals(outcome(options, upTo).state, "failed", `open at byte ${at}`);
}

export function textEvent(data: string): Seen {
  return { type: "text", data };
}

export function binaryEvent(data: Uint8Array<ArrayBuffer>): Seen {
  return { type: "binary", data };
}

export function pingEvent(data = ""): Seen {
  return { type: "ping", data: utf8(data) };
}

export function pongEvent(data = ""): Seen {
  return { type: "pong", data: utf8(data) };
}

/** A connection that ended as it should. */
export function cleanClose(code = 1005, reason = ""): Seen {
  return { type: "close", code, reason, wasClean: true };
}
