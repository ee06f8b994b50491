/**
 * How connections share the one thread: microtasks that all use, and turns for
 * those whose messages take long.
 *
 * @module
 */

import { areTimersShared } from "./_platform.ts";

/** Somebody who takes turns. */
export interface TurnTaker {
  /** Called by {@linkcode soon}. */
  onMicrotask(): void;
  /** Called by {@linkcode takeTurns}. */
  onTurn(): void;
}

// Those that have something to do in the next microtask, which they share.
let due: TurnTaker[] = [];

/** Calls it in the next microtask, all that ask in the same one. */
export function soon(taker: TurnTaker): void {
  if (due.push(taker) === 1) queueMicrotask(onMicrotask);
}

function onMicrotask(): void {
  const takers = due;
  due = [];
  for (const taker of takers) taker.onMicrotask();
}

// Those that have had their turn. A few of them go on when all others were served
// that had something to do.
const resting: TurnTaker[] = [];
const TAKERS = 4;

// How long all of them may work, in milliseconds, before it is the others' turn,
// and for how long one of them is taken to have worked at most.
const TURN = 10;
const WORK = 5;
let worked = 0;

// A timer that is due already leaves no time to look for the others: it begins
// anew with each that rests, for so many milliseconds.
const LATEST = 100;
let timer: ReturnType<typeof setTimeout> | undefined;
let since = 0;

/** Calls it when the others have had their turn. */
export function takeTurns(taker: TurnTaker): void {
  if (!areTimersShared) {
    setTimeout(() => {
      worked = 0;
      taker.onTurn();
    }, 0);
    return;
  }
  resting.push(taker);
  const now = performance.now();
  if (timer === undefined) since = now;
  else if (now - since < LATEST) clearTimeout(timer);
  else return;
  timer = setTimeout(onTurn, 0);
}

/**
 * Whether it is the others' turn, with what was done now. Who finds something to
 * read at once, each time, would keep the thread to itself: Deno looks after
 * other sockets when there is nothing else to do, or after 61 rounds of up to 128
 * reads.
 *
 * @param milliseconds How long was worked.
 */
export function hasWorked(milliseconds: number): boolean {
  worked += Math.min(milliseconds, WORK);
  return worked > TURN;
}

function onTurn(): void {
  timer = undefined;
  worked = 0;
  const end = performance.now() + TURN;
  try {
    let left = Math.min(TAKERS, resting.length);
    while (left-- > 0 && performance.now() < end) resting.shift()!.onTurn();
  } finally {
    if (resting.length > 0 && timer === undefined) {
      since = performance.now();
      timer = setTimeout(onTurn, 0);
    }
  }
}
