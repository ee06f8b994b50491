/**
 * As much of HTTP/1.1 (RFC 9112) as a server needs to answer plain requests
 * beside its WebSockets: a web-standard `Request` from the stream, and a
 * web-standard `Response` onto it.
 *
 * @module
 */

import {
  type ByteDuplex,
  HandshakeError,
  type ReceivedRequest,
  rejectUpgrade,
  type RequestHead,
} from "../mod.ts";

/** The largest body of a request, in bytes. */
const MAX_BODY_SIZE = 1024 * 1024;
/** How long a body, or one part of an answer, may take, in milliseconds. */
const TRANSFER_TIMEOUT = 30_000;
/** How long, and for how many bytes, a peer is heard that is to hang up. */
const LINGER_TIME = 1000;
const LINGER_LENGTH = 256 * 1024;

const ENCODER = new TextEncoder();
const EMPTY = new Uint8Array(0);

/** The fields that say where a message ends: ours to write, not a handler's. */
const FRAMING = new Set([
  "connection",
  "content-length",
  "date",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
]);

const REASONS: Record<number, string> = {
  200: "OK",
  201: "Created",
  204: "No Content",
  206: "Partial Content",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  304: "Not Modified",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** Whether the peer may send another request after this one (RFC 9112 §9.3). */
export function isKeptAlive({ headers, version }: RequestHead): boolean {
  const options = headers.get("connection") ?? "";
  return version !== "1.0" && !/(^|,)\s*close\s*(,|$)/i.test(options);
}

/**
 * Reads the body of a request.
 *
 * @returns The request, and what came behind it.
 * @throws {HandshakeError} If it is none that is served here.
 */
export async function readWhole(
  duplex: ByteDuplex,
  { head, rest }: ReceivedRequest,
  scheme: "http" | "https",
): Promise<{ request: Request; rest: Uint8Array<ArrayBuffer> }> {
  const { method, headers } = head;
  if (headers.has("transfer-encoding")) {
    throw new HandshakeError("A body has to come with its Content-Length", {
      status: 411,
    });
  }
  const length = Number(headers.get("content-length") ?? 0);
  if (length > MAX_BODY_SIZE) {
    throw new HandshakeError(
      `A body of more than ${MAX_BODY_SIZE} bytes is not taken, got [${length}]`,
      { status: 413 },
    );
  }
  const body = new Uint8Array(length);
  body.set(rest.subarray(0, length));
  if (rest.length < length) {
    if (/^100-continue$/i.test(headers.get("expect") ?? "")) {
      await writeAll(duplex, ENCODER.encode("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    await readAll(duplex, body.subarray(rest.length));
  }
  const hasBody = length > 0 && method !== "GET" && method !== "HEAD";
  try {
    const request = new Request(urlOf(head, scheme), {
      method,
      headers,
      body: hasBody ? body : null,
    });
    return { request, rest: rest.subarray(Math.min(length, rest.length)) };
  } catch (cause) {
    // CONNECT, TRACE, or a target that is no URL.
    throw new HandshakeError("The request is none that is served here", {
      cause,
    });
  }
}

function urlOf({ target, headers }: RequestHead, scheme: string): URL {
  if (target !== "*" && !target.startsWith("/")) return new URL(target);
  const origin = `${scheme}://${headers.get("host") ?? "localhost"}`;
  return new URL(target === "*" ? origin : origin + target);
}

/**
 * Writes an answer. A body without `Content-Length` goes out in chunks as it
 * comes, and to HTTP/1.0 until the connection is closed.
 *
 * @returns Whether another request may follow.
 * @throws {unknown} What the body throws, or the stream: it is broken off then.
 */
export async function writeResponse(
  duplex: ByteDuplex,
  response: Response,
  { method, version, keepAlive }: {
    method: string;
    version: string;
    keepAlive: boolean;
  },
): Promise<boolean> {
  const { status, headers } = response;
  const hasBody = method !== "HEAD" && status !== 204 && status !== 304;
  const body = hasBody ? response.body : null;
  const length = body === null && hasBody ? "0" : headers.get("content-length");
  const isChunked = body !== null && length === null && version !== "1.0";
  const isLast = !keepAlive ||
    (body !== null && length === null && version === "1.0");

  let text = `HTTP/1.1 ${status} ${
    response.statusText || (REASONS[status] ?? "")
  }\r\n`;
  for (const [name, value] of headers) {
    if (!FRAMING.has(name)) text += `${name}: ${value}\r\n`;
  }
  text += `Date: ${new Date().toUTCString()}\r\n`;
  if (isChunked) text += "Transfer-Encoding: chunked\r\n";
  else if (length !== null && status !== 204) {
    text += `Content-Length: ${length}\r\n`;
  }
  if (isLast) text += "Connection: close\r\n";
  const head = Uint8Array.from(
    `${text}\r\n`,
    (character) => character.charCodeAt(0),
  );

  if (body === null) {
    await response.body?.cancel();
    await writeAll(duplex, head);
    return !isLast;
  }
  // The first part goes out with the head.
  let before: Uint8Array = head;
  let left = length === null ? Infinity : Number(length);
  for await (const part of body) {
    if (part.length === 0) continue;
    if ((left -= part.length) < 0) break;
    const bytes = isChunked
      ? concat(
        before,
        ENCODER.encode(`${part.length.toString(16)}\r\n`),
        part,
        ENCODER.encode("\r\n"),
      )
      : before.length === 0
      ? part
      : concat(before, part);
    before = EMPTY;
    await writeAll(duplex, bytes);
  }
  if (length !== null && left !== 0) {
    throw new RangeError(`The body is not as long as was said [${length}]`);
  }
  await writeAll(
    duplex,
    isChunked ? concat(before, ENCODER.encode("0\r\n\r\n")) : before,
  );
  return !isLast;
}

/** Says what is wrong with a request, and hangs up. */
export async function refuse(
  duplex: ByteDuplex,
  error: HandshakeError,
): Promise<void> {
  try {
    await writeAll(duplex, rejectUpgrade(error));
  } catch {
    // It is not heard.
  }
  await hangUp(duplex);
}

/**
 * Closes the stream once the peer had time to read what it was sent: to close
 * while it still sends could cost it that (RFC 9112 §9.6).
 */
export async function hangUp(duplex: ByteDuplex): Promise<void> {
  const timer = setTimeout(() => close(duplex), LINGER_TIME);
  try {
    await duplex.closeWrite?.();
    const waste = new Uint8Array(4096);
    for (let length = 0; length < LINGER_LENGTH;) {
      const got = await duplex.read(waste);
      if (got === null) break;
      length += got;
    }
  } catch {
    // It is gone.
  } finally {
    clearTimeout(timer);
    close(duplex);
  }
}

/** Closes the stream unless it is closed. */
export function close(duplex: ByteDuplex): void {
  try {
    duplex.close();
  } catch {
    // It is.
  }
}

async function readAll(
  duplex: ByteDuplex,
  into: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const timer = setTimeout(() => close(duplex), TRANSFER_TIMEOUT);
  try {
    for (let at = 0; at < into.length;) {
      const got = await duplex.read(into.subarray(at));
      if (got === null) {
        throw new HandshakeError("The connection was closed within the body", {
          kind: "closed",
        });
      }
      at += got;
    }
  } finally {
    clearTimeout(timer);
  }
}

async function writeAll(duplex: ByteDuplex, bytes: Uint8Array): Promise<void> {
  const timer = setTimeout(() => close(duplex), TRANSFER_TIMEOUT);
  try {
    for (let rest = bytes; rest.length > 0;) {
      rest = rest.subarray(await duplex.write(rest));
    }
  } finally {
    clearTimeout(timer);
  }
}

function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
