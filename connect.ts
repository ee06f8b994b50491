/**
 * The client's way to a connection: dials, asks for an upgrade, and checks the
 * answer.
 *
 * @example Ask, and wait for the answer
 * ```ts
 * import { accept, connect } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * // A server in memory; without `dial`, the URL says where it is.
 * const [here, there] = duplexPair();
 * accept(here).then((ws) => ws.forEach((message) => ws.send(message)));
 *
 * await using ws = await connect("ws://test/", { dial: () => there });
 * await ws.send("What is the time?");
 * assertEquals(await ws.receive(), "What is the time?");
 * ```
 *
 * @module
 */

import {
  buildUpgradeRequest,
  type BuiltUpgradeRequest,
  HandshakeError,
  parseResponseHead,
  verifyUpgradeResponse,
} from "./handshake.ts";
import type { Extension, NegotiatedExtension } from "./extension.ts";
import {
  type ConnectionOptions,
  type Duplex,
  type HandshakeOptions,
  WebSocketConnection,
} from "./connection.ts";
import { Deadline } from "./_deadline.ts";
import { type ByteDuplex, toByteDuplex } from "./_duplex.ts";
import { assertAtLeast } from "./_at_least.ts";
import { headLimits } from "./_http_head.ts";
import { checkLimits } from "./_limits.ts";
import { quote } from "./_quote.ts";
import { close, readHead, withinLimits, writeAll } from "./_opening.ts";

/** How many interim answers are skipped (RFC 9110 §15.2). */
const MAX_INTERIM = 100;

/** Where a client dials to (RFC 6455 §3). */
export interface DialTarget {
  /** A name or an IP address, without brackets. */
  readonly hostname: string;
  /** The TCP port. */
  readonly port: number;
  /** Whether the URL asks for TLS. */
  readonly secure: boolean;
  /** Given when the client gives up: what is dialled then is closed. */
  readonly signal: AbortSignal;
}

/**
 * Options of {@linkcode connect}.
 *
 * @example What is asked for, and how it gets there
 * ```ts
 * import { accept, connect, type ConnectOptions } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const [here, there] = duplexPair();
 * const options: ConnectOptions = {
 *   protocols: ["chat.v2", "chat.v1"], // the better one first
 *   headers: { "Authorization": "Bearer 0123" },
 *   handshakeTimeout: 3000, // milliseconds
 *   heartbeatInterval: 60_000, // milliseconds
 *   dial: ({ hostname, port, secure }) => {
 *     assertEquals(hostname, "example.com");
 *     assertEquals([port, secure], [443, true]);
 *     return there; // or a Unix socket, or a way through a proxy
 *   },
 * };
 *
 * const accepting = accept(here, { protocols: "chat.v1" });
 * const client = await connect("wss://example.com/", options);
 * assertEquals(client.protocol, "chat.v1");
 *
 * const { request } = await accepting;
 * assertEquals(request?.headers.get("Authorization"), "Bearer 0123");
 * await client.close();
 * ```
 */
export interface ConnectOptions extends ConnectionOptions, HandshakeOptions {
  /**
   * The subprotocols to offer, the preferred one first.
   *
   * @default {undefined} (none)
   */
  protocols?: string | readonly string[] | undefined;
  /**
   * The extensions to offer, in order of preference, such as
   * `permessageDeflate()`.
   *
   * @default {[]}
   */
  extensions?: readonly Extension[] | undefined;
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
  /**
   * Opens the byte stream, where it is not a TCP or TLS connection of Deno's: a
   * Unix socket, a proxy, another runtime. It does the TLS that `wss:` asks for.
   *
   * @default {Deno.connect or Deno.startTls}
   */
  dial?: ((target: DialTarget) => Duplex | Promise<Duplex>) | undefined;
  /**
   * Certificates of authorities to trust besides the usual ones, in PEM format,
   * where `dial` is not given.
   *
   * @default {[]}
   */
  caCerts?: readonly string[] | undefined;
}

/**
 * Opens a WebSocket connection (RFC 6455 §4.1).
 *
 * @param url Where to: `ws:` or `wss:`, or `http:` or `https:` in their place. A
 * user and password in it are sent as `Authorization`.
 * @param options What to offer, limits, and a signal that gives up.
 * @returns The open connection.
 * @throws {HandshakeError} If the server refuses (its status and header fields
 * say how: 401, a redirect), breaks the protocol, or does not answer in time.
 * @throws {SyntaxError} If the URL or a subprotocol is malformed.
 * @throws {TypeError} If a header field is malformed, or not the caller's to
 * set.
 * @throws {RangeError} If a limit is out of range.
 * @throws {unknown} What dialling throws; the signal's reason.
 *
 * @example Offer two subprotocols
 * ```ts
 * import { accept, connect } from "@sansio/websocket";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const accepted = listener.accept().then((conn) =>
 *   accept(conn, { protocols: ["chat"] })
 * );
 *
 * const ws = await connect(`ws://127.0.0.1:${listener.addr.port}/`, {
 *   protocols: ["superchat", "chat"],
 * });
 * assertEquals(ws.protocol, "chat");
 *
 * const server = await accepted;
 * await ws.close(1000, "Bye");
 * assertEquals((await server.closed).reason, "Bye");
 * listener.close();
 * ```
 *
 * @example A server that refuses
 * ```ts
 * import { connect, HandshakeError, serve } from "@sansio/websocket";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * await using server = serve(listener, {
 *   onRequest: () => {
 *     throw new HandshakeError("Log in first", { status: 401 });
 *   },
 *   onConnection: () => {},
 * });
 *
 * const error = await assertRejects(
 *   () => connect(`ws://127.0.0.1:${listener.addr.port}/`),
 *   HandshakeError,
 * );
 * assertEquals(error.status, 401);
 * ```
 */
