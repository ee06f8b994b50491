/**
 * How often something may happen.
 *
 * @module
 */

/** A token bucket: a rate on average, and some more at once. */
export class RateLimit {
  readonly #rate: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  /**
   * A full bucket.
   *
   * @param rate How many a second.
   * @param burst How many at once.
   * @param now The time, in milliseconds, of any clock.
   */
  constructor(rate: number, burst: number, now = performance.now()) {
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  /**
   * Takes one, if there is one.
   *
   * @returns 0 if there was one, or after how many milliseconds there will be.
   */
  take(now = performance.now()): number {
    const more = (now - this.#at) / 1000 * this.#rate;
    this.#tokens = Math.min(this.#burst, this.#tokens + more);
    this.#at = now;
    if (this.#tokens < 1) {
      return Math.ceil((1 - this.#tokens) / this.#rate * 1000);
    }
    this.#tokens--;
    return 0;
  }
}

/** Does something at once, but not again before some time has passed. */
export class Throttle {
  readonly #act: () => void;
  readonly #interval: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isDue = false;

  /**
   * @param act What to do.
   * @param interval How long to wait before it is done again, in milliseconds.
   */
  constructor(act: () => void, interval: number) {
    this.#act = act;
    this.#interval = interval;
  }

  /** Does it: now, or as soon as it may be done. */
  trigger(): void {
    if (this.#timer !== undefined) {
      this.#isDue = true;
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#isDue) return;
      this.#isDue = false;
      this.trigger();
    }, this.#interval);
    this.#act();
  }

  /** Cancels what is due. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isDue = false;
  }
}
