/**
 * The frame format of RFC 6455 §5, as pure functions on `Uint8Array`.
 *
 * Decoding and judging are apart: {@linkcode decodeFrameHeader} knows the
 * layout of §5.2 and nothing else, {@linkcode checkFrameHeader} holds the rules
 * that depend on who receives the frame. Functions that change the bytes they
 * are given say so in their name or by an option; all others leave them alone.
 *
 * This module imports nothing and runs wherever JavaScript does.
 *
 * @example Encode a frame, and decode it again
 * ```ts
 * import { decodeFrame, encodeFrame, Opcode } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = new TextEncoder().encode("Hello");
 * const bytes = encodeFrame({ opcode: Opcode.Text, payload });
 * assertEquals(bytes, new Uint8Array([0x81, 5, 72, 101, 108, 108, 111]));
 * assertEquals(decodeFrame(bytes)?.frame.payload, payload);
 * ```
 *
 * @module
 */

/**
 * What a frame is for (RFC 6455 §5.2). The values not named here are reserved.
 *
 * @example Tell a ping by its opcode
 * ```ts
 * import { decodeFrameHeader, Opcode } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const header = decodeFrameHeader(new Uint8Array([0x89, 0]));
 * assertEquals(header?.opcode, Opcode.Ping);
 * ```
 */
export const Opcode = {
  /** A further fragment of the message that an earlier frame began. */
  Continuation: 0x0,
  /** The first or only fragment of a text message. */
  Text: 0x1,
  /** The first or only fragment of a binary message. */
  Binary: 0x2,
  /** Closes the connection; may carry a code and a reason. */
  Close: 0x8,
  /** Asks for a pong. */
  Ping: 0x9,
  /** Answers a ping, or tells unasked that this side is alive. */
  Pong: 0xa,
} as const;

/** One of the six opcodes that RFC 6455 §5.2 defines. */
export type Opcode = (typeof Opcode)[keyof typeof Opcode];

/**
 * Why a connection is closed (RFC 6455 §7.4.1 and the IANA registry). Codes
 * from 3000 to 3999 are registered by libraries, 4000 to 4999 are free.
 *
 * @example Say that a server goes down
 * ```ts
 * import { CloseCode, encodeClosePayload } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   encodeClosePayload(CloseCode.GoingAway),
 *   new Uint8Array([0x03, 0xe9]), // 1001
 * );
 * ```
 */
export const CloseCode = {
  /** The purpose of the connection is fulfilled. */
  NormalClosure: 1000,
  /** A server goes down, or a browser leaves the page. */
  GoingAway: 1001,
  /** The peer broke the protocol. */
  ProtocolError: 1002,
  /** The peer sent a kind of data that this side does not take. */
  UnsupportedData: 1003,
  /** Never on the wire: the Close frame carried no code. */
  NoStatusReceived: 1005,
  /** Never on the wire: the connection ended without a Close frame. */
  AbnormalClosure: 1006,
  /** A text message or a close reason is not UTF-8. */
  InvalidFramePayloadData: 1007,
  /** A rule of the application is broken, and no other code fits. */
  PolicyViolation: 1008,
  /** A message is larger than this side takes. */
  MessageTooBig: 1009,
  /** A client lacks an extension in the server's response. */
  MandatoryExtension: 1010,
  /** The server met a condition that it did not expect. */
  InternalError: 1011,
  /** The server restarts; a client may connect again, after a random delay. */
  ServiceRestart: 1012,
  /** The server is overloaded; a client should connect again later. */
  TryAgainLater: 1013,
  /** The server is a gateway, and what is behind it answered wrongly. */
  BadGateway: 1014,
  /** Never on the wire: the TLS handshake failed. */
  TlsHandshake: 1015,
} as const;

/** One of the close codes in {@linkcode CloseCode}. */
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/**
 * Which end of the connection an endpoint is: the one that asked for it, and
 * masks what it sends (RFC 6455 §5.1), or the one that answered.
 */
export type Role = "client" | "server";

/**
 * What a {@linkcode ProtocolError} is about; stable, for programs to branch on.
 * Sections are those of RFC 6455; the code is 1002 unless it says otherwise.
 *
 * - `"reserved-bits"`: RSV1, RSV2 or RSV3 is set, and no extension claims it
 *   (§5.2).
 * - `"reserved-opcode"`: the opcode has no meaning (§5.2).
 * - `"masking"`: a client's frame is not masked, or a server's is (§5.1).
 * - `"length-not-minimal"`: a length takes more bytes than it needs (§5.2).
 * - `"length-too-large"`: a length with its top bit set (§5.2), or one above
 *   2^53-1: 1009.
 * - `"control-frame-fragmented"`, `"control-frame-too-long"`: §5.5.
 * - `"unexpected-continuation"`: there is no message to continue (§5.4).
 * - `"expected-continuation"`: a message begins within another (§5.4).
 * - `"message-too-big"`: above the limit of this side: 1009.
 * - `"too-many-fragments"`: above the limit of this side: 1008.
 * - `"invalid-utf8"`: in a text message or a close reason (§8.1): 1007.
 * - `"invalid-close-payload"`: a Close frame of one byte (§5.5.1).
 * - `"invalid-close-code"`: one that must not be sent (§7.4).
 * - `"extension"`: an extension cannot read the payload, with the code that it
 *   chooses. Of a compressed one: 1007 if it is malformed, 1008 if it is made to
 *   keep this side busy, 1013 if it came so slowly that others needed the memory.
 * - `"internal"`: this side is at fault: 1011.
 */
