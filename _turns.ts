/**
 * How connections share the one thread: microtasks that all use, and turns for
 * those whose messages take long.
 *
 * @module
 */

import { areTimersShared } from "./_platform.ts";

/** Somebody who takes turns. */
export interface TurnTaker {
  /** What it has worked, in milliseconds: {@linkcode endWork}, {@linkcode addWork}. */
  work: number;
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
  for (const taker of takers) {
    try {
      taker.onMicrotask();
    } catch (error) {
      rethrow(error);
    }
  }
}

/** Throws where it disturbs nobody else: an extension's mistake, say. */
export function rethrow(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

// Those that have had their turn. A few of them go on when all others were served
// that had something to do: those that have worked least, so that who works little
// waits for nobody who works much, however many these are.
const resting: TurnTaker[] = [];
const TAKERS = 4;

// What the last of them had worked. Who has worked less, because it came later or
// had nothing to do, is owed one turn for that and no more.
let least = 0;

// How long all of them may work, in milliseconds, before it is the others' turn;
// since the last turn, and since when somebody is at work.
const TURN = 10;
let worked = 0;
let beganAnew = 0;
let since: number | undefined;
let watch: ReturnType<typeof setTimeout> | undefined;

// For how long who is done with its work later is taken to have worked at most: it
// may have waited for something else.
const LATER_WORK = 5;

// A timer that is due already leaves no time to look for the others: it begins
// anew with each that rests, for so many milliseconds.
const LATEST = 100;
let timer: ReturnType<typeof setTimeout> | undefined;
let setAt = 0;

/** Calls it when the others have had their turn. */
export function takeTurns(taker: TurnTaker): void {
  if (!areTimersShared) {
    setTimeout(() => {
      beginAnew();
      taker.onTurn();
    }, 0);
    return;
  }
  taker.work = Math.max(taker.work, least - TURN);
  resting.push(taker);
  const now = performance.now();
  if (timer === undefined) setAt = now;
  else if (now - setAt < LATEST) clearTimeout(timer);
  else return;
  timer = setTimeout(onTurn, 0);
}

/**
 * Says that what comes now may take a while.
 *
 * @returns Whether {@linkcode endWork} has to follow: not within other work.
 */
export function beginWork(): boolean {
  if (since !== undefined) return false;
  since = performance.now();
  return true;
}

/** Says that the work is done for now, and returns how long it took. */
export function endWork(): number {
  const work = performance.now() - since!;
  worked += work;
  since = undefined;
  return work;
}

/**
 * Counts what was done since a time, such as by who waits for messages, and
 * returns how long it took.
 */
export function addWork(begin: number): number {
  if (since !== undefined) return 0; // it is counted anyway
  const now = performance.now();
  const work = Math.min(now - begin, LATER_WORK);
  worked += work;
  // Many may have waited at the same time: there was no more time than this.
  const most = now - beganAnew;
  if (most >= 0 && worked > most) worked = most;
  return work;
}

/**
 * Begins anew if the others get their turn by themselves; for who reads on. A
 * timer comes through only after the loop has looked at all sockets; where it does
 * so anyway, to rest would cost the 2 ms that the shortest timer takes (S3 of the
 * benchmark: 18 % of the messages, and a p99 of 4.7 ms instead of 0.7).
 */
export function watchLoop(): void {
  if (watch !== undefined || workedSoFar() < TURN / 2) return;
  if (!areTimersShared) return;
  watch = setTimeout(() => {
    watch = undefined;
    beginAnew();
  }, 0);
}

/** Leaves no timer behind: for who ends. Others that read on set it again. */
export function unwatchLoop(): void {
  if (watch === undefined) return;
  clearTimeout(watch);
  watch = undefined;
}

/**
 * Whether those who work may go on, or it is the others' turn. Who finds something
 * to read at once, each time, would keep the thread to itself: Deno looks after
 * other sockets when there is nothing else to do, or after 61 rounds of up to 128
 * reads.
 */
export function mayGoOn(): boolean {
  return workedSoFar() <= TURN;
}

function workedSoFar(): number {
  return since === undefined ? worked : worked + performance.now() - since;
}

function beginAnew(): void {
  worked = 0;
  beganAnew = performance.now();
}

function onTurn(): void {
  timer = undefined;
  beginAnew();
  const end = performance.now() + TURN;
  try {
    let left = Math.min(TAKERS, resting.length);
    while (left-- > 0 && performance.now() < end) next().onTurn();
  } finally {
    if (resting.length > 0 && timer === undefined) {
      setAt = performance.now();
      timer = setTimeout(onTurn, 0);
    }
  }
}

/** Takes out who has worked least; of several, who has waited longest. */
function next(): TurnTaker {
  let first = 0;
  for (let i = 1; i < resting.length; i++) {
    if (resting[i]!.work < resting[first]!.work) first = i;
  }
  const [taker] = resting.splice(first, 1);
  least = Math.max(least, taker!.work);
  return taker!;
}
