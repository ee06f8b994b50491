/**
 * Calls that wait for something, in order, and can be cancelled.
 *
 * @module
 */

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

/** Those who wait, the first to come the first to be served. */
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
   * @param signal Cancels the wait; nobody else is disturbed.
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
   * Waits to be served with all others, by one promise for all that ask so: it
   * may be asked for a million times by who never looks at it.
   */
  waitTogether(): Promise<T> {
    return this.#shared ??= handled(this.wait());
  }

  /** Serves the first who waits. */
  serve(value: T): void {
    this.#waiters.shift()?.resolve(value);
  }

  /** Serves all who wait now. */
  serveAll(value: T): void {
    if (this.#waiters.length === 0) return;
    this.#shared = undefined;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(value);
  }

  /** Turns all away who wait now. */
  rejectAll(error: unknown): void {
    this.#shared = undefined;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }
}

/** What one at a time can do: the first to come is the first to do it. */
export class Turnstile {
  // Resolved when the last who has come is through.
  #last: Promise<void> | undefined;

  /** Whether nobody does it, or waits to. */
  get isFree(): boolean {
    return this.#last === undefined;
  }

  /**
   * Waits for a turn.
   *
   * @param signal Cancels the wait; nobody else is disturbed.
   * @returns What ends the turn.
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

/** Keeps a rejection that nobody looks at from ending the program. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