export type ProtocolErrorKind =
  | "reserved-bits"
  | "reserved-opcode"
  | "masking"
  | "length-not-minimal"
  | "length-too-large"
  | "control-frame-fragmented"
  | "control-frame-too-long"
  | "unexpected-continuation"
  | "expected-continuation"
  | "message-too-big"
  | "too-many-fragments"
  | "invalid-utf8"
  | "invalid-close-payload"
  | "invalid-close-code"
  | "extension"
  | "internal";

/** Options of {@linkcode ProtocolError}. */
export interface ProtocolErrorOptions extends ErrorOptions {
  /** The code of the Close frame that answers the fault. */
  closeCode: number;
  /** What the fault is. */
  kind: ProtocolErrorKind;
}

/**
 * The peer broke the protocol, or went over a limit. The error carries the
 * close code to answer with (RFC 6455 §7.4.1), decided where the fault is seen.
 *
 * @example What was wrong, and what to answer
 * ```ts
 * import {
 *   decodeFrameHeader,
 *   encodeClosePayload,
 *   ProtocolError,
 * } from "@sansio/websocket/frame";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * // 5 bytes, announced in the 16-bit form
 * const error = assertThrows(
 *   () => decodeFrameHeader(new Uint8Array([0x82, 126, 0, 5])),
 *   ProtocolError,
 * );
 * assertEquals(error.name, "ProtocolError");
 * assertEquals(error.kind, "length-not-minimal");
 * assertEquals(
 *   encodeClosePayload(error.closeCode),
 *   new Uint8Array([0x03, 0xea]), // 1002
 * );
 * ```
 */
export class ProtocolError extends Error {
  /** The name of the class, for logs. */
  override readonly name = "ProtocolError";
  /** The code of the Close frame that answers this fault. */
  readonly closeCode: number;
  /** What the fault is, for programs to branch on. */
  readonly kind: ProtocolErrorKind;

  /**
   * An error that says what is wrong, and what to answer.
   *
   * @param message What was wrong, with the offending value.
   * @param options The close code, the kind and, where there is one, the cause.
   */
  constructor(message: string, options: ProtocolErrorOptions) {
    super(message, options);
    this.closeCode = options.closeCode;
    this.kind = options.kind;
  }
}

/**
 * RSV1 in {@linkcode FrameHeader.reservedBits} (RFC 6455 §5.2). It marks a
 * compressed message where permessage-deflate is agreed on (RFC 7692 §6).
 *
 * @example A frame that may be compressed
 * ```ts
 * import {
 *   checkFrameHeader,
 *   decodeFrameHeader,
 *   RSV1,
 * } from "@sansio/websocket/frame";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const header = decodeFrameHeader(new Uint8Array([0xc1, 0]))!;
 * assertEquals(header.reservedBits, RSV1);
 *
 * checkFrameHeader(header, { role: "client", reservedBits: RSV1 });
 * assertThrows(() => checkFrameHeader(header, { role: "client" }));
 * ```
 */
export const RSV1 = 0b100;
/**
 * RSV2 in {@linkcode FrameHeader.reservedBits} (RFC 6455 §5.2). No registered
 * extension claims it.
 *
 * @example A frame with RSV2
 * ```ts
 * import { decodeFrameHeader, RSV2 } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const header = decodeFrameHeader(new Uint8Array([0xa1, 0]));
 * assertEquals(header?.reservedBits, RSV2);
 * ```
 */
export const RSV2 = 0b010;
/**
 * RSV3 in {@linkcode FrameHeader.reservedBits} (RFC 6455 §5.2). No registered
 * extension claims it.
 *
 * @example A frame with RSV3
 * ```ts
 * import { decodeFrameHeader, RSV3 } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const header = decodeFrameHeader(new Uint8Array([0x91, 0]));
 * assertEquals(header?.reservedBits, RSV3);
 * ```
 */
export const RSV3 = 0b001;

/**
 * The largest payload of a control frame, in bytes (RFC 6455 §5.5).
 *
 * @example A ping that is too long
 * ```ts
 * import {
 *   checkFrameHeader,
 *   decodeFrameHeader,
 *   MAX_CONTROL_PAYLOAD_LENGTH,
 * } from "@sansio/websocket/frame";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const header = decodeFrameHeader(new Uint8Array([0x89, 126, 0, 126]))!;
 * assertEquals(header.payloadLength, MAX_CONTROL_PAYLOAD_LENGTH + 1);
 * assertThrows(() => checkFrameHeader(header, { role: "client" }));
 * ```
 */
