/**
 * Counts the bytes on a socket, for `TappedOptions.tap`: all of them, heads
 * included, by what was asked for.
 *
 * @module
 */

import { Tap } from "./_tap.ts";

/** The traffic of one account. */
export interface Tally {
  /** Requests, upgrades included. */
  requests: number;
  /** Bytes from clients. */
  up: number;
  /** Bytes to clients. */
  down: number;
}

/** A tally of nothing yet. */
export function newTally(): Tally {
  return { requests: 0, up: 0, down: 0 };
}

// A request line longer than this is not booked to any account.
const MAX_START_LENGTH = 8192;

const SWITCHING = new TextEncoder().encode("HTTP/1.1 101 ");

/** Counts what passes. */
export class Meter extends Tap {
  readonly #find: (target: string) => Tally | undefined;
  #tally: Tally | undefined;
  // The beginning of a request whose target is not known yet.
  #start: string | undefined = "";
  #isUpgraded = false;

  /**
   * @param conn The connection that is served.
   * @param find The account for a request target, if there is one.
   */
  constructor(conn: Deno.Conn, find: (target: string) => Tally | undefined) {
    super(conn);
    this.#find = find;
  }

  override async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    const length = await super.read(into);
    if (length !== null) this.#onRead(into.subarray(0, length));
    return length;
  }

  override async write(bytes: Uint8Array): Promise<number> {
    const length = await super.write(bytes);
    if (this.#tally !== undefined) this.#tally.down += length;
    this.#isUpgraded ||= SWITCHING.every((byte, i) => bytes[i] === byte);
    // After an answer comes the next request; nobody sends it before.
    if (!this.#isUpgraded) this.#start ??= "";
    return length;
  }

  #onRead(bytes: Uint8Array): void {
    let { length } = bytes;
    if (this.#start !== undefined) {
      for (const byte of bytes) this.#start += String.fromCharCode(byte);
      const [, target] = /^\S+ (\S+) /.exec(this.#start) ?? [];
      if (target === undefined && this.#start.length < MAX_START_LENGTH) return;
      this.#tally = this.#find(target ?? "");
      if (this.#tally !== undefined) this.#tally.requests++;
      length = this.#start.length;
      this.#start = undefined;
    }
    if (this.#tally !== undefined) this.#tally.up += length;
  }
}
