/**
 * How connections share the one thread: one microtask for all that have
 * something to do soon, and turns for those whose messages take long.
 *
 * @module
 */

import { areTimersShared } from "./_platform.ts";

/** What takes turns: a connection, or a loop that accepts connections. */
export interface TurnTaker {
  /**
   * How long it has worked, in milliseconds: the sum of what
   * {@linkcode endWork} and {@linkcode addWork} have returned.
   */
  work: number;
  /** Called in the microtask that {@linkcode soon} was asked for. */
  onMicrotask(): void;
  /** Called when the turn comes that {@linkcode takeTurns} was asked for. */
  onTurn(): void;
}

// Those to be called in the next microtask.
let due: TurnTaker[] = [];

/**
 * Has a taker called in the next microtask, which all share that ask for one.
 */
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

/**
 * Throws in a microtask of its own, so that the caller can go on with others.
 */
export function rethrow(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

// Those that wait for a turn. After the event loop has served all others, up to
// TAKERS of them go on: those with the least work so far, so that a connection
// with little to do does not wait for busy ones, however many there are.
const resting: TurnTaker[] = [];
const TAKERS = 4;

// The most work that a taker had when its turn came. One that waits with less,
// since it is new or was idle, is counted as only one turn behind this:
// otherwise it could keep the thread until it had worked as long as all others.
// One that waits with more, since it has worked while nobody had to wait, is
// counted as only one turn ahead: otherwise newcomers could keep the thread until
// they had worked as long as it has.
let least = 0;

// How long all takers together may work before others get a turn, in
// milliseconds.
const TURN = 10;
// How long they have worked since `beganAnew`, when others last had a turn,
// without the work that goes on since `since`.
let worked = 0;
let beganAnew = 0;
let since: number | undefined;
let watch: ReturnType<typeof setTimeout> | undefined;

// The most that addWork() counts, in milliseconds: not all of that time need
// have been work.
const LATER_WORK = 5;

// A timer that is due runs before the event loop looks at sockets. So it is set
// again with each taker that begins to rest, but for no longer than this, in
// milliseconds.
const LATEST = 100;
let timer: ReturnType<typeof setTimeout> | undefined;
let setAt = 0;

/** Has a taker called when others have had their turn. */
export function takeTurns(taker: TurnTaker): void {
  if (!areTimersShared) {
    setTimeout(() => {
      beginAnew();
      taker.onTurn();
    }, 0);
    return;
  }
  taker.work = Math.min(Math.max(taker.work, least - TURN), least + TURN);
  resting.push(taker);
  const now = performance.now();
  if (timer === undefined) setAt = now;
  else if (now - setAt < LATEST) clearTimeout(timer);
  else return;
  timer = setTimeout(onTurn, 0);
}

/**
 * Begins work that may take a while.
 *
 * @returns Whether {@linkcode endWork} has to follow: not within other work.
 */
export function beginWork(): boolean {
  if (since !== undefined) return false;
  since = performance.now();
  return true;
}

/** Ends the work, and returns how long it took, in milliseconds. */
export function endWork(): number {
  const work = performance.now() - since!;
  worked += work;
  since = undefined;
  return work;
}

/**
 * Counts the time since `begin` as work, such as that of the program with the
 * messages it was given, and returns how much was counted, in milliseconds.
 */
export function addWork(begin: number): number {
  if (since !== undefined) return 0; // endWork() will count it
  const now = performance.now();
  const work = Math.min(now - begin, LATER_WORK);
  worked += work;
  // Several may count the same time: together they have worked no longer than
  // this.
  const most = now - beganAnew;
  if (most >= 0 && worked > most) worked = most;
  return work;
}

/**
 * Finds out whether the event loop serves others without anybody resting: if it
 * gets to a timer, it has looked at all sockets, and work is counted from zero.
 * To rest needlessly costs the 2 ms that Deno's shortest timer takes: in the
 * benchmark's S3, 18 % of the messages, and a p99 of 4.7 ms instead of 0.7.
 * Called before each read.
 */
export function watchLoop(): void {
  if (watch !== undefined || workedSoFar() < TURN / 2) return;
  if (!areTimersShared) return;
  watch = setTimeout(() => {
    watch = undefined;
    beginAnew();
  }, 0);
}

/**
 * Clears that timer, which other connections set again; called by one that
 * ends.
 */
export function unwatchLoop(): void {
  if (watch === undefined) return;
  clearTimeout(watch);
  watch = undefined;
}

/**
 * Whether work may go on, or others get a turn first. A connection that always
 * has something to read would otherwise keep the thread: Deno looks at other
 * sockets when there is nothing else to do, or after 61 rounds of up to 128
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

/**
 * Takes out the one with the least work; of equals, the one that came first.
 */
function next(): TurnTaker {
  let first = 0;
  for (let i = 1; i < resting.length; i++) {
    if (resting[i]!.work < resting[first]!.work) first = i;
  }
  const [taker] = resting.splice(first, 1);
  least = Math.max(least, taker!.work);
  return taker!;
}
