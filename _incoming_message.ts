/**
 * The message that is being received: joins its fragments, applies limits, and
 * checks text as it arrives.
 *
 * @module
 */

import { giveBackBuffer, lendBuffer } from "./_buffers.ts";
import { CloseCode, mask, ProtocolError } from "./frame.ts";
import type { NegotiatedExtension } from "./extension.ts";
import type { BinaryMessage, MessageChunk, TextMessage } from "./_events.ts";
import { decodeUtf8, Utf8Validator } from "./_utf8.ts";

// How much memory is reserved because a header announces it, in bytes. A
// message up to this length is never moved.
const RESERVED_AHEAD = 1024 * 1024;

/** The limits of a message. */
export interface IncomingMessageLimits {
  /** The largest message, in bytes. */
  maxMessageSize: number;
  /** How many frames a message may be made of. */
  maxFragments: number;
}

/** A part of a frame's payload as it was received. */
export interface PayloadPart {
  /** Where the part is. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Where the part begins, in bytes. */
  start: number;
  /** Where it ends, in bytes. */
  end: number;
  /** The frame's masking key, if it has one. */
  maskingKey: number | undefined;
  /** Where the part stands in the frame's payload, in bytes. */
  offset: number;
  /** Whether the message ends with this part. */
  fin: boolean;
}

/** The error for a message above the limit. */
export function messageTooBig(
  maxMessageSize: number,
  size: number,
): ProtocolError {
  return new ProtocolError(
    `The message is larger than ${maxMessageSize} bytes (at least ${size})`,
    { closeCode: CloseCode.MessageTooBig, kind: "message-too-big" },
  );
}

/** For {@linkcode invalidUtf8}: the text lacks its last bytes. */
export const CUT_OFF = "it ends within a character";

/** The error for text that is not UTF-8. */
export function invalidUtf8(where: string): ProtocolError {
  return new ProtocolError(`The text is not valid UTF-8 (${where})`, {
    closeCode: CloseCode.InvalidFramePayloadData,
    kind: "invalid-utf8",
  });
}

// The buffers that messages were received in, and that are still lent.
const lent = new WeakSet<ArrayBuffer>();

/**
 * Takes back the memory of a message, once. Only a buffer that was lent for it
 * is used again: a view on received bytes is left alone, and so is what an
 * extension made.
 */
export function reuseMemory(data: Uint8Array<ArrayBuffer>): void {
  if (lent.delete(data.buffer)) giveBackBuffer(new Uint8Array(data.buffer));
}

function lendMemory(size: number): Uint8Array<ArrayBuffer> {
  const memory = lendBuffer(size);
  lent.add(memory.buffer);
  return memory;
}

/** Takes messages one after the other, frame by frame and part by part. */
export class IncomingMessage {
  readonly #limits: IncomingMessageLimits;
  readonly #textAs: "string" | "bytes";
  readonly #inPlace: boolean;
  readonly #validator = new Utf8Validator();

  #type: "text" | "binary" | undefined;
  #extension: NegotiatedExtension | undefined;
  #fragments = 0;
  // The lengths that headers have announced, and what came out of the
  // extension.
  #announced = 0;
  #length = 0;
  #memory: Uint8Array<ArrayBuffer> | undefined;
  #filled = 0;
  /** Whether messages are given back with {@linkcode reuseMemory}. */
  reusesMemory = false;

  #inChunks = false;
  #chunks: MessageChunk[] = [];
  #decoder: TextDecoder | undefined;

  /** How messages are limited and delivered. */
  constructor(
    limits: IncomingMessageLimits,
    textAs: "string" | "bytes",
    inPlace: boolean,
  ) {
    this.#limits = limits;
    this.#textAs = textAs;
    this.#inPlace = inPlace;
  }

  /** The type of the begun message; `undefined` if none is begun. */
  get type(): "text" | "binary" | undefined {
    return this.#type;
  }

  /** Whether the begun message is delivered in chunks. */
  get isInChunks(): boolean {
    return this.#inChunks;
  }

  /** How much of the begun message is kept, in bytes. */
  get length(): number {
    return this.#filled;
  }