export const MAX_CONTROL_PAYLOAD_LENGTH = 125;

/**
 * The largest header, in bytes: 64-bit length and masking key (RFC 6455 §5.2).
 *
 * @example A buffer that every header fits
 * ```ts
 * import {
 *   encodeFrameHeaderInto,
 *   MAX_FRAME_HEADER_LENGTH,
 *   Opcode,
 * } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = new Uint8Array(MAX_FRAME_HEADER_LENGTH);
 * const header = {
 *   opcode: Opcode.Binary,
 *   maskingKey: 1,
 *   payloadLength: 2 ** 32,
 * };
 * assertEquals(encodeFrameHeaderInto(header, buffer), buffer.length);
 * ```
 */
export const MAX_FRAME_HEADER_LENGTH = 14;

/** The fields in front of a frame's payload (RFC 6455 §5.2). */
export interface FrameHeader {
  /** FIN: whether this is the last fragment of its message. */
  fin: boolean;
  /** RSV1, RSV2 and RSV3 as one number of three bits, RSV1 the highest. */
  reservedBits: number;
  /** The opcode as on the wire, 0 to 15; it may be a reserved one. */
  opcode: number;
  /**
   * Masking-key, its four bytes as a big-endian unsigned number, or
   * `undefined` where the MASK bit is not set.
   */
  maskingKey: number | undefined;
  /** Payload length, in bytes. */
  payloadLength: number;
  /** The length of the header itself, in bytes: 2 to 14. */
  byteLength: number;
}

/**
 * A frame with its payload (RFC 6455 §5.2), and what its header has said of it.
 */
