/**
 * The opening handshake of RFC 6455 §4 for both roles, as pure and synchronous
 * functions: bytes to request and response, and back.
 *
 * A server parses the bytes that it has ({@linkcode parseRequestHead}), serves
 * a page if they are no upgrade ({@linkcode isUpgrade}), and otherwise judges
 * the request ({@linkcode readUpgrade}) and answers it
 * ({@linkcode acceptUpgrade}, {@linkcode rejectUpgrade}). A client builds a
 * request ({@linkcode buildUpgradeRequest}) and checks the answer
 * ({@linkcode parseResponseHead}, {@linkcode verifyUpgradeResponse}).
 *
 * Whatever the peer does wrong is a {@linkcode HandshakeError}; wrong arguments
 * are a `TypeError`, a `RangeError` or a `SyntaxError`.
 *
 * @example Both sides of a handshake
 * ```ts
 * import {
 *   acceptUpgrade,
 *   buildUpgradeRequest,
 *   parseRequestHead,
 *   parseResponseHead,
 *   readUpgrade,
 *   selectProtocol,
 *   verifyUpgradeResponse,
 * } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * const sent = buildUpgradeRequest("ws://example.com/chat", {
 *   protocols: ["chat.v2", "chat.v1"],
 * });
 *
 * // On the server. `undefined` would mean: more bytes are needed.
 * const request = readUpgrade(parseRequestHead(sent.bytes)!);
 * const answer = acceptUpgrade(request, {
 *   protocol: selectProtocol(request.protocols, ["chat.v1"]),
 * });
 *
 * // On the client.
 * const negotiated = verifyUpgradeResponse(parseResponseHead(answer)!, sent);
 * assertEquals(negotiated.protocol, "chat.v1");
 * ```
 *
 * @module
 */

import { type ExtensionElement, parseExtensions } from "./_extension_list.ts";
import { encodeLatin1, fieldLine, fieldLines } from "./_field_lines.ts";
import { HandshakeError, type HandshakeErrorKind } from "./_handshake_error.ts";
import { isFieldValue, isToken, listElements } from "./_http_grammar.ts";
import { checkHost, type FieldLookup, lookupFields } from "./_http_head.ts";
import { joined } from "./_joined.ts";
import { acceptKey, KEY } from "./_key.ts";
import { quote } from "./_quote.ts";
import { reasonPhrase } from "./_reason_phrases.ts";
import {
  checkHttpVersion,
  checkUpgradeFields,
  extensionLine,
  extensionList,
  got,
  hasElement,
  type UpgradeOffer,
} from "./_upgrade_fields.ts";

export {
  buildUpgradeRequest,
  type BuildUpgradeRequestOptions,
  type BuiltUpgradeRequest,
  type Negotiated,
  verifyUpgradeResponse,
} from "./_client_handshake.ts";
export {
  type ExtensionElement,
  formatExtensions,
  parseExtensions,
} from "./_extension_list.ts";
export {
  HandshakeError,
  type HandshakeErrorKind,
  type HandshakeErrorOptions,
} from "./_handshake_error.ts";
export {
  type MessageHead,
  type ParseHeadOptions,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
  type ResponseHead,
} from "./_http_head.ts";
export { acceptKey, generateKey } from "./_key.ts";
export { isOriginAllowed } from "./_origin.ts";
export { type UpgradeOffer } from "./_upgrade_fields.ts";

const encoder = new TextEncoder();

/**
 * What a request for an upgrade has to show (RFC 6455 §4.1): a WHATWG `Request`
 * does, and so does what {@linkcode parseRequestHead} returns.
 */
export interface UpgradeHead {
  /** The method. */
  readonly method: string;
  /** The header fields. */
  readonly headers: Headers;
  /**
   * The HTTP version, judged where it is known.
   *
   * @default {undefined} (1.1)
   */
  readonly version?: string | undefined;
  /**
   * The request target in origin-form or absolute-form.
   *
   * @default {undefined} (that of `url`, or `/`)
   */
  readonly target?: string | undefined;
  /**
   * The absolute URL, as a WHATWG `Request` has it. It stands in for a missing
   * `Host` or `target`.
   *
   * @default {undefined} (none)
   */
  readonly url?: string | undefined;
}

