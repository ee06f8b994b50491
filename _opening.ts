/**
 * What both sides of an opening handshake need of a transport: a head read off
 * it, in time, and an end that loses nothing.
 *
 * @module
 */

import { HandshakeError } from "./handshake.ts";
import { giveBackBuffer, lendBuffer } from "./_buffers.ts";
import { Deadline } from "./_deadline.ts";
import type { ByteDuplex } from "./_duplex.ts";

// How much the first read takes: most heads, in one go.
const FIRST_READ = 1024;

// How long an answer may take to be fetched by a peer that is refused, in
// milliseconds, and how much of what it goes on sending is skipped, in bytes.
const LINGER_TIME = 2000;
const LINGER_LENGTH = 1024 * 1024;

const NOTHING = new Uint8Array(0);

/** A head, and what came behind it. */
export interface ReadHead<Head> {
  /** The head. */
  readonly head: Head;
  /** The bytes behind the head that have been read with it. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/**
 * Reads until there is a whole head.
 *
 * @param duplex Where to read.
 * @param parse Returns the head, or `undefined` if there is more to come, and
 * throws when there is too much.
 * @param received What has been read already.
 * @returns `undefined` if the stream ended before the head's first byte.
 * @throws {HandshakeError} If the stream ended within the head, and whatever
 * `parse` throws.
 */
export async function readHead<Head extends { readonly byteLength: number }>(
  duplex: ByteDuplex,
  parse: (bytes: Uint8Array<ArrayBuffer>) => Head | undefined,
  received: Uint8Array<ArrayBuffer> = NOTHING,
): Promise<ReadHead<Head> | undefined> {
  let buffer = received;
  let { length } = received;
  for (;;) {
    const bytes = buffer.subarray(0, length);
    const head = length > 0 ? parse(bytes) : undefined;
    if (head !== undefined) {
      const rest = head.byteLength === length
        ? NOTHING
        : bytes.slice(head.byteLength);
      if (buffer !== received) giveBackBuffer(buffer);
      return { head, rest };
    }
    if (length === buffer.length) {
      buffer = lendBuffer(Math.max(FIRST_READ, length * 2));
      buffer.set(bytes);
    }
    const got = await duplex.read(buffer.subarray(length));
    if (got === null) break;
    length += got;
  }
  if (length === 0) return undefined;
  throw new HandshakeError(
    `The connection was closed within the head, after ${length} bytes`,
    { kind: "closed" },
  );
}

/** Writes all of it. */
export async function writeAll(
  duplex: ByteDuplex,
  bytes: Uint8Array,
): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) rest = rest.subarray(await duplex.write(rest));
}

/** When an opening handshake is given up. */
export interface OpeningLimits {
  /** How long it may take, in milliseconds; 0 for ever. */
  timeout: number;
  /** How much of that is left; all by default. */
  left?: number;
  /** The status of the error if it takes longer. */
  timeoutStatus: number;
  /** Gives it up. */
  signal: AbortSignal | undefined;
}

/**
 * Does what a handshake needs, and cuts the transport off when it takes too
 * long or is cancelled: half a handshake cannot be taken back.
 *
 * @throws {HandshakeError} If it takes too long.
 * @throws {RangeError} If the time is less than 0, or NaN.
 * @throws {unknown} The signal's reason, and what `act` throws.
 */
export function withinLimits<T>(
  duplex: ByteDuplex,
  { timeout, left = timeout, timeoutStatus, signal }: OpeningLimits,
  act: () => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    // Not even what never settles is waited for; the reason comes first, that
    // the transport is closed is what follows from it.
    const giveUp = (reason: unknown): void => {
      settle();
      reject(reason);
      close(duplex);
    };
    const onAbort = (): void => giveUp(signal!.reason);
    const onDeadline = (): void =>
      giveUp(
        new HandshakeError(`The handshake took more than ${timeout} ms`, {
          status: timeoutStatus,
          kind: "timeout",
        }),
      );
    let deadline: Deadline | undefined;
    const settle = (): void => {
      deadline?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    if (!(timeout >= 0)) return giveUp(badTimeout(timeout));
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort);
    if (timeout > 0) deadline = new Deadline(left, { onDeadline });
    act().then(
      (result) => (settle(), resolve(result)),
      (error) => (settle(), reject(error)),
    );
  });
}

/** What is wrong with a time that is no time. */
export function badTimeout(timeout: number): RangeError {
  return new RangeError(`handshakeTimeout must be 0 or more (${timeout})`);
}

/** Closes a transport, or a listener, if it is not closed already. */
export function close(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // It is.
  }
}

/**
 * Closes the transport once the peer has had time to read the answer: to close
 * while it still sends could cost it what it has not read (RFC 9112 §9.6).
 */
export async function lingerAndClose(duplex: ByteDuplex): Promise<void> {
  const deadline = new Deadline(LINGER_TIME, {
    onDeadline: () => close(duplex),
  });
  try {
    await duplex.closeWrite?.();
    const waste = new Uint8Array(FIRST_READ);
    let length = 0;
    while (length < LINGER_LENGTH && duplex.closeWrite !== undefined) {
      const got = await duplex.read(waste);
      if (got === null) break;
      length += got;
    }
  } catch {
    // The peer is gone.
  } finally {
    deadline.cancel();
    close(duplex);
  }
}
