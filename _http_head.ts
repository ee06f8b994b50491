import { HandshakeError } from "./_handshake_error.ts";
import { CLASS, TARGET, TEXT, TOKEN, trimSlice } from "./_http_grammar.ts";
import { quote } from "./_quote.ts";

/** Limits on a head that is parsed. */
export interface ParseHeadOptions {
  /**
   * The largest head in bytes, from its first byte to the empty line that ends
   * it; a larger request is refused with 431. It bounds what a peer that never
   * ends its head can make us hold.
   *
   * @default {16384}
   */
  maxHeadSize?: number | undefined;
  /**
   * The largest number of header fields; a request with more is refused with
   * 431. It bounds the work that a head of many short fields can cause.
   *
   * @default {100}
   */
  maxHeaders?: number | undefined;
}

/** What the heads of requests and responses have in common (RFC 9112 §2.1). */
export interface MessageHead {
  /** The HTTP version: `1.1`, `1.0` or a later `1.x`. */
  readonly version: string;
  /**
   * The header fields, obs-text read as ISO-8859-1. Made when first asked for,
   * a getter of the prototype: spreading a head does not copy it.
   */
  readonly headers: Headers;
  /** The bytes of the head; what follows belongs to the body or to frames. */
  readonly byteLength: number;
}

/** The head of an HTTP/1.x request (RFC 9112 §3). */
export interface RequestHead extends MessageHead {
  /** The method as sent; methods are case-sensitive. */
  readonly method: string;
  /** The request target as sent, in any of its four forms (RFC 9112 §3.2). */
  readonly target: string;
}

/** The head of an HTTP/1.x response (RFC 9112 §4). */
export interface ResponseHead extends MessageHead {
  /** The status code, from 100 to 999; above 599 it has no meaning. */
  readonly status: number;
  /** The reason phrase, which may be empty. */
  readonly statusText: string;
}

/** What the handshake needs of `Headers`. */
export interface FieldLookup {
  get(name: string): string | null;
}

const DEFAULT_MAX_HEAD_SIZE = 16_384;
const DEFAULT_MAX_HEADERS = 100;

const HTAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SP = 0x20;
const COLON = 0x3a;

const decoder = new TextDecoder();

/** The ISO-8859-1 text of bytes; `TextDecoder` would take windows-1252. */
function decodeLatin1(bytes: Uint8Array): string {
  let seen = 0;
  for (let i = 0; i < bytes.length; i++) seen |= bytes[i]!;
  if (seen < 0x80) return decoder.decode(bytes);
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) {
    text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  }
  return text;
}

/** Header fields as parsed, at a tenth of the cost of `Headers`. */
class Fields implements FieldLookup {
  readonly #text: string;
  readonly #start: number;
  #names: string[] = [];
  #values: string[] = [];

  /** Takes field lines that were found well-formed, each ended by CRLF. */
  constructor(text: string, start: number, status: number) {
    this.#text = text;
    this.#start = start;
    this.#index();
    for (const value of this.#values) {
      if (value.length > MAX_SPACES) checkSpaces(value, status);
    }
  }

  /** Finds names and values in the text, unless they are known. */
  #index(): void {
    if (this.#names.length > 0) return;
    const text = this.#text;
    let start = this.#start;
    while (start < text.length) {
      const colon = text.indexOf(":", start);
      const end = text.indexOf("\r\n", colon);
      this.#names.push(text.slice(start, colon).toLowerCase());
      this.#values.push(trimSlice(text, colon + 1, end));
      start = end + 2;
    }
  }

  /** Drops the index, which is two thirds of the memory. */
  compact(): void {
    this.#names = [];
    this.#values = [];
  }

