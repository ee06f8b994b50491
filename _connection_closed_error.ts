import type { CloseInfo } from "./_events.ts";
import { legible } from "./_quote.ts";

/**
 * The connection is closed: nothing can be sent any more, or what was waited
 * for will not come. Methods of a connection reject with it, and iteration
 * throws it unless the connection was closed as it should be.
 *
 * @example A peer that says why
 * ```ts
 * import { accept, connect, ConnectionClosedError } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const [here, there] = duplexPair();
 * const accepting = accept(here);
 * const client = await connect("ws://test/", { dial: () => there });
 * const server = await accepting;
 *
 * server.close(4001, "Logged out");
 * const error = await assertRejects(
 *   () => client.receive(),
 *   ConnectionClosedError,
 *   "The connection is closed (4001: Logged out)",
 * );
 * assertEquals(error.name, "ConnectionClosedError");
 * assertEquals(error.code, 4001);
 * assertEquals(error.reason, "Logged out");
 * assertEquals(error.wasClean, true);
 * ```
 */
export class ConnectionClosedError extends Error {
  /** The name of the class, for logs. */
  override readonly name = "ConnectionClosedError";
  /**
   * The close code, as in {@linkcode CloseInfo.code}; 1006 while this side is
   * closing and the peer has not answered.
   */
  readonly code: number;
  /**
   * The reason, as in {@linkcode CloseInfo.reason}; the message has it with
   * control characters escaped.
   */
  readonly reason: string;
  /** Whether the closing handshake was completed (RFC 6455 §7.1.4). */
  readonly wasClean: boolean;

  /**
   * An error that says how the connection ended.
   *
   * @param info How it ended; its error becomes the cause.
   * @param message What to say instead of its code and reason.
   */
  constructor(info: CloseInfo, message: string = describe(info)) {
    super(
      message,
      info.error === undefined ? undefined : { cause: info.error },
    );
    this.code = info.code;
    this.reason = info.reason;
    this.wasClean = info.wasClean;
  }
}

function describe({ code, reason }: CloseInfo): string {
  const why = reason === "" ? "" : `: ${legible(reason)}`;
  return `The connection is closed (${code}${why})`;
}
