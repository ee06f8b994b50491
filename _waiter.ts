/**
 * Calls that wait for something, served in order, each of which can be
 * cancelled.
 *
 * @module
 */

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

/** Calls that wait for a value: first come, first served. */
export class Waiters<T> {
  #waiters: Waiter<T>[] = [];
  #shared: Promise<T> | undefined;

  /** How many wait. */
  get length(): number {
    return this.#waiters.length;
  }

  /**
   * Waits to be served.
   *
   * @param signal Cancels this wait alone.
   */
  wait(signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal === undefined) {
        this.#waiters.push({ resolve, reject });
        return;
      }
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort);
      const forget = () => signal.removeEventListener("abort", onAbort);
      const waiter: Waiter<T> = {
        resolve: (value) => (forget(), resolve(value)),
        reject: (error) => (forget(), reject(error)),
      };
      this.#waiters.push(waiter);
    });
  }

  /**
   * Waits for the next `serveAll()`, with one promise for all that call this: a
   * program that ignores it may ask a million times.
   */
  waitTogether(): Promise<T> {
    return this.#shared ??= handled(this.wait());
  }

  /** Serves the first that waits. */
  serve(value: T): void {
    this.#waiters.shift()?.resolve(value);
  }

  /** Serves all that wait now. */
  serveAll(value: T): void {
    if (this.#waiters.length === 0) return;
    this.#shared = undefined;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(value);
  }

  /** Rejects all that wait now. */
  rejectAll(error: unknown): void {
    this.#shared = undefined;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }
}

/** A lock: one at a time holds it, in the order in which they came. */
export class Turnstile {
  // Resolves when all that have come so far are done.
  #last: Promise<void> | undefined;

  /** Whether nobody holds it, or waits for it. */
  get isFree(): boolean {
    return this.#last === undefined;
  }

  /**
   * Waits for a turn.
   *
   * @param signal Cancels this wait alone.
   * @returns The function that ends the turn.
   */
  async take(signal?: AbortSignal): Promise<() => void> {
    const before = this.#last;
    let resolve!: () => void;
    const mine = new Promise<void>((it) => resolve = it);
    const last = before === undefined ? mine : before.then(() => mine);
    this.#last = last;
    const end = (): void => {
      resolve();
      if (this.#last === last) this.#last = undefined;
    };
    try {
      if (before !== undefined) await unlessAborted(before, signal);
      return end;
    } catch (error) {
      before!.then(end);
      throw error;
    }
  }
}

/** Waits for a promise that does not reject, unless the wait is cancelled. */
function unlessAborted(
  promise: Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
  });
}

/**
 * Marks a promise's rejection as handled: ignored, it does not end the program.
 */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
