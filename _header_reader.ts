/**
 * Reads the headers of frames off bytes that are cut anywhere, and judges them:
 * by the rules for a single frame (RFC 6455 §5.2), and by those for fragments
 * (§5.4).
 *
 * @module
 */

import {
  checkFrameHeader,
  CloseCode,
  decodeFrameHeader,
  type FrameHeader,
  type FrameRules,
  MAX_FRAME_HEADER_LENGTH,
  Opcode,
  ProtocolError,
  type Role,
} from "./frame.ts";

// The rules without an extension, shared by all connections.
const RULES: Record<Role, FrameRules> = {
  client: { role: "client" },
  server: { role: "server" },
};

/** Reads one header after the other. */
export class HeaderReader {
  /** The header that was read last. */
  readonly header: FrameHeader = {
    fin: false,
    reservedBits: 0,
    opcode: 0,
    maskingKey: undefined,
    payloadLength: 0,
    byteLength: 0,
  };
  readonly #dataRules: FrameRules;
  readonly #otherRules: FrameRules;
  // The beginning of a header whose rest has not arrived.
  #partial: Uint8Array<ArrayBuffer> | undefined;
  #partialLength = 0;

  /**
   * @param role Which end receives.
   * @param reservedBits Those that the extension claims.
   */
  constructor(role: Role, reservedBits: number) {
    // RFC 7692 §6: the bit stands on the first frame of a message only
    this.#otherRules = RULES[role];
    this.#dataRules = reservedBits === 0 ? RULES[role] : { role, reservedBits };
  }

  /** Whether a part of a header has been taken. */
  get isWithinHeader(): boolean {
    return this.#partialLength > 0;
  }

  /**
   * Reads a header, or what has arrived of it.
   *
   * @param bytes What has been received.
   * @param position Where the header begins, or goes on.
   * @param isWithinMessage Whether a message is unfinished.
   * @returns The position behind the header, or `undefined` if all bytes are
   * taken and it is not complete.
   * @throws {ProtocolError} As soon as the first two bytes show that it is
   * wrong.
   */
  read(
    bytes: Uint8Array,
    position: number,
    isWithinMessage: boolean,
  ): number | undefined {
    const had = this.#partialLength;
    if (had === 0 && this.#decode(bytes, position, isWithinMessage)) {
      return position + this.header.byteLength;
    }
    // A header that is cut is joined in memory of its own.
    const partial = this.#partial ??= new Uint8Array(MAX_FRAME_HEADER_LENGTH);
    const available = bytes.length - position;
    const length = Math.min(available, MAX_FRAME_HEADER_LENGTH - had);
    for (let i = 0; i < length; i++) partial[had + i] = bytes[position + i]!;
    const there = partial.subarray(0, had + length);
    if (!this.#decode(there, 0, isWithinMessage)) {
      this.#partialLength = had + length;
      return undefined;
    }
    this.#partialLength = 0;
    return position + this.header.byteLength - had;
  }

  /**
   * Decodes a header. As soon as two bytes are there, they are judged by the
   * same rules, in the same order, as a whole header: the verdict does not
   * depend on how the bytes were cut.
   */
  #decode(
    bytes: Uint8Array,
    offset: number,
    isWithinMessage: boolean,
  ): boolean {
    let isComplete: boolean;
    try {
      isComplete = decodeFrameHeader(bytes, offset, this.header) !== undefined;
    } catch (error) {
      this.#decodeFirstBytes(bytes, offset);
      this.#check(isWithinMessage);
      throw error;
    }
    if (!isComplete) {
      if (bytes.length - offset < 2) return false;
      this.#decodeFirstBytes(bytes, offset);
    }
    this.#check(isWithinMessage);
    return isComplete;
  }

  #decodeFirstBytes(bytes: Uint8Array, offset: number): void {
    const first = bytes[offset]!;
    const second = bytes[offset + 1]!;
    const { header } = this;
    header.fin = (first & 0x80) !== 0;
    header.reservedBits = first >> 4 & 0b111;
    header.opcode = first & 0x0f;
    header.maskingKey = second & 0x80 ? 0 : undefined;
    header.payloadLength = second & 0x7f; // 126 and 127 are too long for control
  }

  #check(isWithinMessage: boolean): void {
    const { header } = this;
    const { opcode } = header;
    // The message is the same whether or not all of the length has arrived.
    if (opcode & 0x8) {
      header.payloadLength = Math.min(header.payloadLength, 126);
    }
    const isFirst = opcode === Opcode.Text || opcode === Opcode.Binary;
    checkFrameHeader(header, isFirst ? this.#dataRules : this.#otherRules);
    // §5.4: fragments of one message, in order, with no other message between
    if (opcode === Opcode.Continuation && !isWithinMessage) {
      throw new ProtocolError("There is no message to continue (opcode 0x0)", {
        closeCode: CloseCode.ProtocolError,
        kind: "unexpected-continuation",
      });
    }
    if (isFirst && isWithinMessage) {
      throw new ProtocolError(
        `A message begins within an unfinished one (opcode 0x${opcode})`,
        { closeCode: CloseCode.ProtocolError, kind: "expected-continuation" },
      );
    }
  }
}