/** A request for an upgrade that follows RFC 6455 §4.2.1. */
export interface UpgradeRequest extends UpgradeOffer {
  /**
   * `Origin`: the page that opened the connection. Only browsers tell it; see
   * {@linkcode isOriginAllowed} for what must be done with it.
   */
  readonly origin: string | undefined;
  /** The host, with the port unless it is the default, that was asked for. */
  readonly host: string;
  /** Path and query of the request target, beginning with `/`. */
  readonly target: string;
  /** All header fields, those of the handshake included. */
  readonly headers: Headers;
}

/** Options of {@linkcode acceptUpgrade}. */
export interface AcceptUpgradeOptions {
  /**
   * The subprotocol to speak, one of those offered.
   *
   * @default {undefined} (none)
   */
  protocol?: string | undefined;
  /**
   * The extensions to use, among those offered: as a list, or as the value of
   * the header.
   *
   * @default {undefined} (none)
   */
  extensions?: string | readonly ExtensionElement[] | undefined;
  /**
   * Further header fields, such as `Set-Cookie`. Those of the handshake itself
   * cannot be given.
   *
   * @default {undefined} (none)
   */
  headers?: HeadersInit | undefined;
}

/**
 * Whether a request asks for WebSocket, rightly or wrongly: `Upgrade` names
 * `websocket`. If so, give it to {@linkcode readUpgrade}, which says what may
 * be wrong; if not, serve it a page.
 *
 * @param head The head of the request.
 * @returns Whether it asks for WebSocket.
 *
 * @example A plain request
 * ```ts
 * import { isUpgrade } from "@sansio/websocket/handshake";
 * import { assert, assertFalse } from "@std/assert";
 *
 * const request = new Request("http://example.com/");
 * assertFalse(isUpgrade(request));
 *
 * const headers = new Headers({ Upgrade: "websocket" });
 * assert(isUpgrade({ method: "GET", headers }));
 * ```
 */
export function isUpgrade(head: UpgradeHead): boolean {
  return hasElement(lookupFields(head).get("upgrade"), "websocket");
}

class ReadUpgradeRequest implements UpgradeRequest {
  readonly #head: UpgradeHead;
  readonly key: string;
  readonly protocols: readonly string[];
  readonly extensions: readonly ExtensionElement[];
  readonly origin: string | undefined;
  readonly host: string;
  readonly target: string;

  constructor(head: UpgradeHead, fields: FieldLookup) {
    const place = readPlace(head, fields);
    checkUpgradeFields(fields, fail);
    checkNoBody(fields);
    checkVersion(fields.get("sec-websocket-version"));
    this.#head = head;
    this.key = readKey(fields.get("sec-websocket-key"));
    this.protocols = readProtocols(fields.get("sec-websocket-protocol"));
    const extensions = fields.get("sec-websocket-extensions");
    this.extensions = extensions === null ? [] : parseExtensions(extensions);
    this.origin = fields.get("origin") ?? undefined;
    this.host = place.host;
    this.target = place.target;
  }

  get headers(): Headers {
    return this.#head.headers;
  }
}

/**
 * Judges a request for an upgrade by RFC 6455 §4.2.1, and reads what it offers.
 *
 * The request may come from {@linkcode parseRequestHead}, or from anywhere else
 * that has a method and `Headers`, such as a WHATWG `Request`. `Origin` is read
 * but not judged: that is for {@linkcode isOriginAllowed}.
 *
 * @param head The head of the request.
 * @returns What the client offers.
 * @throws {HandshakeError} If the request does not follow RFC 6455; its status
 * is 400, 405, 426 or 505.
 *
 * @example What a client offers
 * ```ts
 * import { readUpgrade } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * const request = readUpgrade({
 *   method: "GET",
 *   headers: new Headers({
 *     "Host": "example.com",
 *     "Upgrade": "websocket",
 *     "Connection": "keep-alive, Upgrade",
 *     "Sec-WebSocket-Version": "13",
 *     "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
 *     "Sec-WebSocket-Protocol": "chat, superchat",
 *   }),
 * });
 * assertEquals(request.protocols, ["chat", "superchat"]);
 * ```
 */
