import type { CloseInfo } from "./_events.ts";
import { legible } from "./_quote.ts";

/**
 * The connection is closed: nothing can be sent any more, or what was waited
 * for will not come. Methods of a connection reject with it, and iteration
 * throws it unless the connection was closed as it should be.
 *
 * @example
 * ```ts
 * import { ConnectionClosedError } from "@sansio/websocket/connection";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new ConnectionClosedError({
 *   code: 1006,
 *   reason: "",
 *   wasClean: false,
 * });
 * assertEquals(error.message, "The connection is closed (1006)");
 * ```
 */
export class ConnectionClosedError extends Error {
  /** The name of the class, for logs. */
  override readonly name = "ConnectionClosedError";
  /** The close code, as in {@linkcode CloseInfo.code}. */
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
   */
  constructor(info: CloseInfo) {
    super(
      `The connection is closed (${info.code}${
        info.reason === "" ? "" : `: ${legible(info.reason)}`
      })`,
      info.error === undefined ? undefined : { cause: info.error },
    );
    this.code = info.code;
    this.reason = info.reason;
    this.wasClean = info.wasClean;
  }
}
