/**
 * Timers for thousands of connections: deadlines that fall close together share
 * one, so that setting and cancelling costs little, and nothing is left running
 * when the last is cancelled.
 *
 * @module
 */

import { areTimersShared } from "./_platform.ts";
import { rethrow } from "./_turns.ts";

// A deadline may be late by this share of its delay.
const COARSENESS = 1 / 16;

// What timers take, in milliseconds, less what a deadline may be late by.
const LONGEST = 2e9;

interface Slot {
  readonly time: number;
  readonly deadlines: Set<Deadline>;
  timer: ReturnType<typeof setTimeout> | undefined;
}

const slots = new Map<number, Slot>();

/** Whom to tell of a deadline: an object rather than a closure for each. */
export interface DeadlineOwner {
  /** Told when the deadline is due. */
  onDeadline(deadline: Deadline): void;
}

/** Something to be done after a while, unless it is cancelled. */
export class Deadline {
  readonly #owner: DeadlineOwner;
  #slot: Slot | undefined;

  /**
   * @param delay How long to wait, in milliseconds; it becomes up to a
   * sixteenth more. Not more than 23 days are waited.
   * @param owner Whom to tell then.
   */
  constructor(delay: number, owner: DeadlineOwner) {
    this.#owner = owner;
    this.#enter(delay);
  }

  /** Begins anew. */
  restart(delay: number): void {
    this.cancel();
    this.#enter(delay);
  }

  /** Does nothing if it is due or cancelled already. */
  cancel(): void {
    const slot = this.#slot;
    if (slot === undefined) return;
    this.#slot = undefined;
    slot.deadlines.delete(this);
    if (slot.deadlines.size === 0) {
      clearTimeout(slot.timer);
      slots.delete(slot.time);
    }
  }

  #enter(delay: number): void {
    const now = performance.now();
    const wait = Math.min(delay, LONGEST);
    const step = Math.max(1, wait * COARSENESS);
    const time = Math.ceil((now + wait) / step) * step;
    let slot = areTimersShared ? slots.get(time) : undefined;
    if (slot === undefined) {
      slot = { time, deadlines: new Set(), timer: undefined };
      slot.timer = setTimeout(fire, time - now, slot);
      if (areTimersShared) slots.set(time, slot);
    }
    slot.deadlines.add(this);
    this.#slot = slot;
  }

  /** Called by the slot's timer. */
  static expire(deadline: Deadline): void {
    deadline.#slot = undefined;
    deadline.#owner.onDeadline(deadline);
  }
}

function fire(slot: Slot): void {
  slots.delete(slot.time);
  // One callback may cancel another of the same slot, which is then passed over.
  for (const deadline of slot.deadlines) {
    try {
      Deadline.expire(deadline);
    } catch (error) {
      rethrow(error);
    }
  }
}
