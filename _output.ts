/**
 * The bytes owed to the peer. Frames are encoded one behind the other into as
 * few buffers as possible, so that all that is queued goes out in one write.
 *
 * @module
 */

import {
  encodeFrameHeaderInto,
  type FrameHeaderInit,
  frameHeaderLength,
  type FrameHeaderLengthOptions,
  mask,
  MAX_FRAME_HEADER_LENGTH,
} from "./frame.ts";
import { giveBackBuffer, LARGEST_BUFFER, lendBuffer } from "./_buffers.ts";
import { nextMaskingKey } from "./_masking_keys.ts";

/**
 * From this length on, in bytes, a payload that is not masked is written from
 * where it is: one more write costs less than to copy it.
 */
export const REFERENCE_FROM = 128 * 1024;

// A payload shorter than this has a header of two bytes, unless it is masked.
const SHORT = 126;

// Up to this length a loop is faster than TypedArray.prototype.set: 11 ns for
// 16 bytes against 37, 51 for 64 against 42.
const LOOP_UP_TO = 32;

// Longer strings are encoded apart: in place, three bytes for each UTF-16 code
// unit have to be reserved.
const LONGEST_TEXT_IN_PLACE = 16 * 1024;

const encoder = new TextEncoder();

const MASKED: FrameHeaderLengthOptions = { masked: true };
const UNMASKED: FrameHeaderLengthOptions = { masked: false };

// The header of the frame that is being written, reused for all.
const scratch: FrameHeaderInit = {
  fin: true,
  reservedBits: 0,
  opcode: 0,
  maskingKey: undefined,
  payloadLength: 0,
};

/** A first-in, first-out queue of frames, as bytes. */
export class Output {
  readonly #masks: boolean;
  readonly #headers: FrameHeaderLengthOptions;
  // Full chunks, which come before #buffer. Lent buffers go back to their pool.
  #chunks: { bytes: Uint8Array; lent: Uint8Array<ArrayBuffer> | undefined }[] =
    [];
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  #length = 0;
  #lastLength = 0;
  #byteLength = 0;
  #taken: Uint8Array<ArrayBuffer> | undefined;
  // An encoded frame, as long as nothing else is queued.
  #alone: Uint8Array | undefined;

  /** @param masks Whether frames are masked, as a client's are (§5.1). */
  constructor(masks: boolean) {
    this.#masks = masks;
    this.#headers = masks ? MASKED : UNMASKED;
  }

  /** How many bytes wait to be taken. */
  get byteLength(): number {
    return this.#byteLength;
  }

