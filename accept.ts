/**
 * The server's way to a connection: reads a request for an upgrade off a byte
 * stream, answers it, and hands over what is behind it.
 *
 * @example Greet those who come
 * ```ts
 * import { accept, connect } from "@sansio/websocket";
 * import { duplexPair, type MemoryDuplex } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * async function greet(duplex: MemoryDuplex): Promise<void> {
 *   await using ws = await accept(duplex);
 *   await ws.send(`Welcome to ${ws.request!.target}`);
 * }
 *
 * const [here, there] = duplexPair();
 * const greeting = greet(here);
 * const client = await connect("ws://test/lobby", { dial: () => there });
 * assertEquals(await client.receive(), "Welcome to /lobby");
 * await greeting;
 * ```
 *
 * @module
 */

import {
  acceptUpgrade,
  HandshakeError,
  isOriginAllowed,
  parseRequestHead,
  readUpgrade,
  rejectUpgrade,
  type RequestHead,
  selectProtocol,
  type UpgradeHead,
  type UpgradeRequest,
} from "./handshake.ts";
import type { Extension, NegotiatedExtension } from "./extension.ts";
import {
  type ConnectionOptions,
  type ConnectionRequest,
  type Duplex,
  type HandshakeOptions,
  type RemoteAddress,
  WebSocketConnection,
} from "./connection.ts";
import { type ByteDuplex, toByteDuplex } from "./_duplex.ts";
import { compactHead } from "./_http_head.ts";
import { checkLimits } from "./_limits.ts";
import { quote } from "./_quote.ts";
import {
  close,
  lingerAndClose,
  type OpeningLimits,
  type OpeningProgress,
  readHead,
  withinLimits,
  writeAll,
} from "./_opening.ts";

// How many offers of extensions are considered; clients make one, or a few.
const MAX_OFFERS = 16;

/** Options of {@linkcode readRequest}. */
export interface ReadRequestOptions extends HandshakeOptions {
  /**
   * What has been read already, such as the beginning of the next request on a
   * connection that is kept alive.
   *
   * @default {undefined} (nothing)
   */
  rest?: Uint8Array<ArrayBuffer> | undefined;
}

/** What a handler of {@linkcode AnswerOptions.onRequest} may add. */
export interface Acceptance {
  /**
   * Further header fields of the response, such as `Set-Cookie`.
   *
   * @default {undefined} (none)
   */
  headers?: HeadersInit | undefined;
  /**
   * The subprotocol to speak, one of those offered.
   *
   * @default {undefined} (chosen by {@linkcode AnswerOptions.protocols})
   */
  protocol?: string | undefined;
  /**
   * The extensions to choose from for this request, such as none for a path
   * whose answers hold secrets.
   *
   * @default {undefined} (those of {@linkcode AnswerOptions.extensions})
   */
  extensions?: readonly Extension[] | undefined;
  /**
   * What the connection is to know of the request, such as whose it is: its
   * {@linkcode ConnectionRequest.data | request.data}.
   *
   * @default {undefined}
   */
  data?: unknown;
}

/** What is known of a request besides what it says. */
export interface RequestContext {
  /** Who sent it, where the transport says so: a proxy, perhaps. */
  readonly remoteAddr: RemoteAddress | undefined;
}

/** How requests for a WebSocket are answered (RFC 6455 §4.2.2). */
export interface AnswerOptions {
  /**
   * The subprotocols that the server speaks. The first of the client's that is
   * among them is chosen; if none is, the connection has none.
   *
   * @default {[]}
   */
  protocols?: string | readonly string[] | undefined;
  /**
   * The origins whose pages may connect besides those of the host that the
   * request is for, such as `https://example.com` or `https://*.example.com`;
   * `*` for all. Other pages are refused with 403. Programs that are no browsers
   * send no origin, and pass.
   *
   * With `*`, every page on the web can connect, and its visitors' cookies come
   * along: cross-site WebSocket hijacking. Never use it where a cookie, or the
   * network, tells who somebody is. A server behind a proxy that changes `Host`
   * has to list its own origin. See `isOriginAllowed` in `./handshake`.
   *
   * @default {[]}
   */
  origins?: string | readonly string[] | undefined;
  /**
   * The extensions that the server supports, such as `permessageDeflate()`.
   *
   * @default {[]}
   */
  extensions?: readonly Extension[] | undefined;
  /**
   * Looks at the request, and who sent it, before it is accepted: the place to
   * authenticate. Throw a `HandshakeError` to refuse it, return what to add to the
   * response.
   *
   * @default {undefined} (all are accepted)
   */
  onRequest?:
    | ((
      request: UpgradeRequest,
      context: RequestContext,
    ) => Acceptance | void | Promise<Acceptance | void>)
    | undefined;
}

