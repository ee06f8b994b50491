/**
 * The parts of a message that is sent as they come.
 *
 * @module
 */

import { handled } from "./_waiter.ts";

/** Reads the parts of a message, and can be told not to wait for the next. */
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

  /** The next part, if there is one. */
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

  /** Makes the `next()` that waits, if one does, reject. */
  interrupt(error: unknown): void {
    this.#reject?.(error);
  }

  /** Tells the source that no more is wanted, unless it has ended. */
  leave(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    try {
      handled(Promise.resolve(this.#iterator.return?.()));
    } catch {
      // It was not wanted any more.
    }
  }
}

/** What a message is by its first part, or by what was said of it. */
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
