import { type ExtensionElement, parseExtensions } from "./_extension_list.ts";
import { encodeLatin1, fieldLine, fieldLines } from "./_field_lines.ts";
import { HandshakeError, type HandshakeErrorKind } from "./_handshake_error.ts";
import { isToken } from "./_http_grammar.ts";
import { isAuthority, lookupFields } from "./_http_head.ts";
import { toBase64 } from "./_base64.ts";
import { acceptKey, generateKey } from "./_key.ts";
import { quote } from "./_quote.ts";
import {
  checkHttpVersion,
  checkUpgradeFields,
  extensionLine,
  extensionList,
  type Fail,
  got,
  type UpgradeOffer,
} from "./_upgrade_fields.ts";

const encoder = new TextEncoder();

/** Options of {@linkcode buildUpgradeRequest}. */
export interface BuildUpgradeRequestOptions {
  /**
   * The subprotocols to offer, the preferred one first.
   *
   * @default {undefined} (none)
   */
  protocols?: string | readonly string[] | undefined;
  /**
   * The extensions to offer, the preferred one first: as a list, or as the
   * value of the header.
   *
   * @default {undefined} (none)
   */
  extensions?: string | readonly ExtensionElement[] | undefined;
  /**
   * Further header fields, such as `Cookie` or `Authorization`, which goes
   * before the user and password of the URL. Those of the handshake itself,
   * `Host` among them, cannot be given.
   *
   * @default {undefined} (none)
   */
  headers?: HeadersInit | undefined;
  /**
   * The value of `Origin`. Browsers send one, other clients need not.
   *
   * @default {undefined} (none)
   */
  origin?: string | undefined;
}

/** A request for an upgrade, ready to be sent, and what it offers. */
export interface BuiltUpgradeRequest extends UpgradeOffer {
  /** The bytes to send. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The host to connect to: a name or an IP address, without brackets. */
  readonly hostname: string;
  /** The TCP port to connect to. */
  readonly port: number;
  /** Whether to connect with TLS: the URL is `wss:` or `https:`. */
  readonly secure: boolean;
}

/** What both sides agreed on (RFC 6455 §4.2.2). */
export interface Negotiated {
  /** The subprotocol, or `undefined` if none was chosen. */
  readonly protocol: string | undefined;
  /** The extensions, in the order in which they apply. */
  readonly extensions: readonly ExtensionElement[];
}

/**
 * A client's request for an upgrade (RFC 6455 §4.1), with a fresh key.
 *
 * @param url The URL: `ws:` or `wss:`, or `http:` or `https:` in their place. A
 * user and password in it are sent as `Authorization: Basic` (RFC 7617).
 * @param options What to offer, and further header fields.
 * @returns The bytes to send, where to, and what the answer is to be checked
 * against.
 * @throws {SyntaxError} If the URL is malformed, of another scheme, or has a
 * fragment (RFC 6455 §3); if subprotocols are not tokens or not different.
 * @throws {TypeError} If a header field or an extension is malformed, or a
 * header field belongs to the handshake itself.
 *
 * @example A request by way of TLS, with a cookie
 * ```ts
 * import { buildUpgradeRequest } from "@sansio/websocket/handshake";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const request = buildUpgradeRequest("wss://example.com/chat?room=1", {
 *   protocols: ["chat"],
 *   headers: { "Cookie": "session=0123" },
 * });
 * assertEquals(request.hostname, "example.com");
 * assertEquals(request.port, 443);
 * assert(
 *   new TextDecoder().decode(request.bytes).startsWith(
 *     "GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\n",
 *   ),
 * );
 * ```
 */
export function buildUpgradeRequest(
  url: string | URL,
  options: BuildUpgradeRequestOptions = {},
): BuiltUpgradeRequest {
  const parsed = parseUrl(url);
  const secure = parsed.protocol === "wss:" || parsed.protocol === "https:";
  const protocols = protocolList(options.protocols);
  const extensions = extensionList(options.extensions);
  const key = generateKey();
  let text = `GET ${parsed.pathname}${parsed.search} HTTP/1.1\r\n` +
    `Host: ${parsed.host}\r\n` +
    "Upgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n`;
  if (options.origin !== undefined) text += fieldLine("Origin", options.origin);
  if (protocols.length > 0) {
    text += `Sec-WebSocket-Protocol: ${protocols.join(", ")}\r\n`;
  }
  text += extensionLine(extensions);
  const lines = fieldLines(options.headers);
  if (options.origin !== undefined && hasField(lines, "origin")) {
    throw new TypeError("Origin is given twice, as an option and as a header");
  }
  if (!hasField(lines, "authorization")) text += authorization(parsed);
  return {
    bytes: encodeLatin1(`${text}${lines}\r\n`),
    key,
    protocols,
    extensions,
    hostname: parsed.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: parsed.port === "" ? (secure ? 443 : 80) : Number(parsed.port),
    secure,
  };
}

