/**
 * As much of HTTP/1.1 (RFC 9112) as a server needs to answer plain requests
 * beside its WebSockets: a web-standard `Request` from the stream, and a
 * web-standard `Response` onto it.
 *
 * @module
 */

import type { ReceivedRequest } from "./accept.ts";
import { HandshakeError, type RequestHead } from "./handshake.ts";
import type { ByteDuplex } from "./_duplex.ts";
import { encodeLatin1 } from "./_field_lines.ts";
import { joined } from "./_joined.ts";
import { type OpeningLimits, withinLimits, writeAll } from "./_opening.ts";
import { reasonPhrase } from "./_reason_phrases.ts";

/** Limits for reading a body, and for each write of an answer. */
const LIMITS: OpeningLimits = {
  what: "The peer",
  timeout: 30_000,
  timeoutStatus: 408,
  signal: undefined,
};

const encoder = new TextEncoder();
const CONTINUE = encoder.encode("HTTP/1.1 100 Continue\r\n\r\n");
const CRLF = encoder.encode("\r\n");
const LAST_CHUNK = encoder.encode("0\r\n\r\n");

/** Header fields that a handler may not set, since they frame the message. */
const FRAMING = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
]);

/** Options of {@linkcode Exchange}. */
export interface ExchangeOptions {
  /** Whether the request came by TLS. */
  secure: boolean;
  /** The largest body of a request, in bytes. */
  maxBodySize: number;
}

/** One request, and its answer. */
export class Exchange {
  readonly #duplex: ByteDuplex;
  readonly #head: RequestHead;
  readonly #options: ExchangeOptions;
  #rest: Uint8Array<ArrayBuffer>;

  /**
   * @param duplex Where the request came from.
   * @param received Its head, and the bytes behind it.
   * @param options What the server knows of it, and limits.
   */
  constructor(
    duplex: ByteDuplex,
    received: ReceivedRequest,
    options: ExchangeOptions,
  ) {
    this.#duplex = duplex;
    this.#head = received.head;
    this.#rest = received.rest;
    this.#options = options;
  }

  /**
   * The request with its body.
   *
   * @throws {HandshakeError} If it cannot be served, or its body does not
   * arrive in time.
   */
  async request(): Promise<Request> {
    const { method, headers } = this.#head;
    const body = await this.#readBody();
    try {
      return new Request(this.#url(), {
        method,
        headers,
        body: method === "GET" || method === "HEAD" ? null : body,
      });
    } catch (cause) {
      // CONNECT, TRACE, or a target that is no URL.
      throw new HandshakeError("Requests of this kind are not served here", {
        cause,
      });
    }
  }

  #url(): URL {
    const { target, headers } = this.#head;
    if (/^https?:/i.test(target)) return new URL(target);
    const scheme = this.#options.secure ? "https" : "http";
    const origin = `${scheme}://${headers.get("host") ?? "localhost"}`;
    return new URL(target === "*" ? origin : origin + target);
  }

  async #readBody(): Promise<Uint8Array<ArrayBuffer> | null> {
    const { headers } = this.#head;
    // RFC 9112 §6.3 allows a server to insist on Content-Length.
    if (headers.has("transfer-encoding")) {
      throw new HandshakeError("A body has to come with its Content-Length", {
        status: 411,
      });
    }
    const length = Number(headers.get("content-length") ?? 0);
    if (length === 0) return null;
    const { maxBodySize } = this.#options;
    if (length > maxBodySize) {
      throw new HandshakeError(
        `A body must not have more than ${maxBodySize} bytes (${length})`,
        { status: 413 },
      );
    }
    const body = new Uint8Array(length);
    const there = this.#rest.subarray(0, length);
    body.set(there);
    this.#rest = this.#rest.subarray(there.length);
    if (there.length < length) {
      if (headers.get("expect")?.toLowerCase() === "100-continue") {
        await write(this.#duplex, CONTINUE);
      }
      await read(this.#duplex, body.subarray(there.length));
    }
    return body;
  }

  /**
   * Writes the answer. A body without `Content-Length` goes out in chunks as it
   * comes, and to HTTP/1.0 until the connection is closed.
   *
   * @returns The bytes behind the request, or `undefined` if no other request
   * may follow on this connection.
   * @throws {unknown} What the body throws, or the stream: close it then.
   */
  async respond(
    response: Response,
    { last }: { last: boolean },
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { method, version, headers } = this.#head;
    const { status } = response;
    const mayHaveBody = method !== "HEAD" && status !== 204 && status !== 304;
    const body = mayHaveBody ? response.body : null;
    const length = body === null && mayHaveBody
      ? "0"
      : response.headers.get("content-length");
    const isChunked = body !== null && length === null && version !== "1.0";
    const isLast = last || version === "1.0" ||
      /(^|,)\s*close\s*(,|$)/i.test(headers.get("connection") ?? "");

    let text = statusLine(response);
    for (const [name, value] of response.headers) {
      if (!FRAMING.has(name)) text += `${name}: ${value}\r\n`;
    }
    if (!response.headers.has("date")) {
      text += `date: ${new Date().toUTCString()}\r\n`;
    }
    if (isChunked) text += "transfer-encoding: chunked\r\n";
    else if (length !== null && status !== 204) {
      text += `content-length: ${length}\r\n`;
    }
    if (isLast) text += "connection: close\r\n";
    try {
      await write(this.#duplex, encodeLatin1(`${text}\r\n`));
    } catch (error) {
      // Where writing the body fails, iterating over it does this.
      response.body?.cancel(error).catch(() => {});
      throw error;
    }
    if (body === null) await response.body?.cancel();
    else if (isChunked) await this.#writeChunks(body);
    else await this.#writePlain(body, length);
    return isLast ? undefined : this.#rest;
  }

  async #writeChunks(body: ReadableStream<Uint8Array>): Promise<void> {
    for await (const part of body) {
      checkPart(part);
      if (part.length === 0) continue; // an empty chunk would end the body
      const size = encoder.encode(`${part.length.toString(16)}\r\n`);
      await write(this.#duplex, joined([size, part, CRLF]));
    }
    await write(this.#duplex, LAST_CHUNK);
  }

  async #writePlain(
    body: ReadableStream<Uint8Array>,
    length: string | null,
  ): Promise<void> {
    let left = length === null ? Infinity : Number(length);
    for await (const part of body) {
      checkPart(part);
      left -= part.length;
      if (left < 0) break;
      await write(this.#duplex, part);
    }
    if (length !== null && left !== 0) {
      throw new RangeError(
        `A body is not as long as its Content-Length says (${length})`,
      );
    }
  }
}

function statusLine({ status, statusText }: Response): string {
  // Response.error() has no status.
  const code = status < 200 ? 500 : status;
  return `HTTP/1.1 ${code} ${statusText || reasonPhrase(code)}\r\n`;
}

function checkPart(part: unknown): void {
  if (part instanceof Uint8Array) return;
  throw new TypeError(`A body has to be made of bytes (${typeof part})`);
}

function read(
  duplex: ByteDuplex,
  into: Uint8Array<ArrayBuffer>,
): Promise<void> {
  return withinLimits(duplex, LIMITS, async (progress) => {
    progress.status = 408;
    for (let at = 0; at < into.length;) {
      const got = await duplex.read(into.subarray(at));
      if (progress.isOver) return;
      if (got === null) {
        throw new HandshakeError("The connection was closed within the body", {
          kind: "closed",
        });
      }
      at += got;
    }
  });
}

function write(duplex: ByteDuplex, bytes: Uint8Array): Promise<void> {
  return withinLimits(duplex, LIMITS, () => writeAll(duplex, bytes));
}
