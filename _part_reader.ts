/**
 * The parts of a message that is sent in fragments, read from an iterable.
 *
 * @module
 */

import { handled } from "./_waiter.ts";

/** Reads the parts; the wait for the next one can be interrupted. */
export class PartReader {
  readonly #iterator:
    | AsyncIterator<string | Uint8Array>
    | Iterator<string | Uint8Array>;
  #isDone = false;
  #reject: ((error: unknown) => void) | undefined;

  constructor(
    source:
      | AsyncIterable<string | Uint8Array>
      | Iterable<string | Uint8Array>,
  ) {
    // A string would be iterated by its characters.
    if (typeof source !== "object" || source === null) {
      throw new TypeError(
        `A message in parts is an iterable of strings or bytes (${typeof source})`,
      );
    }
    this.#iterator = Symbol.asyncIterator in source
      ? source[Symbol.asyncIterator]()
      : source[Symbol.iterator]();
  }

  /** Waits for the next part. */
  next(): Promise<IteratorResult<string | Uint8Array>> {
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      this.#read().then(resolve, reject);
    });
  }

  async #read(): Promise<IteratorResult<string | Uint8Array>> {
    try {
      const result = await this.#iterator.next();
      if (result.done) this.#isDone = true;
      return result;
    } catch (error) {
      this.#isDone = true;
      throw error;
    }
  }

  /** Makes a `next()` that is pending reject. */
  interrupt(error: unknown): void {
    this.#reject?.(error);
  }

  /** Calls `return()` of the source, unless it has ended. */
  leave(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    try {
      handled(Promise.resolve(this.#iterator.return?.()));
    } catch {
      // What the source throws now is of no interest.
    }
  }
}

/**
 * The type of a message.
 *
 * @param part Its next part.
 * @param begun The type so far; `undefined` for the first part.
 * @param said The type that the caller asked for, if any.
 * @throws {TypeError} If the part is neither a string nor bytes, or a string
 * does not fit.
 */
export function typeOfPart(
  part: unknown,
  begun: "text" | "binary" | undefined,
  said: "text" | "binary" | undefined,
): "text" | "binary" {
  const isText = typeof part === "string";
  if (!isText && !(part instanceof Uint8Array)) {
    throw new TypeError(
      `A part of a message is a string or a Uint8Array (${typeof part})`,
    );
  }
  if (isText && begun === "binary" && said === undefined) {
    throw new TypeError(
      "A message that begins with bytes cannot go on with a string",
    );
  }
  return said ?? begun ?? (isText ? "text" : "binary");
}
