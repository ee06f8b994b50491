/**
 * Joins parts of a message that nobody takes as parts. Bytes are copied into
 * one piece of memory: a peer may send them one by one.
 *
 * @module
 */

import type { MessageChunk } from "./_events.ts";

// How many strings are gathered before they are joined.
const STRINGS = 1000;

/** The parts of a message so far. */
export class JoinedParts {
  readonly #of: MessageChunk["of"];
  #bytes = new Uint8Array(0);
  #strings: string[] | undefined;
  #length = 0;

  /** @param first Tells the type of the message; it is not added by this. */
  constructor(first: MessageChunk) {
    this.#of = first.of;
    if (typeof first.data === "string") this.#strings = [];
  }

  /** The length so far, in bytes; of strings, in UTF-16 code units. */
  get length(): number {
    return this.#length;
  }

  /** Adds the next part; its bytes are copied. */
  add(data: MessageChunk["data"]): void {
    const end = this.#length + data.length;
    if (typeof data === "string") {
      const strings = this.#strings!;
      strings.push(data);
      if (strings.length === STRINGS) this.#strings = [strings.join("")];
    } else {
      if (end > this.#bytes.length) {
        const larger = new Uint8Array(Math.max(end, this.#bytes.length * 2));
        larger.set(this.#bytes.subarray(0, this.#length));
        this.#bytes = larger;
      }
      this.#bytes.set(data, this.#length);
    }
    this.#length = end;
  }

  /** All parts so far, as one. */
  join(): MessageChunk {
    const data = this.#strings?.join("") ??
      this.#bytes.subarray(0, this.#length);
    return { type: "chunk", of: this.#of, data, fin: false };
  }
}
