/**
 * Inflates piece by piece, so that the receiver of the pieces can stop it when
 * they become too much.
 *
 * @module
 */

import {
  Z_BUF_ERROR,
  Z_OK,
  Z_STREAM_END,
  Z_SYNC_FLUSH,
  zlibInflate,
  zlibInflateInit2,
  zlibInflateReset,
  zlibInflateResetKeep,
  zlibInflateSetDictionary,
  ZStream,
} from "pako";
import { CloseCode, ProtocolError } from "./frame.ts";

/** The largest piece that comes out at once, in bytes. */
export const PIECE_SIZE = 64 * 1024;

// What the sender has removed from the end of each message (RFC 7692 §7.2.1).
const TAIL = new Uint8Array([0x00, 0x00, 0xff, 0xff]);

const NOTHING = new Uint8Array(0);

// `data_type` after a block, at the boundary of a byte, the last block not seen
// (zlib's manual, inflate(), Z_BLOCK).
const BETWEEN_BLOCKS = 128;

// A block with BFINAL takes as much time as 50 bytes of others, and can be 2
// bytes long: a message of nothing else would take 3 s for each MiB. This many
// are allowed in a message, and one more for each BYTES_PER_FINAL_BLOCK bytes.
const FINAL_BLOCKS = 16;
const BYTES_PER_FINAL_BLOCK = 64;

// The output of every decompressor, copied before anything else can run, so
// that a message of 20 bytes takes 20 bytes.
let workspace: Uint8Array<ArrayBuffer> | undefined;

/** The error for data that cannot be inflated. */
function malformed(what: string): ProtocolError {
  return new ProtocolError(`The compressed data is malformed (${what})`, {
    closeCode: CloseCode.InvalidFramePayloadData,
    kind: "extension",
  });
}

/** The state of inflating one stream of messages. */
export class Inflater {
  /** The base-2 logarithm of how far back a message may refer, in bytes. */
  readonly windowBits: number;
  readonly #stream = new ZStream();
  // Whether the next byte begins a block, and no earlier one is unfinished.
  #isFresh = true;
  // Of the message so far.
  #length = 0;
  #finalBlocks = 0;

  /** @param windowBits 8 to 15. */
  constructor(windowBits: number) {
    this.windowBits = windowBits;
    const status = zlibInflateInit2(this.#stream, -windowBits);
    if (status !== Z_OK) throw new RangeError(`windowBits: ${windowBits}`);
    this.#limitDistance();
  }

  /** Forgets everything; then remembers `history`, the oldest part first. */
  reset(history: readonly Uint8Array[] = []): void {
    zlibInflateReset(this.#stream);
    this.#limitDistance();
    for (const part of history) {
      zlibInflateSetDictionary(this.#stream, part);
    }
    this.#begin();
  }

  // §7.1.2: a peer must not refer further back than was agreed. Without this it
  // could, as far as what it refers to comes out in the same piece: whether a
  // message is malformed would depend on how it arrives.
  #limitDistance(): void {
    const { state } = this.#stream as { state: { dmax: number } };
    state.dmax = 1 << this.windowBits;
  }

  #begin(): void {
    this.#isFresh = true;
    this.#length = 0;
    this.#finalBlocks = 0;
  }

  /**
   * Inflates the next part of a message.
   *
   * @param output Takes what comes out, in pieces of at most
   * {@linkcode PIECE_SIZE} that it may keep; what it throws is passed on.
   * @throws {ProtocolError} If the data is malformed, or made to take time.
   */
  push(
    data: Uint8Array,
    output: (piece: Uint8Array<ArrayBuffer>) => void,
  ): void {
    if (data.length === 0) return;
    const stream = this.#stream;
    const memory = workspace ??= new Uint8Array(PIECE_SIZE);
    stream.input = data;
    stream.next_in = 0;
    stream.avail_in = data.length;
    this.#isFresh = false;
    try {
      do {
        stream.output = memory;
        stream.next_out = 0;
        stream.avail_out = PIECE_SIZE;
        const status = zlibInflate(stream, Z_SYNC_FLUSH);
        const isFull = stream.avail_out === 0;
        if (stream.next_out > 0) output(memory.slice(0, stream.next_out));
        if (status === Z_STREAM_END) {
          // BFINAL ends a stream of blocks, but neither the message nor the
          // window: §7.2.3.4. What is left begins on a byte of its own.
          this.#countFinalBlock(this.#length + stream.next_in);
          zlibInflateResetKeep(stream);
          this.#limitDistance();
          this.#isFresh = stream.avail_in === 0;
        } else if (status !== Z_OK && status !== Z_BUF_ERROR) {
          throw malformed(stream.msg);
        } else if (!isFull) {
          break;
        }
      } while (!this.#isFresh);
    } finally {
      stream.input = NOTHING;
      this.#length += data.length;
    }
  }

  #countFinalBlock(length: number): void {
    const most = FINAL_BLOCKS + length / BYTES_PER_FINAL_BLOCK;
    if (++this.#finalBlocks <= most) return;
    throw new ProtocolError(
      `Too many last blocks in a compressed message (${this.#finalBlocks})`,
      { closeCode: CloseCode.PolicyViolation, kind: "extension" },
    );
  }

  /**
   * Ends a message.
   *
   * @param output As in {@linkcode push}.
   * @throws {ProtocolError} If the message is not complete.
   */
  finish(output: (piece: Uint8Array<ArrayBuffer>) => void): void {
    // Strictly, a message ends in the 3 bits of a block whose rest is the tail;
    // but nothing is missing from one that is empty, or ends with BFINAL.
    if (!this.#isFresh) {
      this.push(TAIL, output);
      if (!this.#isFresh && this.#stream.data_type !== BETWEEN_BLOCKS) {
        throw malformed("it ends within a block");
      }
    }
    this.#begin();
  }
}

/**
 * The last bytes that a peer has sent, as far back as it may refer to them:
 * all that has to be kept of a stream while nothing is received. Takes no more
 * memory than twice what there is to remember.
 */
export class History {
  readonly #size: number;
  // A ring once it is full.
  #bytes: Uint8Array<ArrayBuffer> = NOTHING;
  #length = 0;
  #end = 0;

  /** @param size How far back it goes, in bytes. */
  constructor(size: number) {
    this.#size = size;
  }

  /** Adds what was inflated. */
  append(piece: Uint8Array): void {
    const size = this.#size;
    if (piece.length >= size) piece = piece.subarray(piece.length - size);
    const length = Math.min(this.#length + piece.length, size);
    if (length > this.#bytes.length) {
      const doubled = Math.min(this.#bytes.length * 2, size);
      const larger = new Uint8Array(Math.max(length, doubled));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
      this.#end = this.#length;
    }
    const room = this.#bytes.length - this.#end;
    if (piece.length <= room) {
      this.#bytes.set(piece, this.#end);
      this.#end += piece.length;
    } else {
      this.#bytes.set(piece.subarray(0, room), this.#end);
      this.#bytes.set(piece.subarray(room), 0);
      this.#end = piece.length - room;
    }
    this.#length = length;
  }

  /** Forgets everything. */
  clear(): void {
    this.#bytes = NOTHING;
    this.#length = 0;
    this.#end = 0;
  }

  /** What is remembered, the oldest part first. */
  parts(): Uint8Array[] {
    const parts = [this.#bytes.subarray(0, this.#end)];
    if (this.#end < this.#length) {
      parts.unshift(this.#bytes.subarray(this.#end));
    }
    return parts;
  }
}
