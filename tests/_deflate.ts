/** Both ends of permessage-deflate, with either compressor, and what to send. */
import { assert } from "@std/assert";
import {
  acceptOffer,
  confirmResponse,
  type DeflateAgreement,
  type DeflateDemands,
  offerParameters,
} from "../_deflate_parameters.ts";
import {
  DeflateSession,
  spareDeflaters,
  spareInflaters,
} from "../_deflate_session.ts";
import {
  chooseDeflater,
  type Deflater,
  type DeflaterMaker,
  PakoDeflater,
} from "../_deflater.ts";
import type { ExtensionParameters, NegotiatedExtension } from "../extension.ts";
import { Inflater } from "../_inflater.ts";
import { Leases } from "../_leases.ts";
import { Line } from "../_line.ts";
import { concat, pattern, utf8 } from "./_bytes.ts";

/** The compressors, by name: the best of this runtime, and the portable one. */
export const COMPRESSORS: Record<string, () => DeflaterMaker> = {
  best: chooseDeflater,
  pako: () => (settings) => new PakoDeflater(settings),
};

export interface SessionOptions {
  compressor?: string;
  level?: number;
  memLevel?: number;
  maxContexts?: number;
  threshold?: number;
}

/** Makes sessions that share compressors and decompressors. */
export function sessionMaker(
  options: SessionOptions = {},
): (agreement: DeflateAgreement) => DeflateSession {
  const { compressor = "best", level, memLevel = 8, maxContexts = 16 } =
    options;
  const { threshold = 0 } = options;
  const make = COMPRESSORS[compressor]!();
  const settingsKey = `${level}; ${memLevel}`;
  const resources = {
    deflaters: new Leases<DeflateSession, Deflater>({
      capacity: maxContexts,
      spares: spareDeflaters,
      kind: `${compressor}; ${settingsKey}`,
      make: (windowBits) => make({ level, memLevel, windowBits }),
    }),
    inflaters: new Leases<DeflateSession, Inflater>({
      capacity: maxContexts,
      spares: spareInflaters,
      kind: "",
      make: (windowBits) => new Inflater(windowBits),
    }),
    unfinished: { line: new Line<DeflateSession>(), most: Infinity },
    settingsKey,
    threshold: { contextTakeover: threshold, noContextTakeover: threshold },
  };
  return (agreement) => new DeflateSession(agreement, resources);
}

const NO_DEMANDS: DeflateDemands = {
  serverNoContextTakeover: false,
  clientNoContextTakeover: false,
  serverMaxWindowBits: undefined,
  clientMaxWindowBits: undefined,
};

/** The agreement of a server and a client with the same demands. */
export function agree(
  demands: Partial<DeflateDemands> = {},
): { server: DeflateAgreement; client: DeflateAgreement } {
  const all = { ...NO_DEMANDS, ...demands };
  const server = acceptOffer(offerParameters(all), all, 15);
  assert(server !== undefined, "the offer was declined");
  return { server, client: confirmResponse(server.parameters, all) };
}

/** A server and a client that share nothing. */
export function pair(
  demands: Partial<DeflateDemands> = {},
  options: SessionOptions = {},
): { server: DeflateSession; client: DeflateSession } {
  const { server, client } = agree(demands);
  return {
    server: sessionMaker(options)(server),
    client: sessionMaker(options)(client),
  };
}

/**
 * The peer's side, with the largest window and otherwise default parameters.
 */
export function session(
  parameters: ExtensionParameters = [],
  options: SessionOptions = {},
): DeflateSession {
  const accepted = acceptOffer(parameters, NO_DEMANDS, 15);
  assert(accepted !== undefined, "the offer was declined");
  return sessionMaker(options)(accepted);
}

/** A message as its receiver sees it, given in fragments. */
export function decodeAll(
  receiver: NegotiatedExtension,
  ...fragments: Uint8Array[]
): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [];
  fragments.forEach((fragment, i) => {
    receiver.decode(
      fragment,
      i === fragments.length - 1,
      (piece) => pieces.push(piece),
    );
  });
  return concat(...pieces);
}

/** A whole message, compressed. */
export function encodeWhole(
  sender: DeflateSession,
  data: Uint8Array,
): Uint8Array {
  const encoded = sender.encode(data, true, true);
  assert(encoded !== undefined, "the message was not compressed");
  return encoded.slice();
}

/** Pseudo-random numbers, the same in each run. */
export function noise(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  let state = seed >>> 0 || 1;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 16;
  });
}

const WORDS =
  "the quick brown fox jumps over a lazy dog while seven green birds"
    .split(" ");

function repeat(part: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => part[i % part.length]!);
}

/** A text made of pseudo-random numbers, cut to length. */
function grown(
  length: number,
  grow: (byte: number, i: number) => string,
): Uint8Array<ArrayBuffer> {
  const bytes = noise(length, length + 7);
  let text = "";
  for (let i = 0; text.length < length; i++) text += grow(bytes[i]!, i);
  return utf8(text).slice(0, length);
}

/** Typical messages, and some that compress badly, of any length in bytes. */
export const PAYLOADS: Record<
  string,
  (length: number) => Uint8Array<ArrayBuffer>
> = {
  "zeros": (length) => new Uint8Array(length),
  "one character": (length) => new Uint8Array(length).fill(0x61),
  "two characters in turn": (length) => repeat(utf8("ab"), length),
  "a ramp": (length) => Uint8Array.from({ length }, (_, i) => i),
  "a pattern": pattern,
  "noise": (length) => noise(length),
  "noise of 4 bits": (length) => noise(length).map((byte) => byte & 0x0f),
  "words": (length) =>
    grown(length, (byte) => `${WORDS[byte % WORDS.length]} `),
  "JSON": (length) =>
    grown(
      length,
      (byte, i) => `{"id":${i},"price":${byte * 37 / 100},"ok":true},`,
    ),
  "Chinese": (length) => repeat(utf8("通信協議的壓縮擴展"), length),
  "hex digits": (length) =>
    grown(length, (byte) => byte.toString(16).padStart(2, "0")),
  "repeated at the window's edge": (length) => repeat(noise(32768), length),
  "repeated past the window": (length) => repeat(noise(33000), length),
};