  /** As `Headers.get`, but the name must be in lower case. */
  get(name: string): string | null {
    this.#index();
    let value: string | null = null;
    for (let i = 0; i < this.#names.length; i++) {
      if (this.#names[i] !== name) continue;
      value = value === null
        ? this.#values[i]!
        : `${value}, ${this.#values[i]}`;
    }
    return value;
  }

  toHeaders(): Headers {
    const headers = new Headers();
    this.#index();
    for (let i = 0; i < this.#names.length; i++) {
      headers.append(this.#names[i]!, this.#values[i]!);
    }
    return headers;
  }
}

class Head implements MessageHead {
  readonly version: string;
  readonly byteLength: number;
  readonly #fields: Fields;
  #headers: Headers | undefined;

  constructor(version: string, byteLength: number, fields: Fields) {
    this.version = version;
    this.byteLength = byteLength;
    this.#fields = fields;
  }

  get headers(): Headers {
    return this.#headers ??= this.#fields.toHeaders();
  }

  static compact(head: { readonly headers: Headers }): void {
    if (#fields in head) head.#fields.compact();
  }

  /** A `Headers` that has been made comes first: it may have been changed. */
  static lookup(head: { readonly headers: Headers }): FieldLookup {
    if (!(#fields in head)) return head.headers;
    return head.#headers ?? head.#fields;
  }
}

/** Makes a head smaller that is kept as long as its connection. */
export function compactHead(head: { readonly headers: Headers }): void {
  Head.compact(head);
}

class ParsedRequestHead extends Head implements RequestHead {
  readonly method: string;
  readonly target: string;

  constructor(
    method: string,
    target: string,
    version: string,
    byteLength: number,
    fields: Fields,
  ) {
    super(version, byteLength, fields);
    this.method = method;
    this.target = target;
  }
}

class ParsedResponseHead extends Head implements ResponseHead {
  readonly status: number;
  readonly statusText: string;

  constructor(
    status: number,
    statusText: string,
    version: string,
    byteLength: number,
    fields: Fields,
  ) {
    super(version, byteLength, fields);
    this.status = status;
    this.statusText = statusText;
  }
}

/** The header fields of any head, by names in lower case. */
export function lookupFields(
  head: { readonly headers: Headers },
): FieldLookup {
  return Head.lookup(head);
}

/**
 * Reads the head of an HTTP/1.x request from the bytes received so far.
 *
 * Nothing is kept between calls: while it returns `undefined`, call it again
 * with all the bytes once more have come. A fault is thrown when its first byte
 * is seen, without waiting for the end of the head. One empty line before the
 * request is skipped (RFC 9112 §2.2). Refused is whatever two parties could
 * read in different ways: a bare CR or LF, line folding, a space before the
 * colon, control characters, a `Host` that is missing, repeated or malformed,
 * repeated or contradicting lengths of the body (RFC 9112 §§2.2, 3.2, 5, 6.3);
 * and more than 64 spaces in a row in a value, which take some platforms long.
 *
 * @param bytes All bytes received so far; they are neither kept nor changed.
 * @param options Limits on the head.
 * @returns The head, or `undefined` if more bytes are needed.
 * @throws {HandshakeError} If the bytes are no HTTP/1.x request (400, or 505
 * for another major version) or exceed a limit (431).
 * @throws {RangeError} If a limit is not a positive integer or `Infinity`.
 *
 * @example A head that arrives in two parts
 * ```ts
 * import { parseRequestHead } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = new TextEncoder().encode(
 *   "GET /chat HTTP/1.1\r\nHost: example.com\r\n\r\n",
 * );
 * assertEquals(parseRequestHead(bytes.subarray(0, 20)), undefined);
 *
 * const head = parseRequestHead(bytes);
 * assertEquals(head?.target, "/chat");
 * assertEquals(head?.headers.get("Host"), "example.com");
 * assertEquals(head?.byteLength, bytes.length);
 * ```
 */
export function parseRequestHead(
  bytes: Uint8Array,
  options: ParseHeadOptions = {},
): RequestHead | undefined {
  const { maxHeadSize, maxHeaders } = headLimits(options);
  const end = Math.min(bytes.length, maxHeadSize);
  const start = skipEmptyLine(bytes, end);
  const lineEnd = start < 0 ? -1 : scanRequestLine(bytes, start, end);
  const headEnd = lineEnd < 0
    ? -1
    : scanFields(bytes, lineEnd, end, maxHeaders, 400);
  if (headEnd < 0) {
    if (bytes.length >= maxHeadSize) throw tooLarge(maxHeadSize, 431);
    return undefined;
  }
  // All but the empty line at the end.
  const text = decodeLatin1(bytes.subarray(start, headEnd - 2));
  const methodEnd = text.indexOf(" ");
  const targetEnd = text.indexOf(" ", methodEnd + 1);
  const method = text.slice(0, methodEnd);
  const target = text.slice(methodEnd + 1, targetEnd);
  const version = text.slice(targetEnd + 6, targetEnd + 9);
  checkTarget(method, target);
  const fields = new Fields(text, lineEnd - start, 400);
  const host = fields.get("host");
  if (host !== null || version !== "1.0") checkHost(host);
  checkBody(fields, version);
  return new ParsedRequestHead(method, target, version, headEnd, fields);
}

/**
 * Reads the head of an HTTP/1.x response from the bytes received so far, as
 * {@linkcode parseRequestHead} does for a request.
 *
 * @param bytes All bytes received so far; they are neither kept nor changed.
 * @param options Limits on the head.
 * @returns The head, or `undefined` if more bytes are needed.
 * @throws {HandshakeError} If the bytes are no HTTP/1.x response or exceed a
 * limit; the status is 0.
 * @throws {RangeError} If a limit is not a positive integer or `Infinity`.
 *
 * @example A redirect
 * ```ts
 * import { parseResponseHead } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * const head = parseResponseHead(new TextEncoder().encode(
 *   "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n",
 * ));
 * assertEquals(head?.status, 302);
 * assertEquals(head?.headers.get("Location"), "/elsewhere");
 * ```
 */
export function parseResponseHead(
  bytes: Uint8Array,
  options: ParseHeadOptions = {},
): ResponseHead | undefined {
  const { maxHeadSize, maxHeaders } = headLimits(options);
  const end = Math.min(bytes.length, maxHeadSize);
  const lineEnd = scanStatusLine(bytes, end);
  const headEnd = lineEnd < 0
    ? -1
    : scanFields(bytes, lineEnd, end, maxHeaders, 0);
  if (headEnd < 0) {
    if (bytes.length >= maxHeadSize) throw tooLarge(maxHeadSize, 0);
    return undefined;
  }
  const text = decodeLatin1(bytes.subarray(0, headEnd - 2));
  return new ParsedResponseHead(
    Number(text.slice(9, 12)),
    text.slice(13, lineEnd - 2),
    text.slice(5, 8),
    headEnd,
    new Fields(text, lineEnd, 0),
  );
}

/**
 * The limits on a head, or their defaults.
 *
 * @throws {RangeError} If one is not a positive integer or `Infinity`.
 */
export function headLimits(
  options: ParseHeadOptions,
): { maxHeadSize: number; maxHeaders: number } {
  return {
    maxHeadSize: limit("maxHeadSize", options, DEFAULT_MAX_HEAD_SIZE),
    maxHeaders: limit("maxHeaders", options, DEFAULT_MAX_HEADERS),
  };
}

function limit(
  name: keyof ParseHeadOptions,
  options: ParseHeadOptions,
  defaultValue: number,
): number {
  const value = options[name] ?? defaultValue;
  if (!(value > 0 && (Number.isInteger(value) || value === Infinity))) {
    throw new RangeError(
      `${name} must be a positive integer or Infinity (${value})`,
    );
  }
  return value;
}

function malformed(message: string, status: number): HandshakeError {
  return new HandshakeError(message, { status, kind: "malformed" });
}

function tooLarge(maxHeadSize: number, status: number): HandshakeError {
  return new HandshakeError(
    `Head is larger than the limit (${maxHeadSize} bytes)`,
    { status, kind: "limit" },
  );
}

/** The byte that does not fit, named for a message. */
function found(byte: number): string {
  if (byte === LF) return "a bare LF";
  if (byte === CR) return "a bare CR";
  return byte > SP && byte < 0x7f
    ? `[${String.fromCharCode(byte)}]`
    : `[0x${byte.toString(16).padStart(2, "0")}]`;
}

// The scanners below return the index behind what they accept, or -1 where the
// bytes end before it does. They allocate nothing, so that a head that trickles
// in byte by byte costs a pass over its bytes for each, and no more.

/** RFC 9112 §2.2: at least one empty line is to be skipped; one is enough. */
function skipEmptyLine(bytes: Uint8Array, end: number): number {
  if (end === 0) return -1;
  return bytes[0] === CR ? scanLineEnd(bytes, 0, end, "request", 400) : 0;
}

function scanLineEnd(
  bytes: Uint8Array,
  at: number,
  end: number,
  where: string,
  status: number,
): number {
  if (at >= end) return -1;
  if (bytes[at] !== CR) {
    throw malformed(
      `Malformed ${where}: expected CRLF, found ${found(bytes[at]!)}`,
      status,
    );
  }
  if (at + 1 >= end) return -1;
  if (bytes[at + 1] !== LF) {
    throw malformed(`Malformed ${where}: found a bare CR`, status);
  }
  return at + 2;
}

/** RFC 9112 §3: method SP request-target SP HTTP-version CRLF. */
function scanRequestLine(
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  let i = start;
  while (i < end && CLASS[bytes[i]!]! & TOKEN) i++;
  if (i >= end) return -1;
  if (i === start || bytes[i] !== SP) {
    const hint = bytes[start] === 0x16
      ? " (the start of a TLS handshake on a port without TLS)"
      : "";
    throw malformed(
      `Malformed request line: found ${found(bytes[i]!)} in the method${hint}`,
      400,
    );
  }
  const target = ++i;
  while (i < end && CLASS[bytes[i]!]! & TARGET) i++;
  if (i >= end) return -1;
  if (i === target || bytes[i] !== SP) {
    throw malformed(
      `Malformed request line: found ${found(bytes[i]!)} in the target`,
      400,
    );
  }
  i = scanVersion(bytes, i + 1, end, 400);
  return i < 0 ? -1 : scanLineEnd(bytes, i, end, "request line", 400);
}

/** RFC 9112 §4: HTTP-version SP 3DIGIT SP [ reason-phrase ] CRLF. */
function scanStatusLine(bytes: Uint8Array, end: number): number {
  let i = scanVersion(bytes, 0, end, 0);
  if (i < 0 || i >= end) return -1;
  if (bytes[i++] !== SP) {
    throw malformed(
      `Malformed status line: found ${found(bytes[i - 1]!)} in the version`,
      0,
    );
  }
  for (const first = i; i < first + 3; i++) {
    if (i >= end) return -1;
    const byte = bytes[i]!;
    const isDigit = byte >= 0x30 && byte <= 0x39;
    if (!isDigit || (i === first && byte === 0x30)) {
      throw malformed(
        `Malformed status line: found ${found(byte)} in the status`,
        0,
      );
    }
  }
  if (i >= end) return -1;
  // Servers that send no reason phrase often leave out the space before it,
  // too.
  if (bytes[i] === SP) {
    while (i < end && CLASS[bytes[i]!]! & TEXT) i++;
  }
  return scanLineEnd(bytes, i, end, "status line", 0);
}

/**
 * Deno's `Headers` takes quadratic time for whitespace in the middle of a
 * value: a quarter of a second for 16 KiB of it.
 */
const MAX_SPACES = 64;

function checkSpaces(value: string, status: number): void {
  let spaces = 0;
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    spaces = code === SP || code === HTAB ? spaces + 1 : 0;
    if (spaces > MAX_SPACES) {
      throw malformed(
        `Malformed header: more than ${MAX_SPACES} spaces in a row in a value`,
        status,
      );
    }
  }
}

const HTTP_SLASH = [0x48, 0x54, 0x54, 0x50, 0x2f];

/** RFC 9112 §2.3: "HTTP/" DIGIT "." DIGIT. */
function scanVersion(
  bytes: Uint8Array,
  start: number,
  end: number,
  status: number,
): number {
  for (let i = 0; i < 8; i++) {
    if (start + i >= end) return -1;
    const byte = bytes[start + i]!;
    const fits = i < 5
      ? byte === HTTP_SLASH[i]
      : i === 6
      ? byte === 0x2e
      : byte >= 0x30 && byte <= 0x39;
    if (!fits) {
      throw malformed(
        `Malformed HTTP version: found ${found(byte)} at offset ${i}`,
        status,
      );
    }
  }
  if (bytes[start + 5] !== 0x31) {
    const major = String.fromCharCode(bytes[start + 5]!);
    throw new HandshakeError(`HTTP major version must be 1, got [${major}]`, {
      status: status === 0 ? 0 : 505,
      kind: "http-version",
    });
  }
  return start + 8;
}

/** RFC 9112 §5: field lines, and the empty line behind them. */
function scanFields(
  bytes: Uint8Array,
  start: number,
  end: number,
  maxHeaders: number,
  status: number,
): number {
  let i = start;
  for (let count = 0;; count++) {
    if (i >= end) return -1;
    if (bytes[i] === CR) return scanLineEnd(bytes, i, end, "head", status);
    if (count === maxHeaders) {
      throw new HandshakeError(
        `Head has more header fields than the limit (${maxHeaders})`,
        { status: status === 0 ? 0 : 431, kind: "limit" },
      );
    }
    const name = i;
    while (i < end && CLASS[bytes[i]!]! & TOKEN) i++;
    if (i >= end) return -1;
    if (i === name || bytes[i] !== COLON) {
      throw malformed(describeName(bytes[i]!, i === name), status);
    }
    i++;
    while (i < end && CLASS[bytes[i]!]! & TEXT) i++;
    const next = scanLineEnd(bytes, i, end, "header value", status);
    if (next < 0) return -1;
    i = next;
  }
}

function describeName(byte: number, isFirst: boolean): string {
  if (byte === SP || byte === HTAB) {
    // RFC 9112 §5.2 (obs-fold) and §5.1: both have been used for smuggling.
    return isFirst
      ? "Malformed header: line folding is not allowed"
      : "Malformed header: whitespace in or after the name";
  }
  return `Malformed header: found ${found(byte)} in the name`;
}

/** RFC 9112 §3.2: the four forms of a request target. */
function checkTarget(method: string, target: string): void {
  if (target.charCodeAt(0) === 0x2f && method !== "CONNECT") return;
  const fits = method === "CONNECT"
    ? isAuthority(target)
    : target === "*"
    ? method === "OPTIONS"
    : /^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?]/.test(target);
  if (fits) return;
  throw new HandshakeError(
    `Request target does not fit its method, got ${quote(target)}`,
    { status: 400, kind: "target" },
  );
}

/**
 * Whether the text is a host with an optional port (RFC 9110 §7.2). Userinfo is
 * not allowed; neither are commas, which repeated fields would be joined with.
 */
export function isAuthority(text: string): boolean {
  return /^(?:\[[0-9A-Fa-f:.]+\]|[\w.~%!$&'()*+;=-]+)(?::\d*)?$/.test(text);
}

/** RFC 9112 §3.2: HTTP/1.1 has exactly one valid `Host`. */
export function checkHost(host: string | null): asserts host is string {
  if (host !== null && isAuthority(host)) return;
  throw new HandshakeError(
    host === null
      ? "Host is missing"
      : `Host must be one host and port, got ${quote(host)}`,
    { status: 400, kind: "host" },
  );
}

/**
 * RFC 9112 §§6.1, 6.3: refuses a body whose end two parties could see
 * differently.
 */
function checkBody(fields: Fields, version: string): void {
  const length = fields.get("content-length");
  const encoding = fields.get("transfer-encoding");
  if (length === null && encoding === null) return;
  if (length !== null && !/^\d+$/.test(length)) {
    throw new HandshakeError(
      `Content-Length must be one number, got ${quote(length)}`,
      { status: 400, kind: "body" },
    );
  }
  if (encoding !== null && (length !== null || version === "1.0")) {
    throw new HandshakeError(
      `Transfer-Encoding is not allowed here, got ${quote(encoding)}`,
      { status: 400, kind: "body" },
    );
  }
}