function parseUrl(url: string | URL): URL {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    // Errors end up in logs: no password, and no cause, which would have it.
    const shown = String(url).replace(/\/\/[^/]*@/, "//...@");
    throw new SyntaxError(`Malformed URL, got ${quote(shown)}`);
  }
  if (!/^(?:ws|http)s?:$/.test(parsed.protocol)) {
    throw new SyntaxError(
      `URL scheme must be ws or wss, got ${quote(parsed.protocol)}`,
    );
  }
  // An empty fragment leaves no trace in `hash`.
  if (parsed.href.includes("#")) {
    throw new SyntaxError(
      `URL must not have a fragment, got ${quote(parsed.hash)}`,
    );
  }
  // WHATWG URLs allow more than RFC 3986 §3.2.2 does, and servers expect.
  if (!isAuthority(parsed.host)) {
    throw new SyntaxError(`URL must have a host, got ${quote(parsed.host)}`);
  }
  return parsed;
}

function protocolList(
  protocols: string | readonly string[] | undefined,
): readonly string[] {
  const list = typeof protocols === "string" ? [protocols] : protocols ?? [];
  for (const protocol of list) {
    if (!isToken(protocol)) {
      throw new SyntaxError(
        `Subprotocol must be a token, got ${quote(protocol)}`,
      );
    }
  }
  if (new Set(list).size < list.length) {
    throw new SyntaxError(
      `Subprotocols must be different, got ${quote(list.join(", "))}`,
    );
  }
  return [...list];
}

function hasField(lines: string, name: string): boolean {
  return new RegExp(`^${name}:`, "im").test(lines);
}

/** RFC 7617 §2: Basic, of UTF-8. */
function authorization({ username, password }: URL): string {
  if (username === "" && password === "") return "";
  let user: string;
  let credentials: string;
  try {
    user = decodeURIComponent(username);
    credentials = `${user}:${decodeURIComponent(password)}`;
  } catch (cause) {
    throw new SyntaxError("User and password of the URL must be UTF-8", {
      cause,
    });
  }
  // deno-lint-ignore no-control-regex
  if (user.includes(":") || /[\x00-\x1f\x7f]/.test(credentials)) {
    throw new SyntaxError(
      "User and password of the URL must not have control characters, and the user no colon",
    );
  }
  return `Authorization: Basic ${toBase64(encoder.encode(credentials))}\r\n`;
}

/**
 * Checks the server's answer against what was sent (RFC 6455 §4.1).
 *
 * Interim answers (100, 102, 103) are not final: skip their heads. With any
 * other status than 101 the server speaks HTTP on, and the error has that
 * status and its header fields: `Location`, `WWW-Authenticate`.
 *
 * @param head The head of the response.
 * @param sent What {@linkcode buildUpgradeRequest} gave.
 * @returns What both sides agreed on.
 * @throws {HandshakeError} If the server refuses or does not follow RFC 6455:
 * with its status, and its header fields.
 *
 * @example A server that wants a login
 * ```ts
 * import {
 *   buildUpgradeRequest,
 *   HandshakeError,
 *   verifyUpgradeResponse,
 * } from "@sansio/websocket/handshake";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const sent = buildUpgradeRequest("ws://example.com/");
 * const error = assertThrows(
 *   () => verifyUpgradeResponse(new Response("Log in", { status: 401 }), sent),
 *   HandshakeError,
 * );
 * assertEquals(error.status, 401);
 * ```
 */
export function verifyUpgradeResponse(
  head: {
    readonly status: number;
    readonly headers: Headers;
    readonly version?: string | undefined;
  },
  sent: UpgradeOffer,
): Negotiated {
  const { status, version } = head;
  const fields = lookupFields(head);
  function fail(message: string, kind: HandshakeErrorKind): HandshakeError {
    return new HandshakeError(message, { status, kind, headers: head.headers });
  }
  if (status !== 101) {
    throw fail(
      `Server answered with another status than 101 (${status})`,
      "status",
    );
  }
  checkHttpVersion(version, fail);
  checkUpgradeFields(fields, fail);
  const accept = fields.get("sec-websocket-accept");
  const expected = acceptKey(sent.key);
  if (accept !== expected) {
    throw fail(
      `Sec-WebSocket-Accept must be [${expected}], ${got(accept)}`,
      "accept",
    );
  }
  const protocol = fields.get("sec-websocket-protocol") ?? undefined;
  // Refuses repeated fields too: joined by a comma, they are no token.
  if (protocol !== undefined && !sent.protocols.includes(protocol)) {
    throw fail(
      `Sec-WebSocket-Protocol must be one that was offered, got ${
        quote(protocol)
      }`,
      "protocol",
    );
  }
  const header = fields.get("sec-websocket-extensions");
  const extensions = header === null ? [] : readExtensions(header, fail);
  extensions.forEach(({ name }, index) => {
    if (
      !sent.extensions.some((offered) => offered.name === name) ||
      extensions.findIndex((other) => other.name === name) < index
    ) {
      throw fail(
        `Extension must be one that was offered, and once, got ${quote(name)}`,
        "extensions",
      );
    }
  });
  return { protocol, extensions };
}

function readExtensions(
  header: string,
  fail: Fail,
): readonly ExtensionElement[] {
  try {
    return parseExtensions(header);
  } catch (error) {
    throw fail((error as HandshakeError).message, "extensions");
  }
}
