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

  /** Serves the first who waits. */
  serve(value: T): void {
    this.#waiters.shift()?.resolve(value);
  }

  /** Serves all who wait now. */
  serveAll(value: T): void {
    if (this.#waiters.length === 0) return;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(value);
  }

  /** Turns all away who wait now. */
  rejectAll(error: unknown): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }
}

/** Keeps a rejection that nobody looks at from ending the program. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
