/**
 * What both sides of an opening handshake need of a transport: a head read off
 * it, in time, and an end that loses nothing.
 *
 * @module
 */

import { HandshakeError, rejectUpgrade } from "./handshake.ts";
import { giveBackBuffer, lendBuffer } from "./_buffers.ts";
import { Deadline } from "./_deadline.ts";
import type { ByteDuplex } from "./_duplex.ts";
import { assertAtLeast } from "./_at_least.ts";

// How much the first read takes: most heads, in one go.
const FIRST_READ = 1024;

// How long an answer may take to be fetched by a peer that is refused, in
// milliseconds, and how much of what it goes on sending is skipped, in bytes.
const LINGER_TIME = 1000;
const LINGER_LENGTH = 256 * 1024;

// How many peers get that time at once, since none of them counts as a
// connection any more, but each keeps a file open.
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
  /** Told when the head has begun. */
  progress?: OpeningProgress | undefined;
  /** The status of the error if the stream ends within the head: 400, or 0. */
  closedStatus: number;
}

/**
 * Reads until there is a whole head.
 *
 * @param duplex Where to read.
 * @param parse Returns the head, or `undefined` if there is more to come, and
 * throws when there is too much.
 * @param options What is there already, and what to say if there is no more.
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
    // Parsing begins at the beginning: a head that trickles in is looked at when
    // a line of it is there, or an eighth more than the last time.
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
  /** What takes long then; the handshake by default. */
  what?: string;
  /** How long it may take, in milliseconds; 0 for ever. */
  timeout: number;
  /** How much of that is left; all by default. */
  left?: number;
  /** The status of the error if it takes longer, unless there is a better one. */
  timeoutStatus: number;
  /** Gives it up. */
  signal: AbortSignal | undefined;
}

/** How far an opening handshake has come. */
export interface OpeningProgress {
  /**
   * What the peer can be told if it takes too long; 0 where nothing can be said,
   * before it has asked for anything, and when an answer is under way.
   */
  status: number;
  /** Whether it has been given up: nothing may be written any more. */
  isOver: boolean;
}

// The errors about peers that have taken too long to say anything at all.
const silences = new WeakSet<HandshakeError>();

/** Whether it is that the peer has taken too long, and has sent nothing. */
export function wasSilent(error: unknown): boolean {
  return silences.has(error as HandshakeError);
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
  { what = "The handshake", timeout, left = timeout, timeoutStatus, signal }:
    OpeningLimits,
  act: (progress: OpeningProgress) => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const progress: OpeningProgress = { status: 0, isOver: false };
    // Not even what never settles is waited for; the reason comes first, that
    // the transport is closed is what follows from it.
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

/** Closes a transport, or a listener, if it is not closed already. */
export function close(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // It is.
  }
}

/**
 * Writes an answer that is the last, and closes the transport once the peer has
 * had time to read it: to close while it still sends could cost it what it has
 * not read (RFC 9112 §9.6). Where many are given that time already, it is closed
 * as soon as that is written.
 *
 * @param duplex The transport; nobody else may use it any more.
 * @param lastWords The answer.
 * @param reading What may still be reading, if anything.
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