export async function connect(
  url: string | URL,
  options: ConnectOptions = {},
): Promise<WebSocketConnection> {
  const { extensions = [], handshakeTimeout = 10_000, signal } = options;
  assertAtLeast("handshakeTimeout", handshakeTimeout, 0);
  checkLimits(options);
  headLimits(options);
  const sent = buildUpgradeRequest(url, {
    protocols: options.protocols,
    headers: options.headers,
    origin: options.origin,
    extensions: extensions.flatMap((extension) =>
      extension.offers().map((parameters) => ({
        name: extension.name,
        parameters,
      }))
    ),
  });
  signal?.throwIfAborted();
  // Dialling takes part of the time, and is given up with it.
  const began = performance.now();
  const duplex = await dialWithin(sent, options, handshakeTimeout);
  const left = Math.max(1, handshakeTimeout - (performance.now() - began));
  return await withinLimits(
    duplex,
    { timeout: handshakeTimeout, left, timeoutStatus: 0, signal },
    () => shakeHands(duplex, sent, options),
  );
}

async function shakeHands(
  duplex: ByteDuplex,
  sent: BuiltUpgradeRequest,
  options: ConnectOptions,
): Promise<WebSocketConnection> {
  try {
    duplex.setNoDelay?.(true); // throws if the peer has reset the stream
    await writeAll(duplex, sent.bytes);
    let received: Uint8Array<ArrayBuffer> | undefined;
    for (let left = MAX_INTERIM;; left--) {
      const { head, rest } = await readHead(
        duplex,
        (bytes) => parseResponseHead(bytes, options),
        { received, closedStatus: 0 },
      ) ?? ended();
      received = rest;
      // RFC 9110 §15.2: interim answers may come before the final one
      if (head.status < 200 && head.status !== 101) {
        if (left > 0) continue;
        throw new HandshakeError(
          `The server sent more than ${MAX_INTERIM} interim answers`,
          { status: head.status, kind: "limit" },
        );
      }
      const { protocol, extensions } = verifyUpgradeResponse(head, sent);
      return new WebSocketConnection(duplex, {
        ...options,
        role: "client",
        protocol,
        extension: confirm(extensions, options.extensions ?? [], head.headers),
        rest,
      });
    }
  } catch (error) {
    close(duplex);
    throw error;
  }
}

function ended(): never {
  throw new HandshakeError("The server closed the connection unanswered", {
    status: 0,
    kind: "closed",
  });
}

/**
 * The extension that the server has chosen among those offered (RFC 6455 §9.1).
 */
function confirm(
  chosen: ReturnType<typeof verifyUpgradeResponse>["extensions"],
  offered: readonly Extension[],
  headers: Headers,
): NegotiatedExtension | undefined {
  if (chosen.length === 0) return undefined;
  try {
    const { name, parameters } = chosen[0]!;
    if (chosen.length > 1) throw new Error("One at a time is supported");
    const extension = offered.find((extension) => extension.name === name)!;
    return extension.confirm(parameters);
  } catch (cause) {
    const answer = headers.get("sec-websocket-extensions")!;
    throw new HandshakeError(
      `The server's extensions cannot be used, got ${quote(answer)}: ${
        (cause as Error).message
      }`,
      { status: 101, kind: "extensions", headers, cause },
    );
  }
}

/** Dials, within the time; a stream that comes too late is closed. */
async function dialWithin(
  { hostname, port, secure }: BuiltUpgradeRequest,
  options: ConnectOptions,
  timeout: number,
): Promise<ByteDuplex> {
  const giveUp = new AbortController();
  const onAbort = (): void => giveUp.abort(options.signal!.reason);
  options.signal?.addEventListener("abort", onAbort);
  const onDeadline = (): void =>
    giveUp.abort(
      new HandshakeError(`The handshake took more than ${timeout} ms`, {
        status: 0,
        kind: "timeout",
      }),
    );
  const deadline = timeout === 0
    ? undefined
    : new Deadline(timeout, { onDeadline });
  const target = { hostname, port, secure, signal: giveUp.signal };
  const dial = options.dial ?? ((target) => dialDeno(target, options.caCerts));
  const dialling = (async () => toByteDuplex(await dial(target)))();
  try {
    return await new Promise<ByteDuplex>((resolve, reject) => {
      const onGiveUp = (): void => {
        reject(giveUp.signal.reason);
        dialling.then(close, () => {});
      };
      // `dial` may have aborted the signal itself.
      if (giveUp.signal.aborted) return onGiveUp();
      giveUp.signal.addEventListener("abort", onGiveUp);
      dialling.then(resolve, reject);
    });
  } finally {
    deadline?.cancel();
    options.signal?.removeEventListener("abort", onAbort);
  }
}

async function dialDeno(
  { hostname, port, secure, signal }: DialTarget,
  caCerts: readonly string[] = [],
): Promise<Duplex> {
  if (typeof Deno === "undefined") {
    throw new TypeError(
      "Outside Deno, the option `dial` has to open the byte stream",
    );
  }
  const conn = await Deno.connect({ hostname, port, signal });
  if (!secure) return conn;
  try {
    // What Deno.connectTls() opens cannot be told so: the end of a message of 64
    // KiB would wait until what came before it is acknowledged, for 40 ms.
    conn.setNoDelay(true); // throws if the peer has reset the stream
    return await Deno.startTls(conn, { hostname, caCerts: [...caCerts] });
  } catch (error) {
    close(conn);
    throw error;
  }
}
