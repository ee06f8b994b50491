/**
 * UTF-8 (RFC 6455 §8.1): checked as bytes arrive, and decoded with byte order
 * marks kept.
 *
 * @module
 */

import { isNativeUtf8Fast, nodeBuffer } from "./_platform.ts";
import { type IsUtf8, loadUtf8Simd } from "./_utf8_simd.ts";

// What a check takes in Deno 2.9, in nanoseconds ("SIMD" is WebAssembly; from 4
// KiB on it asks the platform first whether all is ASCII):
//
//                                loop     native    SIMD
//     32 B of ASCII                21         47      32
//     64 B of ASCII                31         48      33
//     64 B, Chinese and ASCII      77         91      45
//      1 KiB of ASCII             380         90      55
//      1 KiB, Chinese and ASCII 1,600        900     170
//     64 KiB of ASCII          23,500      2,300   1,070
//     64 KiB, one é in 1,000   23,700      2,600   3,300
//     64 KiB, Chinese and ASCII 89,000    57,000  10,000
//
// Below this many bytes the loop is fastest.
const LOOP_BELOW = 32;

// Up to this many bytes `utf8Slice` is faster than TextDecoder, which looks for
// ASCII first; either is much faster than TextDecoder with `fatal`, validation
// included. In nanoseconds:
//
//                            utf8Slice  TextDecoder   fatal
//     16 B of ASCII                 54           92     250
//     64 B, Chinese and ASCII      150          160     300
//    256 B of ASCII                 57          101     367
//    256 B, Chinese and ASCII      290          210     420
//      1 KiB of ASCII              370          144     690
//     64 KiB of ASCII           21,000        4,000  36,000
//     64 KiB, Chinese and ASCII 56,000       21,600  62,000
const SLICE_UP_TO = 256;

const nativeIsUtf8 = nodeBuffer?.isUtf8;
const nativeSlice = nodeBuffer?.Buffer.prototype.utf8Slice;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Whether a range of bytes is UTF-8 by itself (RFC 3629).
 *
 * @param bytes The bytes; not changed.
 * @param start Where the range begins, in bytes.
 * @param end Where it ends, in bytes.
 */
export function isUtf8(
  bytes: Uint8Array,
  start = 0,
  end: number = bytes.length,
): boolean {
  return end - start < LOOP_BELOW
    ? isUtf8Portable(bytes, start, end)
    : isLongUtf8(bytes, start, end);
}

// Chosen on first use.
let isLongUtf8: IsUtf8 = (bytes, start, end) => {
  isLongUtf8 = chooseIsUtf8();
  return isLongUtf8(bytes, start, end);
};

/** The best way to check a text of some length in this runtime. */
export function chooseIsUtf8(): IsUtf8 {
  if (isNativeUtf8Fast) return isUtf8Natively;
  return loadUtf8Simd() ??
    (nativeIsUtf8 === undefined ? isUtf8Portable : isUtf8Natively);
}

/** {@linkcode isUtf8} by `node:buffer`. */
export function isUtf8Natively(
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  return nativeIsUtf8!(bytes.subarray(start, end));
}

/** {@linkcode isUtf8} without help of the platform. */
export function isUtf8Portable(
  bytes: Uint8Array,
  start = 0,
  end: number = bytes.length,
): boolean {
  let at = start;
  while (at < end) {
    const lead = bytes[at]!;
    if (lead < 0x80) {
      at++;
      while (at + 8 <= end && isAscii8(bytes, at)) at += 8;
      continue;
    }
    const length = sequenceLength(lead);
    if (length === 0 || at + length > end) return false;
    const second = bytes[at + 1]!;
    if (second < lowestSecond(lead) || second > highestSecond(lead)) {
      return false;
    }
    if (length > 2 && (bytes[at + 2]! & 0xc0) !== 0x80) return false;
    if (length > 3 && (bytes[at + 3]! & 0xc0) !== 0x80) return false;
    at += length;
  }
  return true;
}

function isAscii8(bytes: Uint8Array, at: number): boolean {
  return ((bytes[at]! | bytes[at + 1]! | bytes[at + 2]! | bytes[at + 3]! |
    bytes[at + 4]! | bytes[at + 5]! | bytes[at + 6]! | bytes[at + 7]!) &
    0x80) === 0;
}

/** The length that a first byte announces; 0 if it cannot be a first byte. */
function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0; // a continuation, or an overlong form
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0; // F5 and above are beyond U+10FFFF
}

// Overlong forms, surrogates and what is beyond U+10FFFF show in the second byte.
function lowestSecond(lead: number): number {
  return lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
}

function highestSecond(lead: number): number {
  return lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
}

/**
 * Decodes a range of bytes that is known to be UTF-8; byte order marks stay.
 *
 * @param bytes The bytes; not changed.
 * @param start Where the range begins, in bytes.
 * @param end Where it ends, in bytes.
 */
export function decodeUtf8(
  bytes: Uint8Array,
  start = 0,
  end: number = bytes.length,
): string {
  if (end - start <= SLICE_UP_TO && nativeSlice !== undefined) {
    return nativeSlice.call(bytes, start, end);
  }
  return decoder.decode(bytes.subarray(start, end));
}

/**
 * Checks a text that arrives in parts, cut anywhere, and refuses it at the
 * first byte that cannot belong to UTF-8 (RFC 6455 §8.1).
 */
export class Utf8Validator {
  // How many bytes the begun sequence still needs, and what range the next one
  // must be in.
  #missing = 0;
  #lowest = 0x80;
  #highest = 0xbf;

  /** Whether the text could end here: no sequence is begun. */
  get isComplete(): boolean {
    return this.#missing === 0;
  }

  /**
   * Takes the next part.
   *
   * @param bytes The bytes; not changed.
   * @param start Where the part begins, in bytes.
   * @param end Where it ends, in bytes.
   * @returns Whether the text can still become UTF-8; `false` ends its use.
   * Where a text is complete, the next one can begin.
   */
  push(
    bytes: Uint8Array,
    start = 0,
    end: number = bytes.length,
  ): boolean {
    let at = start;
    while (this.#missing > 0 && at < end) {
      if (!this.#step(bytes[at++]!)) return false;
    }
    if (at === end) return true;
    const whole = endOfWholeSequences(bytes, at, end);
    if (!isUtf8(bytes, at, whole)) return false;
    for (at = whole; at < end; at++) {
      if (!this.#step(bytes[at]!)) return false;
    }
    return true;
  }

  #step(byte: number): boolean {
    if (this.#missing > 0) {
      if (byte < this.#lowest || byte > this.#highest) return false;
      this.#missing--;
      this.#lowest = 0x80;
      this.#highest = 0xbf;
      return true;
    }
    // It begins one that the part ends within (endOfWholeSequences).
    this.#missing = sequenceLength(byte) - 1;
    this.#lowest = lowestSecond(byte);
    this.#highest = highestSecond(byte);
    return true;
  }
}

/** Where the sequence begins that runs over the end, or the end. */
function endOfWholeSequences(
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  for (let back = 1; back <= 3 && end - back >= start; back++) {
    const byte = bytes[end - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    return sequenceLength(byte) > back ? end - back : end;
  }
  return end;
}