/**
 * Options of {@linkcode accept}.
 *
 * @example Who may come, and what is spoken
 * ```ts
 * import {
 *   accept,
 *   type AcceptOptions,
 *   connect,
 *   HandshakeError,
 * } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const options: AcceptOptions = {
 *   protocols: ["chat.v2", "chat.v1"],
 *   origins: ["https://example.com"],
 *   maxMessageSize: 64 * 1024, // bytes
 *   handshakeTimeout: 3000, // milliseconds
 *   onRequest: ({ headers }) => {
 *     if (headers.get("Authorization") === "Bearer 0123") return;
 *     throw new HandshakeError("Log in first", { status: 401 });
 *   },
 * };
 *
 * async function open(authorization: string): Promise<string | undefined> {
 *   const [here, there] = duplexPair();
 *   const accepting = accept(here, options);
 *   const connecting = connect("ws://test/", {
 *     protocols: "chat.v1",
 *     headers: { "Authorization": authorization },
 *     dial: () => there,
 *   });
 *   const [, client] = await Promise.all([accepting, connecting]);
 *   await client.close();
 *   return client.protocol;
 * }
 *
 * assertEquals(await open("Bearer 0123"), "chat.v1");
 * await assertRejects(() => open("Bearer ?"), HandshakeError);
 * ```
 */
export interface AcceptOptions
  extends AnswerOptions, ConnectionOptions, HandshakeOptions {
  /**
   * The request, where it has been read off the stream already: by
   * {@linkcode readRequest}, or by another server.
   *
   * @default {undefined} (it is read)
   */
  request?: ReceivedUpgrade | undefined;
}

/**
 * A request for an upgrade, and what came behind it: for {@linkcode accept}.
 */
export interface ReceivedUpgrade {
  /** The head: a WHATWG `Request`, or what looks like one. */
  readonly head: UpgradeHead;
  /**
   * The bytes behind the head that have been read with it. They belong to the
   * connection from now on: it unmasks them where they are, and messages are
   * views on them.
   *
   * @default {undefined} (none)
   */
  readonly rest?: Uint8Array<ArrayBuffer> | undefined;
}

/** A request as {@linkcode readRequest} has read it. */
export interface ReceivedRequest extends ReceivedUpgrade {
  /** The head. */
  readonly head: RequestHead;
  /** The bytes behind the head that have been read with it. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/**
 * Reads the head of a request, for a server that also answers plain requests:
 * what is a WebSocket's goes on to {@linkcode accept} as its option `request`.
 *
 * @param duplex Where to read.
 * @param options Limits, a signal, and what has been read already. When the time
 * is up, a head that has begun is answered with 408; then, or when the signal is
 * given, the stream is closed.
 * @returns The head, or `undefined` if the stream ended before it began.
 * @throws {HandshakeError} If what arrives is no head, or is not there in time.
 * What arrives is not answered: see `rejectUpgrade` in `./handshake`.
 * @throws {RangeError} If a limit is out of range.
 * @throws {unknown} What the stream throws; the signal's reason.
 *
 * @example A server that has no pages
 * ```ts
 * import {
 *   accept,
 *   connect,
 *   HandshakeError,
 *   isUpgrade,
 *   readRequest,
 *   rejectUpgrade,
 * } from "@sansio/websocket";
 * import { duplexPair, type MemoryDuplex } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * async function answer(duplex: MemoryDuplex): Promise<void> {
 *   const request = await readRequest(duplex);
 *   if (request === undefined) return; // nothing was asked for
 *   if (!isUpgrade(request.head)) {
 *     const error = new HandshakeError("There is no page", { status: 404 });
 *     await duplex.write(rejectUpgrade(error));
 *     return duplex.close();
 *   }
 *   await using ws = await accept(duplex, { request });
 *   await ws.send("Hello");
 * }
 *
 * const [here, there] = duplexPair();
 * const answering = answer(here);
 * const client = await connect("ws://test/", { dial: () => there });
 * assertEquals(await client.receive(), "Hello");
 * await answering;
 * ```
 */
export async function readRequest(
  duplex: Duplex,
  options: ReadRequestOptions = {},
): Promise<ReceivedRequest | undefined> {
  const transport = toByteDuplex(duplex);
  return await withinLimits(
    transport,
    limitsOf(options),
    (progress) =>
      readHead(
        transport,
        (bytes) => parseRequestHead(bytes, options),
        { received: options.rest, progress, closedStatus: 400 },
      ),
  );
}

/**
 * Accepts a WebSocket connection: reads the request off the stream, judges it
 * (RFC 6455 §4.2.1), and answers it (§4.2.2). What is no request for an upgrade,
 * or is refused, is answered with what is wrong, and the stream closed.
 *
 * @param duplex A stream that a client has opened, such as a `Deno.Conn`. It
 * belongs to the connection from now on.
 * @param options What to accept, limits, and a signal that gives up.
 * @returns The open connection.
 * @throws {HandshakeError} If the request is not accepted, or not there in time.
 * @throws {RangeError} If a limit is out of range.
 * @throws {TypeError} If an entry of `origins` is not an origin.
 * @throws {unknown} What `onRequest` throws, answered with 500 unless it is a
 * `HandshakeError`; what the stream throws; the signal's reason.
 *
 * @example An echo for one client
 * ```ts
 * import { accept, connect } from "@sansio/websocket";
 * import { assertEquals } from "@std/assert";
 *
 * async function echo(conn: Deno.Conn): Promise<void> {
 *   await using ws = await accept(conn);
 *   for await (const message of ws) await ws.send(message);
 * }
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const served = listener.accept().then(echo);
 *
 * const ws = await connect(`ws://127.0.0.1:${listener.addr.port}/`);
 * await ws.send("Hello");
 * assertEquals(await ws.receive(), "Hello");
 * await ws.close();
 * await served;
 * listener.close();
 * ```
 */
export async function accept(
  duplex: Duplex,
  options: AcceptOptions = {},
): Promise<WebSocketConnection> {
  const transport = toByteDuplex(duplex);
  return await withinLimits(
    transport,
    limitsOf(options),
    (progress) => answer(transport, options, progress),
  );
}

async function answer(
  duplex: ByteDuplex,
  options: AcceptOptions,
  progress: OpeningProgress,
): Promise<WebSocketConnection> {
  let isAnswered = false;
  let extension: NegotiatedExtension | undefined;
  try {
    duplex.setNoDelay?.(true); // throws if the peer has reset the stream
    const { head, rest } = options.request ?? await readHead(
      duplex,
      (bytes) => parseRequestHead(bytes, options),
      { progress, closedStatus: 400 },
    ) ?? ended();
    // From here on a timeout is not the client's fault.
    progress.status = 503;
    const request = readUpgrade(head);
    checkOrigin(request, options.origins ?? []);
    const acceptance = options.onRequest === undefined
      ? {}
      : await options.onRequest(request, { remoteAddr: duplex.remoteAddr }) ??
        {};
    if (progress.isOver) throw givenUp();
    const protocol = acceptance.protocol ??
      selectProtocol(request.protocols, listOf(options.protocols));
    extension = negotiate(
      request,
      acceptance.extensions ?? options.extensions ?? [],
    );
    const bytes = acceptUpgrade(request, {
      protocol,
      extensions: extension === undefined ? [] : [extension],
      headers: acceptance.headers,
    });
    checkLimits(options);
    progress.status = 0;
    isAnswered = true;
    await writeAll(duplex, bytes);
    if (progress.isOver) throw givenUp();
    compactHead(head);
    return new WebSocketConnection(duplex, {
      ...options,
      role: "server",
      protocol,
      extension,
      request: new AcceptedRequest(request.target, head, acceptance.data),
      rest,
    });
  } catch (error) {
    dispose(extension);
    // After a 101, an error could only be sent as frames.
    if (isAnswered) close(duplex);
    else if (!progress.isOver) refuse(duplex, error);
    throw error;
  }
}

/** The part of a request that is kept while the connection lasts. */
class AcceptedRequest implements ConnectionRequest {
  readonly target: string;
  readonly data: unknown;
  readonly #head: UpgradeHead;

