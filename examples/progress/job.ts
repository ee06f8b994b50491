/**
 * A job that takes its time, and those who want to know how far it is.
 *
 * @module
 */

import { newTally, type Tally } from "../_meter.ts";

/** The ways to learn how far a job is. */
export const WAYS = ["polling", "long", "push"] as const;

/** A way to learn how far a job is. */
export type Way = typeof WAYS[number];

/** How far a job is. */
export interface State {
  readonly step: number;
  readonly of: number;
}

/** A job of so many steps. */
export class Job {
  /** What has gone over sockets for each way. */
  readonly tallies: Record<Way, Tally> = {
    polling: newTally(),
    long: newTally(),
    push: newTally(),
  };
  /** When each step was done, in milliseconds of `performance.now()`. */
  readonly times: number[] = [];
  #of = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #change = Promise.withResolvers<void>();
  #isCancelled = false;

  get state(): State {
    return { step: this.times.length, of: this.#of };
  }

  /** Whether no step will follow. */
  get isOver(): boolean {
    return this.#isCancelled ||
      this.#of > 0 && this.times.length === this.#of;
  }

  /** Resolves at the next step, or at the end. */
  get change(): Promise<void> {
    return this.isOver ? Promise.resolve() : this.#change.promise;
  }

  /**
   * Begins, unless it has begun. Some steps are short and some are long, as work
   * is, but the same in each job.
   *
   * @param seconds How long all of them take.
   * @param steps How many there are.
   */
  start(seconds: number, steps: number): void {
    if (this.#of > 0 || this.#isCancelled) return;
    this.#of = steps;
    const lengths = Array.from({ length: steps }, randomLengths(1));
    const total = lengths.reduce((sum, length) => sum + length, 0);
    const begin = performance.now();
    let due = begin;
    const next = (): void => {
      due += lengths[this.times.length]! / total * seconds * 1000;
      this.#timer = setTimeout(() => {
        this.times.push(performance.now());
        this.#tell();
        if (!this.isOver) next();
      }, due - performance.now());
    };
    next();
  }

  /** Ends it where it is. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#isCancelled = true;
    this.#tell();
  }

  #tell(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}

/** Numbers from 0.2 to 1.8 that look random (a linear congruence). */
function randomLengths(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 0.2 + 1.6 * state / 2 ** 32;
  };
}
