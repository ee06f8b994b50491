/**
 * Parts of a message that nobody takes as parts, put together: in one piece of
 * memory, since a peer may send them byte by byte.
 *
 * @module
 */

import type { MessageChunk } from "./_events.ts";

// So many short strings are joined at once.
const STRINGS = 1000;

/** The beginning of a message. */
export class JoinedParts {
  readonly #of: MessageChunk["of"];
  #bytes = new Uint8Array(0);
  #strings: string[] | undefined;
  #length = 0;

  /** @param first Says what the message is; it is still to be added. */
  constructor(first: MessageChunk) {
    this.#of = first.of;
    if (typeof first.data === "string") this.#strings = [];
  }

  /** How much there is, in bytes, or UTF-16 units of text. */
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

  /** All there is, as one part. */
  join(): MessageChunk {
    const data = this.#strings?.join("") ??
      this.#bytes.subarray(0, this.#length);
    return { type: "chunk", of: this.#of, data, fin: false };
  }
}