  constructor(target: string, head: UpgradeHead, data: unknown) {
    this.target = target;
    this.data = data;
    this.#head = head;
  }

  get headers(): Headers {
    return this.#head.headers;
  }
}

function listOf(names: string | readonly string[] = []): readonly string[] {
  return typeof names === "string" ? [names] : names;
}

function ended(): never {
  throw new HandshakeError("The connection was closed before a request", {
    kind: "closed",
  });
}

function checkOrigin(
  { origin, host }: UpgradeRequest,
  origins: string | readonly string[],
): void {
  // Also without an Origin: a malformed entry is to be found before a page
  // comes.
  if (isOriginAllowed(origin, origins, host)) return;
  throw new HandshakeError(
    `Pages of this origin may not connect to ${quote(host)}, got ${
      quote(origin!)
    }`,
    { status: 403, kind: "origin" },
  );
}

/** The first offer, in the client's order, that an extension takes (§9.1). */
function negotiate(
  request: UpgradeRequest,
  extensions: readonly Extension[],
): NegotiatedExtension | undefined {
  if (extensions.length === 0) return undefined;
  const offers = request.extensions.slice(0, MAX_OFFERS);
  for (const { name, parameters } of offers) {
    const extension = extensions.find((extension) => extension.name === name);
    const negotiated = extension?.accept(parameters);
    if (negotiated !== undefined) return negotiated;
  }
  return undefined;
}

/** Has an extension give up what it holds; nobody depends on it any more. */
function dispose(extension: NegotiatedExtension | undefined): void {
  try {
    extension?.dispose?.();
  } catch {
    // The error that ended the handshake is the one to report.
  }
}

/** Answers the client with what is wrong, and closes the stream. */
function refuse(duplex: ByteDuplex, error: unknown): void {
  const reason = error instanceof HandshakeError
    ? error
    : new HandshakeError("The server met a condition it did not expect", {
      status: 500,
    });
  try {
    // Not awaited: the caller need not wait for the end of the stream.
    lingerAndClose(duplex, rejectUpgrade(reason));
  } catch {
    // The program's own error may be one that has no answer.
    close(duplex);
  }
}

/** Ends what goes on after a timeout or an abort, which has been reported. */
function givenUp(): Error {
  return new Error("The handshake was given up");
}

function limitsOf(
  options: HandshakeOptions,
): OpeningLimits {
  return {
    timeout: options.handshakeTimeout ?? 10_000,
    timeoutStatus: 408,
    signal: options.signal,
  };
}
