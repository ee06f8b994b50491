/** What a {@linkcode HandshakeError} is about. */
export type HandshakeErrorKind =
  /** Bytes that are not an HTTP/1.1 head (RFC 9112): 400; 0 in a response. */
  | "malformed"
  /** More bytes or more header fields than allowed: 431; 0 in a response. */
  | "limit"
  /** An HTTP version other than 1.1 (RFC 6455 §4.2.1): 505. */
  | "http-version"
  /** A method other than GET (RFC 6455 §4.2.1): 405. */
  | "method"
  /** A request target in no form that fits its method (RFC 9112 §3.2): 400. */
  | "target"
  /** `Host` is missing, repeated or malformed (RFC 9112 §3.2): 400. */
  | "host"
  /** The request has a body, or an ambiguous one (RFC 9112 §6.3): 400. */
  | "body"
  /** `Upgrade` does not name `websocket`: 426; 101 in a response. */
  | "upgrade"
  /** `Connection` does not name `upgrade`: 400; 101 in a response. */
  | "connection"
  /** `Sec-WebSocket-Version` is not 13 (RFC 6455 §4.4): 426. */
  | "version"
  /** `Sec-WebSocket-Key` is not one nonce of 16 bytes in base64: 400. */
  | "key"
  /** `Sec-WebSocket-Protocol` is malformed, or was not offered: 400 or 101. */
  | "protocol"
  /** `Sec-WebSocket-Extensions` is malformed, or was not offered: 400 or 101. */
  | "extensions"
  /** The request comes from a web page of a foreign origin: 403. */
  | "origin"
  /** The server's answer was not 101: its own status (RFC 6455 §4.1). */
  | "status"
  /** `Sec-WebSocket-Accept` does not answer the key that was sent: 101. */
  | "accept"
  /**
   * The handshake was not complete in time: 408, or 503 if it is the program
   * that did not answer; 0 on a client.
   */
  | "timeout"
  /** The peer closed the connection before it was complete: 400; 0 on a client. */
  | "closed"
  /** The application refused the request: whatever status it chose. */
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
 * import { assertStringIncludes } from "@std/assert";
 *
 * const error = new HandshakeError("Log in first", {
 *   status: 401,
 *   headers: { "WWW-Authenticate": 'Basic realm="chat"' },
 * });
 * const answer = new TextDecoder().decode(rejectUpgrade(error));
 * assertStringIncludes(answer, "HTTP/1.1 401 Unauthorized\r\n");
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
      throw new RangeError(`Status must be from 100 to 999, got [${status}]`);
    }
    this.kind = kind;
    this.status = status;
    this.headers = new Headers(options.headers);
  }
}