export interface Frame {
  /** FIN: whether this is the last fragment of its message. */
  readonly fin: boolean;
  /** RSV1, RSV2 and RSV3, as in {@linkcode FrameHeader.reservedBits}. */
  readonly reservedBits: number;
  /** The opcode as on the wire, 0 to 15; it may be a reserved one. */
  readonly opcode: number;
  /**
   * The masking key that the payload came with, as in
   * {@linkcode FrameHeader.maskingKey}.
   */
  readonly maskingKey: number | undefined;
  /** The payload data, unmasked. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** What {@linkcode decodeFrame} finds. */
export interface DecodedFrame {
  /** The frame. */
  readonly frame: Frame;
  /** The length of the frame with its header, in bytes. */
  readonly byteLength: number;
}

/** What {@linkcode encodeFrame} takes. */
export interface FrameInit {
  /**
   * FIN: whether this is the last fragment of its message.
   *
   * @default {true}
   */
  fin?: boolean | undefined;
  /**
   * RSV1, RSV2 and RSV3 as one number of three bits, RSV1 the highest.
   *
   * @default {0}
   */
  reservedBits?: number | undefined;
  /** The opcode, 0 to 15; a reserved one is encoded as it is. */
  opcode: number;
  /**
   * The masking key, an unsigned 32-bit number; a client needs a fresh random
   * one for every frame (RFC 6455 §5.3), a server must leave it out.
   *
   * @default {undefined}
   */
  maskingKey?: number | undefined;
  /**
   * The payload data, unmasked. It is never changed.
   *
   * @default {new Uint8Array(0)}
   */
  payload?: Uint8Array | undefined;
}

/** What {@linkcode encodeFrameHeader} takes. */
export interface FrameHeaderInit {
  /**
   * FIN: whether this is the last fragment of its message.
   *
   * @default {true}
   */
  fin?: boolean | undefined;
  /**
   * RSV1, RSV2 and RSV3, as in {@linkcode FrameInit.reservedBits}.
   *
   * @default {0}
   */
  reservedBits?: number | undefined;
  /** The opcode, 0 to 15; a reserved one is encoded as it is. */
  opcode: number;
  /**
   * The masking key, as in {@linkcode FrameInit.maskingKey}.
   *
   * @default {undefined}
   */
  maskingKey?: number | undefined;
  /** The length of the payload that follows, in bytes: 0 to 2^53-1. */
  payloadLength: number;
}

/** The receiver's side of the rules that {@linkcode checkFrameHeader} applies. */
export interface FrameRules {
  /** Which end receives: a server takes masked frames only, a client unmasked ones. */
  role: Role;
  /**
   * The reserved bits that a negotiated extension gives a meaning to, as in
   * {@linkcode FrameHeader.reservedBits}.
   *
   * @default {0}
   */
  reservedBits?: number | undefined;
  /**
   * The largest payload to take in one frame, in bytes.
   *
   * @default {Infinity}
   */
  maxPayloadLength?: number | undefined;
}

function fault(
  kind: ProtocolErrorKind,
  message: string,
  closeCode: number = CloseCode.ProtocolError,
): ProtocolError {
  return new ProtocolError(message, { closeCode, kind });
}

/**
 * Decodes the header of the frame that begins at `offset` (RFC 6455 §5.2). It
 * knows the layout only; {@linkcode checkFrameHeader} knows the rules.
 *
 * @param bytes What has been received; not changed.
 * @param offset Where the frame begins, in bytes.
 * @param into A header to fill in and return in place of a new one, for
 * programs that decode millions of them.
 * @returns The header, or `undefined` if more bytes are needed.
 * @throws {ProtocolError} 1002 if the length is not in its shortest form or has
 * its top bit set, 1009 if it is over 2^53-1; as soon as the length is there.
 *
 * @example A masked text frame of 5 bytes
 * ```ts
 * import { decodeFrameHeader, Opcode } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = new Uint8Array([0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
 * assertEquals(decodeFrameHeader(bytes), {
 *   fin: true,
 *   reservedBits: 0,
 *   opcode: Opcode.Text,
 *   maskingKey: 0x37fa213d,
 *   payloadLength: 5,
 *   byteLength: 6,
 * });
 * assertEquals(decodeFrameHeader(bytes.subarray(0, 5)), undefined);
 * ```
 */
export function decodeFrameHeader(
  bytes: Uint8Array,
  offset = 0,
  into?: FrameHeader,
): FrameHeader | undefined {
  const available = bytes.length - offset;
  if (available < 2) return undefined;
  const first = bytes[offset]!;
  const second = bytes[offset + 1]!;
  let payloadLength = second & 0x7f;
  let byteLength = 2;
  if (payloadLength === 126) {
    if (available < 4) return undefined;
    payloadLength = bytes[offset + 2]! << 8 | bytes[offset + 3]!;
    byteLength = 4;
    if (payloadLength < 126) throw notMinimal(payloadLength, 16);
  } else if (payloadLength === 127) {
    if (available < 10) return undefined;
    payloadLength = decodeLength64(bytes, offset + 2);
    byteLength = 10;
  }
  let maskingKey: number | undefined;
  if (second & 0x80) {
    if (available < byteLength + 4) return undefined;
    maskingKey = readUint32(bytes, offset + byteLength);
    byteLength += 4;
  }
  const fin = (first & 0x80) !== 0;
  const reservedBits = first >> 4 & 0b111;
  const opcode = first & 0x0f;
  if (into === undefined) {
    return { fin, reservedBits, opcode, maskingKey, payloadLength, byteLength };
  }
  into.fin = fin;
  into.reservedBits = reservedBits;
  into.opcode = opcode;
  into.maskingKey = maskingKey;
  into.payloadLength = payloadLength;
  into.byteLength = byteLength;
  return into;
}

function decodeLength64(bytes: Uint8Array, offset: number): number {
  const high = readUint32(bytes, offset);
  const low = readUint32(bytes, offset + 4);
  // §5.2: "the most significant bit MUST be 0"
  if (high >= 2 ** 31) {
    throw fault(
      "length-too-large",
      `The most significant bit of the payload length is set (0x${
        hex32(high) + hex32(low)
      })`,
    );
  }
  if (high >= 2 ** 21) {
    throw fault(
      "length-too-large",
      `No message has a payload length above 2^53-1 (0x${
        hex32(high) + hex32(low)
      })`,
      CloseCode.MessageTooBig,
    );
  }
  const length = high * 2 ** 32 + low;
  if (length < 65536) throw notMinimal(length, 64);
  return length;
}

function hex32(value: number): string {
  return value.toString(16).padStart(8, "0");
}

// §5.2: "the minimal number of bytes MUST be used to encode the length"
function notMinimal(length: number, bits: number): ProtocolError {
  return fault(
    "length-not-minimal",
    `A payload length of ${length} must not take the ${bits}-bit form`,
  );
}

function readUint32(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 24 | bytes[offset + 1]! << 16 |
    bytes[offset + 2]! << 8 | bytes[offset + 3]!) >>> 0;
}

/**
 * Judges a header by the rules that need no memory of earlier frames: reserved
 * bits and opcodes (RFC 6455 §5.2), masking (§5.1), control frames (§5.5), size.
 *
 * @param header What {@linkcode decodeFrameHeader} returned.
 * @param rules Who receives, and what it takes.
 * @throws {ProtocolError} 1002 for a broken rule, 1009 for a payload above
 * `rules.maxPayloadLength`.
 *
 * @example A client masks, a server does not
 * ```ts
 * import {
 *   checkFrameHeader,
 *   decodeFrameHeader,
 * } from "@sansio/websocket/frame";
 * import { assertThrows } from "@std/assert";
 *
 * const header = decodeFrameHeader(new Uint8Array([0x81, 0]))!;
 * checkFrameHeader(header, { role: "client" });
 * assertThrows(
 *   () => checkFrameHeader(header, { role: "server" }),
 *   Error,
 *   "not masked",
 * );
 * ```
 */
