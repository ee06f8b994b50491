/**
 * The parts of a message that is sent in fragments, read from an iterable.
 *
 * @module
 */

import type { MessageData } from "./prepared.ts";
import { kindOf } from "./_bytes_of.ts";
import { handled } from "./_waiter.ts";

/** Reads the parts; the wait for the next one can be interrupted. */
export class PartReader {
  readonly #iterator:
    | AsyncIterator<MessageData>
    | Iterator<MessageData>;
  #isDone = false;
  #reject: ((error: unknown) => void) | undefined;

  constructor(
    source:
      | AsyncIterable<MessageData>
      | Iterable<MessageData>,
  ) {
    // A string would be iterated by its characters.
    const isIterable = typeof source === "object" && source !== null &&
      (Symbol.asyncIterator in source || Symbol.iterator in source);
    if (!isIterable) {
      throw new TypeError(
        `A message in parts is an iterable of strings or bytes (${
          kindOf(source)
        })`,
      );
    }
    this.#iterator = Symbol.asyncIterator in source
      ? source[Symbol.asyncIterator]()
      : source[Symbol.iterator]();
  }

  /** Waits for the next part. */
  next(): Promise<IteratorResult<MessageData>> {
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      this.#read().then(resolve, reject);
    });
  }

  async #read(): Promise<IteratorResult<MessageData>> {
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
 * @throws {TypeError} If a string does not fit.
 */
export function typeOfPart(
  part: string | Uint8Array,
  begun: "text" | "binary" | undefined,
  said: "text" | "binary" | undefined,
): "text" | "binary" {
  const isText = typeof part === "string";
  if (isText && begun === "binary" && said === undefined) {
    throw new TypeError(
      "A message that begins with bytes cannot go on with a string",
    );
  }
  return said ?? begun ?? (isText ? "text" : "binary");
}
