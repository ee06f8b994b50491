/**
 * What both sides of an opening handshake do with a transport: read a head,
 * within a time limit, and close without losing what was written.
 *
 * @module
 */

import { HandshakeError, rejectUpgrade } from "./handshake.ts";
import { giveBackBuffer, lendBuffer } from "./_buffers.ts";
import { Deadline } from "./_deadline.ts";
import type { ByteDuplex } from "./_duplex.ts";
import { assertAtLeast } from "./_at_least.ts";

// The size of the first read, in bytes: enough for most heads.
const FIRST_READ = 1024;

// How long a refused peer has to fetch the answer, in milliseconds, and how
// much of what it goes on sending is skipped, in bytes.
const LINGER_TIME = 1000;
const LINGER_LENGTH = 256 * 1024;

// How many peers get that time at once. They no longer count as connections,
// but each still keeps a file open.
const MAX_LINGERING = 100;
let lingering = 0;

const NOTHING = new Uint8Array(0);
const LF = 0x0a;

/** A head, and what came behind it. */
export interface ReadHead<Head> {
  /** The head. */
  readonly head: Head;
  /** The bytes behind the head that have been read with it. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/** Options of {@linkcode readHead}. */
export interface ReadHeadOptions {
  /** What has been read already; nothing by default. */
  received?: Uint8Array<ArrayBuffer> | undefined;
  /** Its status becomes 408 when the head has begun. */
  progress?: OpeningProgress | undefined;
  /** The status of the error if the stream ends within the head: 400, or 0. */
  closedStatus: number;
}

/**
 * Reads until there is a whole head.
 *
 * @param duplex Where to read.
 * @param parse Returns the head, or `undefined` if more bytes are needed;
 * throws when it is malformed or too large.
 * @param options What has been read already, and how to report its end.
 * @returns `undefined` if the stream ended before the head's first byte.
 * @throws {HandshakeError} If the stream ended within the head, and whatever
 * `parse` throws.
 */
export async function readHead<Head extends { readonly byteLength: number }>(
  duplex: ByteDuplex,
  parse: (bytes: Uint8Array<ArrayBuffer>) => Head | undefined,
  { received = NOTHING, progress, closedStatus }: ReadHeadOptions,
): Promise<ReadHead<Head> | undefined> {
  let buffer = received;
  let { length } = received;
  let from = 0;
  let isDue = 1;
  for (;;) {
    // Each attempt parses the whole head. One that trickles in is parsed when a
    // line is complete, or an eighth more has come than at the last attempt.
    if (length >= isDue || buffer.subarray(from, length).includes(LF)) {
      const bytes = buffer.subarray(0, length);
      const head = parse(bytes);
      if (head !== undefined) {
        const rest = head.byteLength === length
          ? NOTHING
          : bytes.slice(head.byteLength);
        if (buffer !== received) giveBackBuffer(buffer);
        return { head, rest };
      }
      isDue = length + 1 + (length >> 3);
      if (progress !== undefined) progress.status = 408;
    }
    if (length === buffer.length) {
      const larger = lendBuffer(Math.max(FIRST_READ, length * 2));
      larger.set(buffer);
      if (buffer !== received) giveBackBuffer(buffer);
      buffer = larger;
    }
    const got = await duplex.read(buffer.subarray(length));
    if (got === null || progress?.isOver) break;
    from = length;
    length += got;
  }
  if (length === 0) return undefined;
  throw new HandshakeError(
    `The connection was closed within the head, after ${length} bytes`,
    { status: closedStatus, kind: "closed" },
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

/** When an opening handshake, or a part of one, is given up. */
export interface OpeningLimits {
  /** The subject of the timeout's message; "The handshake" by default. */
  what?: string;
  /** How long it may take, in milliseconds; 0 for ever. */
  timeout: number;
  /** How much of that is left; all by default. */
  left?: number;
  /** The status of a timeout where {@linkcode OpeningProgress.status} is 0. */
  timeoutStatus: number;
  /** Gives it up. */
  signal: AbortSignal | undefined;
}

/** How far an opening handshake has come. */
export interface OpeningProgress {
  /**
   * The status that answers a timeout; 0 where there is no answer: before the
   * peer has asked for anything, and while one is being written.
   */
  status: number;
  /** Whether it has been given up: nothing may be written any more. */
  isOver: boolean;
}

// Timeouts of peers that had sent nothing.
const silences = new WeakSet<HandshakeError>();

/** Whether an error is the timeout of a peer that had sent nothing. */
export function wasSilent(error: unknown): boolean {
  return silences.has(error as HandshakeError);
}

/**
 * Runs a part of a handshake, and closes the transport if that takes too long
 * or is cancelled: half a handshake cannot be taken back.
 *
 * @throws {HandshakeError} If it takes too long.
 * @throws {RangeError} If the time is less than 0, or NaN.
 * @throws {unknown} The signal's reason, and what `act` throws.
 */
export function withinLimits<T>(
  duplex: ByteDuplex,
  { what = "The handshake", timeout, left = timeout, timeoutStatus, signal }:
    OpeningLimits,
  act: (progress: OpeningProgress) => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const progress: OpeningProgress = { status: 0, isOver: false };
    // `act` may never settle. Rejects before the transport is closed, which may
    // make `act` reject as well.
    const giveUp = (reason: unknown, answer?: Uint8Array): void => {
      progress.isOver = true;
      settle();
      reject(reason);
      if (answer === undefined) close(duplex);
      else lingerAndClose(duplex, answer, acting);
    };
    const onAbort = (): void => giveUp(signal!.reason);
    const onDeadline = (): void => {
      const { status } = progress;
      const error = new HandshakeError(
        `${what} took more than ${timeout} ms`,
        { status: status || timeoutStatus, kind: "timeout" },
      );
      if (status === 0) silences.add(error);
      giveUp(error, status === 0 ? undefined : rejectUpgrade(error));
    };
    let deadline: Deadline | undefined;
    const settle = (): void => {
      deadline?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    try {
      assertAtLeast("handshakeTimeout", timeout, 0);
    } catch (error) {
      return giveUp(error);
    }
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort);
    if (timeout > 0) deadline = new Deadline(left, { onDeadline });
    const acting = act(progress).then(
      (result) => (settle(), resolve(result)),
      (error) => (settle(), reject(error)),
    );
  });
}

/** Closes a transport or a listener, which may be closed already. */
export function close(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // It was closed already.
  }
}

/**
 * Writes the last answer, and closes the transport once the peer has had time
 * to read it: to close while the peer is still sending could reset the
 * connection before that (RFC 9112 §9.6). Where many peers have that time
 * already, the transport is closed as soon as the answer is written.
 *
 * @param duplex The transport, which nothing else may write to.
 * @param lastWords The answer.
 * @param reading A read that is still pending, if there is one.
 */
export async function lingerAndClose(
  duplex: ByteDuplex,
  lastWords: Uint8Array = NOTHING,
  reading?: Promise<unknown>,
): Promise<void> {
  const mayLinger = lingering++ < MAX_LINGERING;
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    lingering--;
    deadline.cancel();
    close(duplex);
  };
  const deadline = new Deadline(LINGER_TIME, { onDeadline: end });
  try {
    await writeAll(duplex, lastWords);
    if (!mayLinger) return;
    await duplex.closeWrite?.();
    await reading;
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
    end();
  }
}