export function checkFrameHeader(
  header: Readonly<FrameHeader>,
  rules: Readonly<FrameRules>,
): void {
  const { opcode } = header;
  const unclaimed = header.reservedBits & ~(rules.reservedBits ?? 0);
  if (unclaimed !== 0) {
    throw fault(
      "reserved-bits",
      `Reserved bits are set that no extension claims (RSV1-3: ${
        unclaimed.toString(2).padStart(3, "0")
      })`,
    );
  }
  if ((opcode & 0x7) > 2) {
    throw fault(
      "reserved-opcode",
      `The opcode is reserved (0x${opcode.toString(16)})`,
    );
  }
  if (opcode & 0x8) {
    if (!header.fin) {
      throw fault(
        "control-frame-fragmented",
        `A control frame must not be fragmented (opcode 0x${
          opcode.toString(16)
        })`,
      );
    }
    if (header.payloadLength > MAX_CONTROL_PAYLOAD_LENGTH) {
      throw fault(
        "control-frame-too-long",
        `A control frame carries at most 125 bytes (${header.payloadLength})`,
      );
    }
  }
  // §5.1: each side closes the connection on a frame masked the wrong way
  if ((header.maskingKey !== undefined) !== (rules.role === "server")) {
    throw fault(
      "masking",
      rules.role === "server"
        ? "A frame from the client is not masked"
        : "A frame from the server is masked",
    );
  }
  if (header.payloadLength > (rules.maxPayloadLength ?? Infinity)) {
    throw fault(
      "message-too-big",
      `The payload is larger than ${rules.maxPayloadLength} bytes (${header.payloadLength})`,
      CloseCode.MessageTooBig,
    );
  }
}

/** Options of {@linkcode decodeFrame}. */
export interface DecodeFrameOptions {
  /**
   * Where the frame begins, in bytes.
   *
   * @default {0}
   */
  offset?: number | undefined;
  /**
   * Whether to unmask in the caller's bytes and return a view on them, rather
   * than a copy.
   *
   * @default {false}
   */
  inPlace?: boolean | undefined;
  /**
   * Rules to judge the header by, before the payload has arrived.
   *
   * @default {undefined}
   */
  rules?: FrameRules | undefined;
}

/**
 * Decodes one whole frame (RFC 6455 §5.2), unmasked.
 *
 * @param bytes What has been received; not changed.
 * @param options Where to begin, and which rules to apply.
 * @returns The frame and its length in bytes with its header, or `undefined` if
 * more bytes are needed.
 * @throws {ProtocolError} For a malformed length, and whatever
 * {@linkcode checkFrameHeader} throws where rules are given.
 *
 * @example A masked text frame, RFC 6455 §5.7
 * ```ts
 * import { decodeFrame } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * // RFC 6455 §5.7: a single-frame masked text message
 * const bytes = new Uint8Array(
 *   [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
 * );
 * const decoded = decodeFrame(bytes, { rules: { role: "server" } });
 * assertEquals(decoded?.byteLength, 11);
 * assertEquals(new TextDecoder().decode(decoded?.frame.payload), "Hello");
 * ```
 */
export function decodeFrame(
  bytes: Uint8Array,
  options?: DecodeFrameOptions & { inPlace?: false | undefined },
): DecodedFrame | undefined;
/**
 * Decodes one whole frame, with `inPlace` where it has been received.
 *
 * @param bytes What has been received; changed only with `options.inPlace`.
 * @param options Where to begin, whether to copy, which rules to apply.
 * @returns The frame and its length, or `undefined` if more bytes are needed.
 * @throws {ProtocolError} As without `inPlace`.
 *
 * @example No copy
 * ```ts
 * import { decodeFrame } from "@sansio/websocket/frame";
 * import { assertEquals, assertStrictEquals } from "@std/assert";
 *
 * const bytes = new Uint8Array([0x82, 0x81, 0, 0, 0, 0x0f, 1]);
 * assertEquals(decodeFrame(bytes.subarray(0, 6), { inPlace: true }), undefined);
 *
 * const decoded = decodeFrame(bytes, { inPlace: true });
 * assertEquals(decoded?.frame.payload, new Uint8Array([1]));
 * assertStrictEquals(decoded?.frame.payload.buffer, bytes.buffer);
 * ```
 */
export function decodeFrame(
  bytes: Uint8Array<ArrayBuffer>,
  options?: DecodeFrameOptions,
): DecodedFrame | undefined;
export function decodeFrame(
  bytes: Uint8Array,
  options: DecodeFrameOptions = {},
): DecodedFrame | undefined {
  const { offset = 0, inPlace = false, rules } = options;
  const header = decodeFrameHeader(bytes, offset);
  if (header === undefined) return undefined;
  if (rules !== undefined) checkFrameHeader(header, rules);
  const { fin, reservedBits, opcode, maskingKey, payloadLength } = header;
  const begin = offset + header.byteLength;
  const end = begin + payloadLength;
  if (end > bytes.length) return undefined;
  const view = bytes.subarray(begin, end);
  // Not slice(): that of Node's Buffer is a view, too.
  const payload = inPlace
    ? view as Uint8Array<ArrayBuffer>
    : new Uint8Array(view);
  if (maskingKey !== undefined) mask(payload, maskingKey);
  return {
    frame: { fin, reservedBits, opcode, maskingKey, payload },
    byteLength: end - offset,
  };
}

