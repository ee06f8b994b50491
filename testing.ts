/**
 * Tests without a network: the two ends of a byte stream in memory. What runs
 * on a socket runs on them, faster, with no permission and no port, and
 * whatever can happen to a socket can be made to happen: a peer that does not
 * read, bytes that arrive one by one, a connection that breaks.
 *
 * @example Test a handler
 * ```ts
 * import {
 *   accept,
 *   connect,
 *   type WebSocketConnection,
 * } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * async function shout(ws: WebSocketConnection): Promise<void> {
 *   for await (const message of ws) await ws.send(`${message}!`);
 * }
 *
 * const [here, there] = duplexPair();
 * const serving = accept(here).then(shout);
 * const ws = await connect("ws://test/", { dial: () => there });
 *
 * await ws.send("Hello");
 * assertEquals(await ws.receive(), "Hello!");
 * await ws.close();
 * await serving; // the handler returns when its connection is closed
 * ```
 *
 * @module
 */

import type { ByteDuplex } from "./connection.ts";
import { memoryDuplexPair } from "./_memory_duplex.ts";

/** Options of {@linkcode duplexPair}. */
export interface DuplexPairOptions {
  /**
   * How many bytes can be on the way in each direction, before a write has to
   * wait.
   *
   * @default {65536}
   */
  capacity?: number | undefined;
  /**
   * How many bytes one read returns of those that there are, at least 1: TCP
   * does not keep the boundaries of writes.
   *
   * @default {all}
   */
  segment?: ((available: number) => number) | undefined;
  /**
   * Whether one direction can be ended alone, as TCP's can.
   *
   * @default {true}
   */
  halfClose?: boolean | undefined;
}

/**
 * One end of a byte stream in memory.
 *
 * @example A peer that stops reading, and one that is gone
 * ```ts
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assert, assertEquals, assertRejects } from "@std/assert";
 *
 * const [here, there] = duplexPair();
 * here.stall();
 * const writing = here.write(new Uint8Array(100));
 * assertEquals(there.unread, 0);
 *
 * here.resume();
 * assertEquals(await writing, 100);
 * assertEquals(there.unread, 100);
 *
 * here.reset(new Error("The cable was pulled"));
 * await assertRejects(() => there.read(new Uint8Array(100)), Error, "cable");
 *
 * there.close();
 * assert(there.isClosed);
 * ```
 */
export interface MemoryDuplex extends ByteDuplex {
  /** How many bytes have arrived here and not been read. */
  readonly unread: number;
  /** Whether this end has been closed. */
  readonly isClosed: boolean;
  /**
   * Holds back what is written here, as if the peer did not read: writes wait.
   */
  stall(): void;
  /** Ends what {@linkcode MemoryDuplex.stall} began. */
  resume(): void;
  /**
   * Breaks the stream, both ways and for both ends: nothing more arrives.
   *
   * @param error What reads and writes throw from now on; left out, an `Error`
   * that says that the peer has reset the connection.
   */
  reset(error?: Error): void;
}

/**
 * The two ends of a byte stream in memory: what is written to one is read from
 * the other. Hand one to `accept()`, and the other to `connect()` as what its
 * option `dial` returns. There is no timer in it: nothing takes longer than it
 * has to.
 *
 * @param options How it behaves.
 * @returns Both ends, which are alike.
 *
 * @example A connection that breaks
 * ```ts
 * import { accept, connect, ConnectionClosedError } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * // TCP may deliver bytes one by one.
 * const [here, there] = duplexPair({ segment: () => 1 });
 * const accepting = accept(here);
 * const client = await connect("ws://test/", { dial: () => there });
 * const server = await accepting;
 *
 * here.reset();
 * await assertRejects(() => server.receive(), ConnectionClosedError);
 * assertEquals((await client.closed).code, 1006);
 * ```
 */
export function duplexPair(
  options: DuplexPairOptions = {},
): [MemoryDuplex, MemoryDuplex] {
  return memoryDuplexPair(options);
}
