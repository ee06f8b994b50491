/**
 * How connections share the one thread: microtasks that all use, and turns for
 * those whose messages take long.
 *
 * @module
 */

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

// Those that have had their turn. Some of them go on, for as long in milliseconds,
// each time after all others were served that had something to do.
const resting: TurnTaker[] = [];
const TURN = 10;
let isTurnDue = false;

/** Calls it when the others have had their turn. */
export function takeTurns(taker: TurnTaker): void {
  resting.push(taker);
  nextTurn();
}

function nextTurn(): void {
  if (isTurnDue || resting.length === 0) return;
  isTurnDue = true;
  setTimeout(onTurn, 0);
}

function onTurn(): void {
  isTurnDue = false;
  const end = performance.now() + TURN;
  try {
    while (resting.length > 0 && performance.now() < end) {
      resting.shift()!.onTurn();
    }
  } finally {
    nextTurn();
  }
}