/** Options of {@linkcode frameHeaderLength}. */
export interface FrameHeaderLengthOptions {
  /**
   * Whether there is a masking key.
   *
   * @default {false}
   */
  masked?: boolean | undefined;
}

/**
 * The length of a header, in bytes: 2, 4 or 10, and 4 more with a masking key
 * (RFC 6455 §5.2).
 *
 * @param payloadLength The length of the payload, in bytes.
 * @param options Whether there is a masking key.
 * @returns How many bytes come before the payload.
 *
 * @example The shortest and the longest
 * ```ts
 * import { frameHeaderLength } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(frameHeaderLength(125), 2);
 * assertEquals(frameHeaderLength(65536, { masked: true }), 14);
 * ```
 */
export function frameHeaderLength(
  payloadLength: number,
  options: FrameHeaderLengthOptions = {},
): number {
  return headerLength(payloadLength, options.masked ?? false);
}

function headerLength(payloadLength: number, isMasked: boolean): number {
  return (payloadLength < 126 ? 2 : payloadLength < 65536 ? 4 : 10) +
    (isMasked ? 4 : 0);
}

/**
 * Encodes a header into memory that the caller owns (RFC 6455 §5.2).
 *
 * @param header The header's fields. They are not judged; reserved opcodes
 * pass.
 * @param into Where to write; {@linkcode MAX_FRAME_HEADER_LENGTH} bytes are
 * always enough.
 * @param offset Where in `into` the header begins, in bytes.
 * @returns The length of the header, in bytes.
 * @throws {RangeError} If there is no room, or a field does not fit its bits.
 *
 * @example Into a buffer of the caller's
 * ```ts
 * import { encodeFrameHeaderInto, Opcode } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = new Uint8Array(4);
 * const header = { opcode: Opcode.Binary, payloadLength: 256 };
 * assertEquals(encodeFrameHeaderInto(header, buffer), 4);
 * assertEquals(buffer, new Uint8Array([0x82, 126, 1, 0]));
 * ```
 */
export function encodeFrameHeaderInto(
  header: Readonly<FrameHeaderInit>,
  into: Uint8Array,
  offset = 0,
): number {
  const { fin = true, reservedBits = 0, opcode, maskingKey } = header;
  const { payloadLength } = header;
  checkRange("opcode", opcode, 0xf);
  checkRange("reservedBits", reservedBits, 0b111);
  if (maskingKey !== undefined) {
    checkRange("maskingKey", maskingKey, 0xffffffff);
  }
  checkRange("payloadLength", payloadLength, Number.MAX_SAFE_INTEGER);
  const length = headerLength(payloadLength, maskingKey !== undefined);
  if (!(offset >= 0 && offset + length <= into.length)) {
    throw new RangeError(
      `A header of ${length} bytes does not fit at offset ${offset} of ${into.length} bytes`,
    );
  }
  const maskBit = maskingKey === undefined ? 0 : 0x80;
  let end = offset;
  into[end++] = (fin ? 0x80 : 0) | reservedBits << 4 | opcode;
  if (payloadLength < 126) {
    into[end++] = maskBit | payloadLength;
  } else if (payloadLength < 65536) {
    into[end++] = maskBit | 126;
    into[end++] = payloadLength >>> 8;
    into[end++] = payloadLength;
  } else {
    into[end++] = maskBit | 127;
    end = writeUint32(into, end, Math.floor(payloadLength / 2 ** 32));
    end = writeUint32(into, end, payloadLength);
  }
  if (maskingKey !== undefined) writeUint32(into, end, maskingKey);
  return length;
}

function checkRange(field: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= max) return;
  throw new RangeError(`The header's ${field} is out of range (${value})`);
}

function writeUint32(into: Uint8Array, offset: number, value: number): number {
  into[offset] = value >>> 24;
  into[offset + 1] = value >>> 16;
  into[offset + 2] = value >>> 8;
  into[offset + 3] = value;
  return offset + 4;
}

/**
 * Encodes a header (RFC 6455 §5.2).
 *
 * @param header The header's fields; they are not judged.
 * @returns The header's 2 to 14 bytes.
 * @throws {RangeError} If a field does not fit its bits.
 *
 * @example A ping of 5 bytes
 * ```ts
 * import { encodeFrameHeader, Opcode } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   encodeFrameHeader({ opcode: Opcode.Ping, payloadLength: 5 }),
 *   new Uint8Array([0x89, 5]),
 * );
 * ```
 */
export function encodeFrameHeader(
  header: Readonly<FrameHeaderInit>,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(
    headerLength(header.payloadLength, header.maskingKey !== undefined),
  );
  encodeFrameHeaderInto(header, bytes);
  return bytes;
}

