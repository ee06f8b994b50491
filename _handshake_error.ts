/**
 * What a {@linkcode HandshakeError} is about; stable, for programs to branch
 * on. The number is the status that goes with it: what a server answers with,
 * or, on a client, what the server has answered with.
 *
 * - `"malformed"`: bytes that are not an HTTP/1.1 head (RFC 9112): 400; 0 on a
 *   client.
 * - `"limit"`: more bytes, header fields or interim answers than allowed: 431;
 *   0 or 1xx on a client.
 * - `"http-version"`: an HTTP version other than 1.1 (RFC 6455 §4.2.1): 505;
 *   0 or 101 on a client.
 * - `"method"`: a method other than GET (RFC 6455 §4.2.1): 405.
 * - `"target"`: a request target in no form that fits its method (RFC 9112
 *   §3.2): 400.
 * - `"host"`: `Host` is missing, repeated or malformed (RFC 9112 §3.2): 400.
 * - `"body"`: the request has a body, or an ambiguous one (RFC 9112 §6.3): 400.
 * - `"upgrade"`: `Upgrade` does not name `websocket`: 426; 101 on a client.
 * - `"connection"`: `Connection` does not name `upgrade`: 400; 101 on a client.
 * - `"version"`: `Sec-WebSocket-Version` is not 13 (RFC 6455 §4.4): 426.
 * - `"key"`: `Sec-WebSocket-Key` is not one nonce of 16 bytes in base64: 400.
 * - `"protocol"`: `Sec-WebSocket-Protocol` is malformed: 400; or, on a client,
 *   was not offered: 101.
 * - `"extensions"`: the same of `Sec-WebSocket-Extensions`.
 * - `"origin"`: the request comes from a web page of a foreign origin: 403.
 * - `"status"`: the server's answer was not 101 (RFC 6455 §4.1): its own.
 * - `"accept"`: `Sec-WebSocket-Accept` does not answer the key that was sent:
 *   101.
 * - `"timeout"`: the handshake was not complete in time: 408, or 503 if it is
 *   the program that did not answer; 0 on a client.
 * - `"closed"`: the peer closed the connection before it was complete: 400; 0
 *   on a client whose server has said nothing.
 * - `"rejected"`: the application refused the request: whatever it chose.
 */
export type HandshakeErrorKind =
  | "malformed"
  | "limit"
  | "http-version"
  | "method"
  | "target"
  | "host"
  | "body"
  | "upgrade"
  | "connection"
  | "version"
  | "key"
  | "protocol"
  | "extensions"
  | "origin"
  | "status"
  | "accept"
  | "timeout"
  | "closed"
  | "rejected";

/** Options of {@linkcode HandshakeError}. */
export interface HandshakeErrorOptions extends ErrorOptions {
  /**
   * On the server, the HTTP status to answer with. On the client, the status
   * that the server answered with, 0 where none could be read.
   *
   * @default {400}
   */
  status?: number | undefined;
  /**
   * What the error is about.
   *
   * @default {"rejected"}
   */
  kind?: HandshakeErrorKind | undefined;
  /**
   * On the server, header fields of the answer. On the client, those of the
   * server's answer.
   *
   * @default {undefined} (none)
   */
  headers?: HeadersInit | undefined;
}

/**
 * The opening handshake failed: the peer sent something that RFC 6455 §4 or
 * RFC 9112 does not allow, or the application refuses the request.
 *
 * A server answers it with {@linkcode rejectUpgrade}; a client closes the
 * connection and looks at `kind`, `status` and `headers`, which hold
 * `Location` for a redirect and `WWW-Authenticate` for a 401.
 *
 * @example Refuse a request for a reason of one's own
 * ```ts
 * import { HandshakeError, rejectUpgrade } from "@sansio/websocket/handshake";
 * import { assertEquals, assertStringIncludes } from "@std/assert";
 *
 * const error = new HandshakeError("Log in first", {
 *   status: 401,
 *   headers: { "WWW-Authenticate": 'Basic realm="chat"' },
 * });
 * const answer = new TextDecoder().decode(rejectUpgrade(error));
 * assertStringIncludes(answer, "HTTP/1.1 401 Unauthorized\r\n");
 * assertEquals(error.kind, "rejected");
 * ```
 *
 * @example Where a server sends its clients elsewhere
 * ```ts
 * import {
 *   buildUpgradeRequest,
 *   HandshakeError,
 *   verifyUpgradeResponse,
 * } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * const sent = buildUpgradeRequest("ws://example.com/");
 * const head = Response.redirect("https://www.example.com/", 307);
 * try {
 *   verifyUpgradeResponse(head, sent);
 * } catch (error) {
 *   if (!(error instanceof HandshakeError)) throw error;
 *   assertEquals(error.name, "HandshakeError");
 *   assertEquals(error.status, 307);
 *   assertEquals(error.headers.get("Location"), "https://www.example.com/");
 * }
 * ```
 */
export class HandshakeError extends Error {
  /** The name of the class, for logs. */
  override readonly name = "HandshakeError";
  /** What the error is about. */
  readonly kind: HandshakeErrorKind;
  /** The HTTP status to answer with; on a client, the server's, or 0. */
  readonly status: number;
  /** The header fields to answer with; on a client, those of the server. */
  readonly headers: Headers;

  /**
   * An error for a request that the application refuses, unless `kind` says
   * otherwise.
   *
   * @param message What is wrong; {@linkcode rejectUpgrade} tells it the peer.
   * @param options The status, the kind and the header fields.
   * @throws {RangeError} If the status is neither 0 nor from 100 to 999.
   * @throws {TypeError} If a header field has a name or value that is not one.
   */
  constructor(message: string, options: HandshakeErrorOptions = {}) {
    super(
      message,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    const { status = 400, kind = "rejected" } = options;
    if (
      status !== 0 &&
      !(Number.isInteger(status) && status >= 100 && status <= 999)
    ) {
      throw new RangeError(`Status must be from 100 to 999 (${status})`);
    }
    this.kind = kind;
    this.status = status;
    this.headers = new Headers(options.headers);
  }
}