  /**
   * Queues a frame. A payload from {@linkcode REFERENCE_FROM} bytes on may be
   * referred to, not copied: it must not change until it is written.
   */
  frame(
    opcode: number,
    payload: Uint8Array,
    fin = true,
    reservedBits = 0,
  ): void {
    const payloadLength = payload.length;
    if (payloadLength < SHORT && !this.#masks) {
      this.#shortFrame(opcode, payload, fin, reservedBits);
      return;
    }
    const header = this.#header(opcode, payloadLength, fin, reservedBits);
    if (payloadLength >= REFERENCE_FROM) {
      this.#largeFrame(header, payload);
      return;
    }
    const buffer = this.#reserve(MAX_FRAME_HEADER_LENGTH + payloadLength);
    const start = this.#length +
      encodeFrameHeaderInto(header, buffer, this.#length);
    const end = start + payloadLength;
    copy(payload, buffer, start);
    if (this.#masks) mask(buffer, header.maskingKey!, 0, start, end);
    this.#advance(end);
  }

  /** Queues a text as one frame, encoded in place behind its header. */
  text(opcode: number, text: string): void {
    const units = text.length;
    if (units > LONGEST_TEXT_IN_PLACE) {
      this.frame(opcode, encoder.encode(text));
      return;
    }
    const buffer = this.#reserve(MAX_FRAME_HEADER_LENGTH + units * 3);
    // Where the payload begins if the text is ASCII.
    let start = this.#length + frameHeaderLength(units, this.#headers);
    const payloadLength = encodeText(text, buffer, start);
    const header = this.#header(opcode, payloadLength, true, 0);
    if (payloadLength !== units) {
      const guessed = start;
      start = this.#length + frameHeaderLength(payloadLength, this.#headers);
      if (start !== guessed) {
        buffer.copyWithin(start, guessed, guessed + payloadLength);
      }
    }
    encodeFrameHeaderInto(header, buffer, this.#length);
    const end = start + payloadLength;
    if (this.#masks) mask(buffer, header.maskingKey!, 0, start, end);
    this.#advance(end);
  }

  /**
   * Queues a whole frame that is encoded already, unmasked. Its bytes must never
   * change: they are copied only where that saves a write. Sent to 1,000
   * connections, 4 KiB take 15 µs each, and 21 if copied.
   */
  encoded(bytes: Uint8Array): void {
    if (bytes.length >= REFERENCE_FROM) {
      this.#seal();
      this.#push(bytes, undefined);
      return;
    }
    if (this.#byteLength === 0) {
      this.#alone = bytes;
      this.#byteLength = bytes.length;
      return;
    }
    this.#reserve(bytes.length).set(bytes, this.#length);
    this.#advance(this.#length + bytes.length);
  }

  /**
   * Takes the next contiguous bytes to write. {@linkcode release} is to be
   * called once they are written, and before the next call.
   */
  take(): Uint8Array | undefined {
    if (this.#chunks.length === 0) this.#seal();
    const chunk = this.#chunks.shift();
    if (chunk === undefined) return undefined;
    this.#taken = chunk.lent;
    this.#byteLength -= chunk.bytes.length;
    return chunk.bytes;
  }

  /**
   * Gives back the buffer of what was taken, which is written, or never will
   * be.
   */
  release(): void {
    if (this.#taken !== undefined) giveBackBuffer(this.#taken);
    this.#taken = undefined;
  }

  /** Drops all that is queued. */
  clear(): void {
    this.#alone = undefined;
    this.#chunks = [];
    this.#buffer = undefined;
    this.#length = 0;
    this.#byteLength = 0;
  }

  #header(
    opcode: number,
    payloadLength: number,
    fin: boolean,
    reservedBits: number,
  ): FrameHeaderInit {
    const header = scratch;
    header.fin = fin;
    header.reservedBits = reservedBits;
    header.opcode = opcode;
    header.maskingKey = this.#masks ? nextMaskingKey() : undefined;
    header.payloadLength = payloadLength;
    return header;
  }

  /**
   * A frame with a header of two bytes (§5.2), written without an object for
   * it.
   */
  #shortFrame(
    opcode: number,
    payload: Uint8Array,
    fin: boolean,
    reservedBits: number,
  ): void {
    const { length } = payload;
    const buffer = this.#reserve(2 + length);
    const at = this.#length;
    buffer[at] = (fin ? 0x80 : 0) | reservedBits << 4 | opcode;
    buffer[at + 1] = length;
    copy(payload, buffer, at + 2);
    this.#advance(at + 2 + length);
  }

  #largeFrame(header: FrameHeaderInit, payload: Uint8Array): void {
    const buffer = this.#reserve(MAX_FRAME_HEADER_LENGTH);
    this.#advance(
      this.#length + encodeFrameHeaderInto(header, buffer, this.#length),
    );
    if (this.#masks) {
      this.#masked(header.maskingKey!, payload);
    } else {
      this.#seal();
      this.#push(payload, undefined);
    }
  }

  /**
   * Masks a payload piece by piece, into buffers that are there already: 1 MiB
   * takes a client a fifth less than with new memory for each.
   */
  #masked(maskingKey: number, payload: Uint8Array): void {
    for (let at = 0; at < payload.length;) {
      if (this.#length >= LARGEST_BUFFER) this.#seal();
      const start = this.#length;
      const room = LARGEST_BUFFER - start;
      const piece = payload.subarray(at, at + room);
      const buffer = this.#reserve(piece.length);
      buffer.set(piece, start);
      mask(buffer, maskingKey, at, start, start + piece.length);
      this.#advance(start + piece.length);
      at += piece.length;
    }
  }

  /** Makes room for that many bytes behind #length. */
  #reserve(length: number): Uint8Array<ArrayBuffer> {
    if (this.#alone !== undefined) this.#join(length);
    const buffer = this.#buffer;
    const needed = this.#length + length;
    if (buffer !== undefined) {
      if (needed <= buffer.length) return buffer;
      if (this.#length > 0 && needed > LARGEST_BUFFER) {
        this.#seal();
        return this.#buffer = lendBuffer(length);
      }
    }
    // As large as the last one, so that a burst of small frames is not moved
    // again and again; but not very large, since the peer may have stopped
    // reading.
    const likely = Math.min(this.#lastLength, 16384);
    const larger = lendBuffer(Math.max(needed, likely));
    if (buffer !== undefined) {
      larger.set(buffer.subarray(0, this.#length));
      giveBackBuffer(buffer);
    }
    return this.#buffer = larger;
  }

  /** Copies the frame in #alone into a buffer, if what follows fits as well. */
  #join(length: number): void {
    const bytes = this.#alone!;
    if (bytes.length + length > LARGEST_BUFFER) {
      this.#seal();
      return;
    }
    this.#alone = undefined;
    this.#byteLength = 0;
    this.#reserve(bytes.length + length).set(bytes);
    this.#advance(bytes.length);
  }

  #advance(end: number): void {
    this.#byteLength += end - this.#length;
    this.#length = end;
  }

  #seal(): void {
    const alone = this.#alone;
    if (alone !== undefined) {
      this.#alone = undefined;
      this.#byteLength = 0;
      this.#push(alone, undefined);
    }
    const buffer = this.#buffer;
    if (buffer === undefined) return;
    this.#chunks.push({
      bytes: buffer.subarray(0, this.#length),
      lent: buffer,
    });
    this.#lastLength = this.#length;
    this.#buffer = undefined;
    this.#length = 0;
  }

  #push(bytes: Uint8Array, lent: Uint8Array<ArrayBuffer> | undefined): void {
    this.#chunks.push({ bytes, lent });
    this.#byteLength += bytes.length;
  }
}

function copy(from: Uint8Array, into: Uint8Array, start: number): void {
  const { length } = from;
  if (length > LOOP_UP_TO) into.set(from, start);
  else for (let i = 0; i < length; i++) into[start + i] = from[i]!;
}

/** Encodes a text at `start`; returns its length in bytes. */
function encodeText(
  text: string,
  into: Uint8Array<ArrayBuffer>,
  start: number,
): number {
  const units = text.length;
  if (units <= LOOP_UP_TO) {
    let i = 0;
    for (; i < units; i++) {
      const unit = text.charCodeAt(i);
      if (unit >= 0x80) break;
      into[start + i] = unit;
    }
    if (i === units) return units;
  }
  return encoder.encodeInto(text, into.subarray(start)).written;
}