  /** Whether the begun message goes through an extension. */
  get isTransformed(): boolean {
    return this.#extension !== undefined;
  }

  /** Begins a message, before its first frame is announced. */
  begin(type: "text" | "binary", extension?: NegotiatedExtension): void {
    this.#type = type;
    this.#extension = extension;
    this.#fragments = 0;
    this.#announced = 0;
    this.#length = 0;
    this.#filled = 0;
  }

  /**
   * Announces the next frame, before its payload.
   *
   * @throws {ProtocolError} If the message exceeds a limit with it.
   */
  announce(payloadLength: number, fin: boolean): void {
    const { maxFragments, maxMessageSize } = this.#limits;
    if (++this.#fragments > maxFragments) {
      throw new ProtocolError(
        `The message has more than ${maxFragments} fragments`,
        { closeCode: CloseCode.PolicyViolation, kind: "too-many-fragments" },
      );
    }
    this.#announced += payloadLength;
    // What cannot be compressed grows a little when it is: 5 bytes for each
    // block (RFC 1951 §3.2.4), and to end a fragment takes blocks of its own (RFC
    // 7692 §7.2.1); the message itself is measured as it comes out.
    const limit = this.#extension === undefined
      ? maxMessageSize
      : maxMessageSize * 1.01 + 1024 + 16 * this.#fragments;
    if (this.#announced > limit) {
      throw messageTooBig(maxMessageSize, this.#announced);
    }
    if (this.#extension === undefined && !this.#inChunks) {
      this.#reserve(payloadLength, fin);
    }
  }

  /**
   * The memory that the rest of the frame is to end up in, if it can be read
   * there.
   *
   * @param remaining How much of the frame has not arrived, in bytes.
   */
  destination(remaining: number): Uint8Array<ArrayBuffer> | undefined {
    // What comes out of an extension goes to the memory; chunks have none.
    if (this.#memory === undefined || this.#extension !== undefined) {
      return undefined;
    }
    const end = Math.min(this.#filled + remaining, this.#memory.length);
    if (end <= this.#filled) return undefined;
    return this.#memory.subarray(this.#filled, end);
  }

  /**
   * Takes a part of a frame's payload.
   *
   * @throws {ProtocolError} If the text or the compressed data is malformed, or
   * the message becomes too big.
   */
  take(part: PayloadPart): void {
    if (this.#extension !== undefined) {
      this.#extension.decode(this.#unmasked(part), part.fin, this.#output);
    } else if (this.#inChunks) {
      this.#takeOutput(this.#unmasked(part));
    } else {
      this.#copy(part);
    }
  }

  /**
   * Ends the message.
   *
   * @returns The message, or `undefined` if it is delivered in chunks.
   * @throws {ProtocolError} If the text ends within a character.
   */
  end(): TextMessage | BinaryMessage | undefined {
    const type = this.#type!;
    if (type === "text" && !this.#validator.isComplete) {
      throw invalidUtf8(CUT_OFF);
    }
    this.#type = undefined;
    if (this.#inChunks) {
      this.#endChunks(type);
      return undefined;
    }
    const data = this.#memory?.subarray(0, this.#filled) ?? new Uint8Array(0);
    this.#memory = undefined;
    this.#filled = 0;
    if (type === "binary") return { type, data };
    return { type, data: this.#textAs === "bytes" ? data : decodeUtf8(data) };
  }

  /** Delivers this message in chunks from now on. */
  goInChunks(): void {
    if (this.#inChunks) return;
    this.#inChunks = true;
    if (this.#filled > 0) {
      this.#pushChunk(this.#memory!.subarray(0, this.#filled));
    }
    this.#memory = undefined;
    this.#filled = 0;
  }

  /** The next chunk that waits for delivery. */
  nextChunk(): MessageChunk | undefined {
    return this.#chunks.length === 0 ? undefined : this.#chunks.shift();
  }

  readonly #output = (piece: Uint8Array<ArrayBuffer>): void => {
    this.#takeOutput(piece);
  };

  /** Takes bytes of the message itself: unmasked, and out of the extension. */
  #takeOutput(piece: Uint8Array<ArrayBuffer>): void {
    if (piece.length === 0) return;
    const { maxMessageSize } = this.#limits;
    const room = maxMessageSize - this.#length;
    this.#length += piece.length;
    // Of two faults the first is reported, however the bytes were cut.
    this.#validate(piece, 0, Math.min(piece.length, room));
    if (piece.length > room) throw messageTooBig(maxMessageSize, this.#length);
    if (this.#inChunks) {
      this.#pushChunk(piece);
    } else if (this.#memory === undefined) {
      // Most messages come out in one piece.
      this.#memory = piece;
      this.#filled = piece.length;
    } else {
      this.#grow(this.#filled + piece.length);
      this.#memory.set(piece, this.#filled);
      this.#filled += piece.length;
    }
  }

  #copy({ bytes, start, end, maskingKey, offset }: PayloadPart): void {
    let from = start;
    while (from < end) {
      const memory = this.#memory!;
      const room = memory.length - this.#filled;
      if (room === 0) {
        // More was announced than was reserved.
        this.#reserve(this.#announced - this.#filled, true);
        continue;
      }
      const length = Math.min(room, end - from);
      const isThere = bytes.buffer === memory.buffer &&
        bytes.byteOffset + from === memory.byteOffset + this.#filled;
      if (!isThere) {
        memory.set(bytes.subarray(from, from + length), this.#filled);
      }
      const filled = this.#filled + length;
      if (maskingKey !== undefined) {
        mask(memory, maskingKey, offset + from - start, this.#filled, filled);
      }
      this.#validate(memory, this.#filled, filled);
      this.#filled = filled;
      from += length;
    }
  }

  #unmasked(part: PayloadPart): Uint8Array<ArrayBuffer> {
    const { bytes, start, end, maskingKey, offset } = part;
    const view = this.#inPlace
      ? bytes.subarray(start, end)
      : bytes.slice(start, end);
    if (maskingKey !== undefined) mask(view, maskingKey, offset);
    return view;
  }

  #validate(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
  ): void {
    if (this.#type !== "text") return;
    if (!this.#validator.push(bytes, start, end)) {
      throw invalidUtf8(
        this.#fragments > 1 ? `in fragment ${this.#fragments}` : "in a frame",
      );
    }
  }

  /**
   * Makes room for what a header has announced, but for not much more than has
   * really arrived. Where further frames follow, memory grows in steps that
   * double.
   */
  #reserve(length: number, isWhole: boolean): void {
    const memory = this.#memory;
    const needed = this.#filled + length;
    if (memory !== undefined && needed <= memory.length) return;
    const size = Math.min(needed, Math.max(RESERVED_AHEAD, this.#filled * 2));
    if (!isWhole) this.#grow(size);
    else if (size > (memory?.length ?? 0)) this.#move(size);
  }

  /** Makes the memory at least that large; if it grows, to twice its size. */
  #grow(size: number): void {
    const length = this.#memory?.length ?? 0;
    if (size <= length) return;
    const { maxMessageSize } = this.#limits;
    this.#move(Math.max(size, Math.min(length * 2, maxMessageSize)));
  }

  #move(size: number): void {
    const larger = this.reusesMemory ? lendMemory(size) : new Uint8Array(size);
    if (this.#filled > 0) larger.set(this.#memory!.subarray(0, this.#filled));
    this.#memory = larger;
  }

  #pushChunk(piece: Uint8Array<ArrayBuffer>): void {
    const of = this.#type!;
    let data: string | Uint8Array<ArrayBuffer> = piece;
    if (of === "text" && this.#textAs === "string") {
      this.#decoder ??= new TextDecoder("utf-8", { ignoreBOM: true });
      data = this.#decoder.decode(piece, { stream: true });
      if (data === "") return;
    }
    this.#chunks.push({ type: "chunk", of, data, fin: false });
  }

  #endChunks(of: "text" | "binary"): void {
    const last = this.#chunks.pop();
    if (last !== undefined) {
      this.#chunks.push({ ...last, fin: true });
    } else {
      const data = of === "text" && this.#textAs === "string"
        ? ""
        : new Uint8Array(0);
      this.#chunks.push({ type: "chunk", of, data, fin: true });
    }
    this.#inChunks = false;
  }
}
