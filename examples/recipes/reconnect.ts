/**
 * A client that comes back: after a restart, or when the network was away, it
 * connects again, later each time, and never when all the others do.
 *
 * ```sh
 * deno task recipe:reconnect ws://127.0.0.1:8007/
 * ```
 *
 * @module
 */

import {
  CloseCode,
  connect,
  ConnectionClosedError,
  type ConnectOptions,
  HandshakeError,
  type WebSocketConnection,
} from "../../mod.ts";
import { exitWith, readFlags, stopOnSignals } from "../_command_line.ts";

/** Options of {@linkcode reconnecting}. */
export interface ReconnectOptions extends ConnectOptions {
  /**
   * The longest delay before the second attempt, in milliseconds; it doubles
   * with each further one.
   *
   * @default {500}
   */
  firstDelay?: number;
  /**
   * The longest delay there is, in milliseconds.
   *
   * @default {30000}
   */
  maxDelay?: number;
  /**
   * Called with each delay, and its reason.
   *
   * @default {undefined} (nobody is)
   */
  onDelay?: (milliseconds: number, reason: string) => void;
  /**
   * A number from 0 to 1.
   *
   * @default {Math.random}
   */
  random?: () => number;
}

/** A random delay up to a limit that doubles ("full jitter"). */
export function delayBefore(
  attempt: number,
  { firstDelay = 500, maxDelay = 30_000, random = Math.random }:
    ReconnectOptions = {},
): number {
  return random() * Math.min(maxDelay, firstDelay * 2 ** (attempt - 1));
}

/** Whether it makes sense to try again after this error. */
function isPassing(error: unknown): boolean {
  if (error instanceof HandshakeError) {
    const { status } = error; // 0: there was no answer
    return status === 0 || status === 429 || status >= 500;
  }
  return error instanceof Error && !MISTAKES.some((it) => error instanceof it);
}

// Mistakes of the program, such as a malformed address.
const MISTAKES = [TypeError, SyntaxError, RangeError, Deno.errors.NotCapable];

// The close codes that do not put the blame on the client.
const PASSING: ReadonlySet<number> = new Set([
  CloseCode.GoingAway,
  CloseCode.AbnormalClosure,
  CloseCode.InternalError,
  CloseCode.ServiceRestart,
  CloseCode.TryAgainLater,
  CloseCode.BadGateway,
]);

/** After a connection of this length, delays begin anew, in milliseconds. */
const GOOD = 10_000;

/**
 * Connections, one after the other: the next one when the last one was closed.
 * It ends when one was closed for good, and throws if it makes no sense to try
 * again.
 */
export async function* reconnecting(
  url: string,
  options: ReconnectOptions = {},
): AsyncGenerator<WebSocketConnection, void, void> {
  for (let attempt = 1;; attempt++) {
    let reason: string;
    try {
      const ws = await connect(url, options);
      const began = performance.now();
      try {
        yield ws;
      } finally {
        if (ws.isOpen) await ws.close();
      }
      const info = await ws.closed;
      if (!PASSING.has(info.code)) return;
      if (performance.now() - began > GOOD) attempt = 1;
      reason = `${info.code} ${info.reason}`;
    } catch (error) {
      if (!isPassing(error) || options.signal?.aborted) throw error;
      reason = (error as Error).message;
    }
    const milliseconds = delayBefore(attempt, options);
    options.onDelay?.(milliseconds, reason.trim());
    await sleep(milliseconds, options.signal);
  }
}

function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

if (import.meta.main) {
  const flags = readFlags("Prints what a server says, and comes back to it.", {
    url: { type: "operand", help: "such as ws://127.0.0.1:8007/" },
  });
  let current: WebSocketConnection | undefined;
  stopOnSignals(async () => {
    await current?.close(CloseCode.GoingAway);
    return 0;
  });
  try {
    const connections = reconnecting(flags.url, {
      onDelay: (milliseconds, reason) =>
        console.log(`${reason}; again in ${milliseconds.toFixed(0)} ms`),
    });
    for await (const ws of connections) {
      current = ws;
      try {
        for await (const message of ws) console.log(message);
      } catch (error) {
        if (!(error instanceof ConnectionClosedError)) throw error;
      }
    }
  } catch (error) {
    exitWith(error);
  }
}
