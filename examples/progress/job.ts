/**
 * A job that takes a while, and reports its progress.
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

/** A job in steps. */
export class Job {
  /** The traffic of each way. */
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
   * Begins, unless it has begun. Steps differ in length, as work
   * does, but in the same way in each job.
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

  /** Stops it before its end. */
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

/** Pseudo-random numbers from 0.2 to 1.8 (a linear congruential generator). */
function randomLengths(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 0.2 + 1.6 * state / 2 ** 32;
  };
}