/**
 * Encodes one whole frame (RFC 6455 §5.2) in one allocation.
 *
 * @param frame The frame; its payload is copied, never changed.
 * @returns Header and payload, masked if there is a masking key.
 * @throws {RangeError} If a field does not fit its bits.
 *
 * @example A masked binary frame
 * ```ts
 * import { encodeFrame, Opcode } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = new Uint8Array([0x01, 0x02]);
 * assertEquals(
 *   encodeFrame({ opcode: Opcode.Binary, payload, maskingKey: 0xff00ff00 }),
 *   new Uint8Array([0x82, 0x82, 0xff, 0x00, 0xff, 0x00, 0xfe, 0x02]),
 * );
 * ```
 */
export function encodeFrame(
  frame: Readonly<FrameInit>,
): Uint8Array<ArrayBuffer> {
  const { fin = true, reservedBits = 0, opcode, maskingKey, payload } = frame;
  const payloadLength = payload?.length ?? 0;
  const start = headerLength(payloadLength, maskingKey !== undefined);
  const bytes = new Uint8Array(start + payloadLength);
  encodeFrameHeaderInto(
    { fin, reservedBits, opcode, maskingKey, payloadLength },
    bytes,
  );
  if (payload !== undefined) {
    bytes.set(payload, start);
    if (maskingKey !== undefined) mask(bytes, maskingKey, 0, start);
  }
  return bytes;
}

// Where words of 64 bits begin to pay, in bytes: a view has to be made for them.
// Measured with Deno 2.9, ns a payload as bytes / words: 96 B 53 / 63, 128 B 67 /
// 63, 256 B 132 / 68, 1 KiB 490 / 120, 64 KiB 30,000 / 4,600.
const WORDS_FROM = 128;

const LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/**
 * Masks or unmasks in place: the transformation is its own inverse (RFC 6455
 * §5.3). A payload that arrives in parts is unmasked part by part, each with
 * the offset at which it stands in the payload.
 *
 * @param bytes What to transform; changed in place.
 * @param maskingKey The masking key, an unsigned 32-bit number.
 * @param offset Where in its frame's payload the first byte to transform
 * stands, in bytes.
 * @param start Where in `bytes` to begin, in bytes.
 * @param end Where in `bytes` to stop, in bytes.
 * @throws {RangeError} If `start` to `end` is not a range within `bytes`.
 *
 * @example A payload that arrives in two parts
 * ```ts
 * import { mask } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = new Uint8Array([1, 2, 3, 4, 5]);
 * mask(bytes, 0x10203040);
 * assertEquals(bytes, new Uint8Array([0x11, 0x22, 0x33, 0x44, 0x15]));
 * mask(bytes.subarray(0, 3), 0x10203040);
 * mask(bytes.subarray(3), 0x10203040, 3);
 * assertEquals(bytes, new Uint8Array([1, 2, 3, 4, 5]));
 * ```
 */
export function mask(
  bytes: Uint8Array,
  maskingKey: number,
  offset = 0,
  start = 0,
  end: number = bytes.length,
): void {
  // The words below are laid over the buffer, which may reach beyond `bytes`.
  if (!(start >= 0 && start <= end && end <= bytes.length)) {
    throw new RangeError(
      `The range to mask is not within the bytes (${start} to ${end} of ${bytes.length})`,
    );
  }
  // The key as it applies to the byte at `start`, and onwards from there.
  let key = rotate(maskingKey, offset);
  let at = start;
  const length = end - start;
  if (length >= WORDS_FROM) {
    const head = -(bytes.byteOffset + start) & 7;
    maskBytes(bytes, key, start, start + head);
    key = rotate(key, head);
    at += head;
    const count = Math.floor((end - at) / 8);
    const from = bytes.byteOffset + at;
    maskWords(new BigUint64Array(bytes.buffer, from, count), key);
    at += count * 8;
  }
  maskBytes(bytes, key, at, end);
}

function maskWords(words: BigUint64Array, key: number): void {
  const word = BigInt((LITTLE_ENDIAN ? swap(key) : key) >>> 0);
  // asUintN() tells the compiler that no more than a register is needed.
  const pair = BigInt.asUintN(64, word << 32n | word);
  let i = 0;
  for (; i < words.length - 3; i += 4) {
    words[i]! ^= pair;
    words[i + 1]! ^= pair;
    words[i + 2]! ^= pair;
    words[i + 3]! ^= pair;
  }
  for (; i < words.length; i++) words[i]! ^= pair;
}

function maskBytes(
  bytes: Uint8Array,
  key: number,
  start: number,
  end: number,
): void {
  const k0 = key >>> 24;
  const k1 = key >>> 16 & 0xff;
  const k2 = key >>> 8 & 0xff;
  const k3 = key & 0xff;
  let i = start;
  for (; i < end - 3; i += 4) {
    bytes[i]! ^= k0;
    bytes[i + 1]! ^= k1;
    bytes[i + 2]! ^= k2;
    bytes[i + 3]! ^= k3;
  }
  if (i < end) bytes[i]! ^= k0;
  if (i + 1 < end) bytes[i + 1]! ^= k1;
  if (i + 2 < end) bytes[i + 2]! ^= k2;
}

