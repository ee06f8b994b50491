/**
 * The message that is being sent in fragments: parts in, payloads of frames out
 * (RFC 6455 §5.4).
 *
 * @module
 */

import type { NegotiatedExtension } from "./extension.ts";
import { joined } from "./_joined.ts";

const encoder = new TextEncoder();

const HIGH_SURROGATE_AT_END = /[\uD800-\uDBFF]$/;

/** A message that is sent in fragments. */
export class OutgoingMessage {
  /** What the message is. */
  readonly type: "text" | "binary";
  /** The reserved bits of its first frame. */
  readonly reservedBits: number;
  readonly #extension: NegotiatedExtension | undefined;
  // The first half of a surrogate pair that a part was cut within, or "".
  #highSurrogate = "";

  /**
   * @param type What the message is.
   * @param extension Transforms it, if any does.
   */
  constructor(
    type: "text" | "binary",
    extension: NegotiatedExtension | undefined,
  ) {
    this.type = type;
    this.reservedBits = extension?.reservedBits ?? 0;
    this.#extension = extension;
  }

  /**
   * The payload of the next frame.
   *
   * @param data The fragment; a text may be cut anywhere.
   * @param fin Whether the message ends with it.
   */
  encode(data: string | Uint8Array, fin: boolean): Uint8Array {
    const payload = this.#bytesOf(data, fin);
    return this.#extension?.encode(payload, fin, false) ?? payload;
  }

  #bytesOf(data: string | Uint8Array, fin: boolean): Uint8Array {
    const before = this.#highSurrogate;
    if (typeof data !== "string") {
      if (before === "") return data;
      const bytes = joined([encoder.encode(before), data]);
      this.#highSurrogate = "";
      return bytes;
    }
    const whole = before + data;
    const isCut = !fin && HIGH_SURROGATE_AT_END.test(whole);
    this.#highSurrogate = isCut ? whole.slice(-1) : "";
    return encoder.encode(isCut ? whole.slice(0, -1) : whole);
  }
}
