/**
 * Deadlines for thousands of connections. Those that fall close together share
 * a timer, so that to set and to cancel one costs little; a timer whose last
 * deadline is cancelled is cleared.
 *
 * @module
 */

import { areTimersShared } from "./_platform.ts";
import { rethrow } from "./_turns.ts";

// A deadline may be late by this share of its delay.
const COARSENESS = 1 / 16;

// The longest delay, in milliseconds: with that share, it still fits a timer.
const LONGEST = 2e9;

interface Slot {
  readonly time: number;
  readonly deadlines: Set<Deadline>;
  timer: ReturnType<typeof setTimeout> | undefined;
}

const slots = new Map<number, Slot>();

/** The owner of a deadline: an object, so that no closure is made for each. */
export interface DeadlineOwner {
  /** Called when the deadline is due. */
  onDeadline(deadline: Deadline): void;
}

/** A call after some time, unless it is cancelled. */
export class Deadline {
  readonly #owner: DeadlineOwner;
  #slot: Slot | undefined;

  /**
   * @param delay How long to wait, in milliseconds: up to a sixteenth more, and
   * at most 23 days.
   * @param owner Is called then.
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

  /** Has no effect if it has fired, or is cancelled, already. */
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
  // An owner may cancel another deadline of this slot: iteration passes over
  // it.
  for (const deadline of slot.deadlines) {
    try {
      Deadline.expire(deadline);
    } catch (error) {
      rethrow(error);
    }
  }
}