function rotate(key: number, offset: number): number {
  // The low five bits of a shift count are all that counts: -8 is 24.
  const bits = offset * 8;
  return key << bits | key >>> -bits;
}

function swap(key: number): number {
  return key << 24 | key << 8 & 0xff0000 | key >>> 8 & 0xff00 | key >>> 24;
}

/**
 * Whether a close code may stand in a Close frame (RFC 6455 §7.4): those that
 * §7.4.1 and the IANA registry define for the wire, and 3000 to 4999.
 *
 * @param code The code.
 * @returns Whether it may be sent, and received.
 *
 * @example A code that is never on the wire
 * ```ts
 * import { isValidCloseCode } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isValidCloseCode(1000), true);
 * assertEquals(isValidCloseCode(1006), false); // never on the wire
 * ```
 */
export function isValidCloseCode(code: number): boolean {
  if (!Number.isInteger(code)) return false;
  if (code < 3000) {
    return code >= 1000 && code <= 1014 && !(code >= 1004 && code <= 1006);
  }
  return code <= 4999;
}

/** What a Close frame says (RFC 6455 §5.5.1). */
export interface ClosePayload {
  /**
   * The close code; {@linkcode CloseCode.NoStatusReceived} (1005) for a Close
   * frame without one.
   */
  readonly code: number;
  /** The reason, for a log; empty if there was none. */
  readonly reason: string;
}

/**
 * Encodes the payload of a Close frame (RFC 6455 §5.5.1).
 *
 * @param code The close code; left out, the payload is empty.
 * @param reason Why, in at most 123 bytes of UTF-8.
 * @returns The payload, 0 or 2 to 125 bytes.
 * @throws {RangeError} If the code must not be sent, or the reason is too long.
 * @throws {TypeError} If there is a reason but no code.
 *
 * @example A server that goes down
 * ```ts
 * import { encodeClosePayload } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   encodeClosePayload(1001, "bye"),
 *   new Uint8Array([0x03, 0xe9, 98, 121, 101]),
 * );
 * ```
 */
export function encodeClosePayload(
  code?: number,
  reason = "",
): Uint8Array<ArrayBuffer> {
  if (code === undefined) {
    if (reason !== "") {
      throw new TypeError(`A close reason needs a close code ("${reason}")`);
    }
    return new Uint8Array(0);
  }
  if (!isValidCloseCode(code)) {
    throw new RangeError(`The close code must not be sent (${code})`);
  }
  const text = new TextEncoder().encode(reason);
  if (text.length > MAX_CONTROL_PAYLOAD_LENGTH - 2) {
    throw new RangeError(
      `A close reason takes at most 123 bytes of UTF-8 (${text.length})`,
    );
  }
  const payload = new Uint8Array(2 + text.length);
  payload[0] = code >>> 8;
  payload[1] = code;
  payload.set(text, 2);
  return payload;
}

const closeReasonDecoder = new TextDecoder("utf-8", {
  fatal: true,
  ignoreBOM: true,
});

/**
 * Decodes the payload of a Close frame (RFC 6455 §5.5.1, §7.4).
 *
 * @param payload The payload, unmasked; not changed.
 * @returns The code and the reason; 1005 and "" for an empty payload.
 * @throws {ProtocolError} 1002 for a payload of one byte or a code that must
 * not be sent, 1007 for a reason that is not UTF-8.
 *
 * @example A server that has gone down
 * ```ts
 * import { decodeClosePayload } from "@sansio/websocket/frame";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   decodeClosePayload(new Uint8Array([0x03, 0xe9, 98, 121, 101])),
 *   { code: 1001, reason: "bye" },
 * );
 * ```
 */
export function decodeClosePayload(payload: Uint8Array): ClosePayload {
  if (payload.length === 0) {
    return { code: CloseCode.NoStatusReceived, reason: "" };
  }
  if (payload.length === 1) {
    throw fault(
      "invalid-close-payload",
      `A Close frame carries no byte or at least two (1: 0x${
        payload[0]!.toString(16).padStart(2, "0")
      })`,
    );
  }
  const code = payload[0]! << 8 | payload[1]!;
  if (!isValidCloseCode(code)) {
    throw fault(
      "invalid-close-code",
      `The close code must not be sent (${code})`,
    );
  }
  try {
    return { code, reason: closeReasonDecoder.decode(payload.subarray(2)) };
  } catch (cause) {
    throw new ProtocolError(
      `The close reason is not valid UTF-8 (code ${code})`,
      {
        closeCode: CloseCode.InvalidFramePayloadData,
        kind: "invalid-utf8",
        cause,
      },
    );
  }
}
