/**
 * The frame format once more, written down from the text of RFC 6455 §5.2 and
 * §5.3 with strings of bits and bigints: slow, and plain enough to be believed.
 */
import type {
  FrameHeader,
  FrameHeaderInit,
  ProtocolErrorKind,
} from "../frame.ts";
import { fromBits, toBits } from "./_bytes.ts";

/** A header, `undefined` if more bytes are needed, or why it is malformed. */
export function decodeHeaderSlowly(
  bytes: Uint8Array,
): FrameHeader | undefined | ProtocolErrorKind {
  const all = toBits(bytes);
  let at = 0;
  const has = (count: number) => at + count <= all.length;
  const take = (count: number) => BigInt("0b" + all.slice(at, at += count));

  if (!has(16)) return undefined;
  const fin = take(1) === 1n;
  const reservedBits = Number(take(3));
  const opcode = Number(take(4));
  const masked = take(1) === 1n;
  let payloadLength = take(7);
  if (payloadLength === 126n) {
    if (!has(16)) return undefined;
    payloadLength = take(16);
    if (payloadLength <= 125n) return "length-not-minimal";
  } else if (payloadLength === 127n) {
    if (!has(64)) return undefined;
    payloadLength = take(64);
    if (payloadLength > 2n ** 53n - 1n) return "length-too-large";
    if (payloadLength <= 0xffffn) return "length-not-minimal";
  }
  let maskingKey: number | undefined;
  if (masked) {
    if (!has(32)) return undefined;
    maskingKey = Number(take(32));
  }
  return {
    fin,
    reservedBits,
    opcode,
    maskingKey,
    payloadLength: Number(payloadLength),
    byteLength: at / 8,
  };
}

export function encodeHeaderSlowly(
  header: FrameHeaderInit,
): Uint8Array<ArrayBuffer> {
  const { fin = true, reservedBits = 0, opcode, maskingKey } = header;
  const length = header.payloadLength;
  const number = (value: number, width: number) =>
    BigInt(value).toString(2).padStart(width, "0");
  return fromBits([
    fin ? "1" : "0",
    number(reservedBits, 3),
    number(opcode, 4),
    maskingKey === undefined ? "0" : "1",
    length <= 125
      ? number(length, 7)
      : length <= 0xffff
      ? number(126, 7) + number(length, 16)
      : number(127, 7) + number(length, 64),
    maskingKey === undefined ? "" : number(maskingKey, 32),
  ].join(""));
}

/**
 * "Octet i of the transformed data is the XOR of octet i of the original data
 * with octet at index i modulo 4 of the masking key" (§5.3), for data that
 * begins at `offset` of its payload.
 */
export function maskSlowly(
  data: Uint8Array,
  maskingKey: number,
  offset = 0,
): Uint8Array<ArrayBuffer> {
  const key = fromBits(maskingKey.toString(2).padStart(32, "0"));
  const from = offset % 4;
  return Uint8Array.from(data, (octet, i) => octet ^ key[(from + i) % 4]!);
}
