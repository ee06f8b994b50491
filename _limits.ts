import { assertAtLeast } from "./_at_least.ts";
import type { ConnectionOptions } from "./connection.ts";

/** The numeric options of a connection, and the least that each may be. */
const LEAST: Record<Exclude<keyof ConnectionOptions, "textAs">, number> = {
  maxMessageSize: 0,
  maxFragments: 1,
  highWaterMark: 0,
  maxBufferedAmount: 0,
  maxReadAhead: 0,
  maxReadAheadMessages: 0,
  heartbeatInterval: 0,
  heartbeatTimeout: 0,
  closeTimeout: 0,
  idleTimeout: 0,
};

const NAMES = Object.keys(LEAST) as (keyof typeof LEAST)[];

/**
 * Checks the options of a connection, which is to be done before the handshake
 * promises the peer that there will be one.
 *
 * @throws {RangeError} If a limit is out of range.
 */
export function checkLimits(options: ConnectionOptions): void {
  for (const name of NAMES) assertAtLeast(name, options[name], LEAST[name]);
}