export function readUpgrade(head: UpgradeHead): UpgradeRequest {
  checkHttpVersion(head.version, fail);
  if (head.method !== "GET") {
    throw new HandshakeError(`Method must be GET, got ${quote(head.method)}`, {
      status: 405,
      kind: "method",
      headers: { Allow: "GET" },
    });
  }
  return new ReadUpgradeRequest(head, lookupFields(head));
}

function fail(message: string, kind: HandshakeErrorKind): HandshakeError {
  // RFC 9110 §15.5.22 wants Upgrade in a 426, RFC 6455 §4.4 the version.
  const headers = { "Upgrade": "websocket", "Sec-WebSocket-Version": "13" };
  if (kind === "upgrade" || kind === "version") {
    return new HandshakeError(message, { status: 426, kind, headers });
  }
  const status = kind === "http-version" ? 505 : 400;
  return new HandshakeError(message, { status, kind });
}

/** Host and target; those of an absolute-form go first (RFC 9112 §3.2.2). */
function readPlace(
  head: UpgradeHead,
  fields: FieldLookup,
): { host: string; target: string } {
  let host = fields.get("host");
  let target = head.target ?? head.url ?? "/";
  if (!target.startsWith("/")) {
    const match = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)([^#]*)/i.exec(target);
    if (match === null) {
      throw fail(`Request target has no path, got ${quote(target)}`, "target");
    }
    const [, authority = "", path = ""] = match;
    host = head.target === undefined ? host ?? authority : authority;
    target = path.startsWith("/") ? path : `/${path}`;
  }
  checkHost(host);
  return { host, target };
}

/** A proxy could take for a body what this server takes for frames. */
function checkNoBody(fields: FieldLookup): void {
  const length = fields.get("content-length");
  if (length !== null && !/^0+$/.test(length)) {
    throw fail(
      `Content-Length is not allowed in an upgrade, got ${quote(length)}`,
      "body",
    );
  }
  const encoding = fields.get("transfer-encoding");
  if (encoding !== null) {
    throw fail(
      `Transfer-Encoding is not allowed in an upgrade, got ${quote(encoding)}`,
      "body",
    );
  }
}

/** RFC 6455 §4.4: the error answers with the version that is spoken here. */
function checkVersion(version: string | null): void {
  if (version === "13") return;
  throw fail(`Sec-WebSocket-Version must be 13, ${got(version)}`, "version");
}

function readKey(key: string | null): string {
  if (key !== null && KEY.test(key)) return key;
  throw fail(
    `Sec-WebSocket-Key must be 16 bytes in base64, once, ${got(key)}`,
    "key",
  );
}

/** RFC 6455 §4.1, item 10: tokens, each at most once. */
function readProtocols(value: string | null): readonly string[] {
  if (value === null) return [];
  const protocols = listElements(value);
  if (
    protocols.length === 0 || !protocols.every(isToken) ||
    new Set(protocols).size < protocols.length
  ) {
    throw fail(
      `Sec-WebSocket-Protocol must be different tokens, got ${quote(value)}`,
      "protocol",
    );
  }
  return protocols;
}

/**
 * The subprotocol to speak: the first one offered that is supported.
 *
 * So the client's order of preference decides (RFC 6455 §4.1, item 10); for the
 * server's, exchange the arguments.
 *
 * @param offered The subprotocols of the client, the preferred one first.
 * @param supported Those of the server.
 * @returns One of both, or `undefined`: speak none, or refuse the request.
 *
 * @example The client's preference decides
 * ```ts
 * import { selectProtocol } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(selectProtocol(["soap", "wamp"], ["wamp", "mqtt"]), "wamp");
 * assertEquals(selectProtocol(["soap"], ["wamp", "mqtt"]), undefined);
 * ```
 */
export function selectProtocol(
  offered: readonly string[],
  supported: readonly string[],
): string | undefined {
  for (const protocol of offered) {
    const index = supported.indexOf(protocol);
    // The server's string: the client's may be a slice that keeps its head
    // alive.
    if (index >= 0) return supported[index];
  }
  return undefined;
}

const ACCEPTED = "HTTP/1.1 101 Switching Protocols\r\n" +
  "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";

/**
 * The answer 101 to a request for an upgrade (RFC 6455 §4.2.2). Frames may
 * follow its bytes at once.
 *
 * @param request What {@linkcode readUpgrade} read.
 * @param options What to choose of the offer, and further header fields.
 * @returns The bytes to send.
 * @throws {RangeError} If the subprotocol or an extension was not offered.
 * @throws {TypeError} If a header field is malformed, contains CR or LF, or
 * belongs to the handshake itself.
 *
 * @example A subprotocol, and a cookie
 * ```ts
 * import { acceptUpgrade } from "@sansio/websocket/handshake";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const offer = {
 *   key: "dGhlIHNhbXBsZSBub25jZQ==",
 *   protocols: ["chat"],
 *   extensions: [],
 * };
 * const bytes = acceptUpgrade(offer, {
 *   protocol: "chat",
 *   headers: { "Set-Cookie": "seen=1; HttpOnly" },
 * });
 * assertStringIncludes(
 *   new TextDecoder().decode(bytes),
 *   "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
 * );
 * ```
 */
export function acceptUpgrade(
  request: UpgradeOffer,
  options: AcceptUpgradeOptions = {},
): Uint8Array<ArrayBuffer> {
  const { protocol, headers } = options;
  let text = `${ACCEPTED}${acceptKey(request.key)}\r\n`;
  if (protocol !== undefined) {
    if (!request.protocols.includes(protocol) || !isToken(protocol)) {
      throw new RangeError(
        `Subprotocol must be one that was offered, got ${quote(protocol)}`,
      );
    }
    text += `Sec-WebSocket-Protocol: ${protocol}\r\n`;
  }
  const extensions = extensionList(options.extensions);
  for (const { name } of extensions) {
    if (!request.extensions.some((offered) => offered.name === name)) {
      throw new RangeError(
        `Extension must be one that was offered, got ${quote(name)}`,
      );
    }
  }
  return encodeLatin1(
    `${text}${extensionLine(extensions)}${fieldLines(headers)}\r\n`,
  );
}

/**
 * The answer to a request that is refused, or sent elsewhere by a 3xx (RFC 6455
 * §4.2.2): the status and the header fields of the error, and its message as
 * plain text. Close the connection behind it.
 *
 * A client's error, passed on by a relay, becomes 502 (Bad Gateway) without the
 * other server's header fields.
 *
 * @param error What is wrong with the request.
 * @returns The bytes to send.
 *
 * @example Bytes that are no request
 * ```ts
 * import {
 *   HandshakeError,
 *   parseRequestHead,
 *   rejectUpgrade,
 * } from "@sansio/websocket/handshake";
 * import { assert, assertStringIncludes } from "@std/assert";
 *
 * try {
 *   parseRequestHead(new TextEncoder().encode("GET /\n\n"));
 * } catch (error) {
 *   assert(error instanceof HandshakeError);
 *   const answer = new TextDecoder().decode(rejectUpgrade(error));
 *   assertStringIncludes(answer, "HTTP/1.1 400 Bad Request\r\n");
 * }
 * ```
 */
export function rejectUpgrade(error: HandshakeError): Uint8Array<ArrayBuffer> {
  const isOurs = error.kind !== "status" &&
    error.status >= (error.kind === "rejected" ? 300 : 400);
  const status = isOurs ? error.status : 502;
  const message = error.message.replace(/[^\x20-\x7e\xa0-\uffff]/g, "\ufffd");
  const body = encoder.encode(`${message}\n`);
  let text = `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n`;
  // RFC 9110 §7.8: who sends Upgrade also names it in Connection.
  const upgrade = isOurs ? error.headers.get("Upgrade") : null;
  text += upgrade === null || !isFieldValue(upgrade)
    ? "Connection: close\r\n"
    : `Connection: close, Upgrade\r\nUpgrade: ${upgrade}\r\n`;
  text += "Content-Type: text/plain; charset=utf-8\r\n" +
    "X-Content-Type-Options: nosniff\r\n" +
    `Content-Length: ${body.length}\r\n`;
  if (isOurs) {
    for (const [name, value] of error.headers) {
      // `Headers` takes control characters, which are no field value (RFC 9110
      // §5.5); an answer without the field is better than none.
      if (ANSWERED.has(name) || !isFieldValue(value)) continue;
      text += fieldLine(name, value);
    }
  }
  return joined([encodeLatin1(`${text}\r\n`), body]);
}

/** Header fields that an answer has already. */
const ANSWERED: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "content-type",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "x-content-type-options",
]);
