/** Peers whose messages keep the thread busy. */
import { pattern } from "./_bytes.ts";
import { type Clock, open, type Opened } from "./_connection.ts";
import { binary } from "./_protocol.ts";

export const COUNT = 60;
export const WORK = 6; // milliseconds for each message
// Longer than all work in between, so that the clock never runs backwards.
export const TURN = 100;

/** A connection whose peer always has more to read, each of which is work. */
export function flood(clock: Clock): Opened & { handled: number } {
  const opened = {
    ...open({ capacity: Infinity, segment: () => 20_000, closeTimeout: 100 }),
    handled: 0,
  };
  opened.ws.forEach(() => {
    opened.handled++;
    clock.block(WORK);
  }).catch(() => {});
  const message = binary(pattern(16_384));
  opened.peer.send(...Array(COUNT).fill(message)).catch(() => {});
  return opened;
}
