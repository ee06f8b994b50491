/**
 * A server on any listener: one loop that accepts connections, answers plain
 * requests, and hands over those that become WebSockets.
 *
 * It is no general web server. It speaks HTTP/1.1, one request after the other on
 * each connection; the body of a request comes whole, is limited, and needs a
 * `Content-Length` (411 without). That is enough for the pages and the few
 * requests that go with a WebSocket, at the same port.
 *
 * @example A page, and an echo
 * ```ts
 * import { connect, serve } from "@sansio/websocket";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const server = serve(listener, {
 *   handler: () => new Response("A page"),
 *   onConnection: (ws) => ws.forEach((message) => ws.send(message)),
 * });
 *
 * const { port } = listener.addr;
 * const page = await fetch(`http://127.0.0.1:${port}/`);
 * assertEquals(await page.text(), "A page");
 *
 * const ws = await connect(`ws://127.0.0.1:${port}/`);
 * await ws.send("Hello");
 * assertEquals(await ws.receive(), "Hello");
 * await ws.close();
 * await server.shutdown();
 * ```
 *
 * @module
 */

import {
  accept,
  type AnswerOptions,
  readRequest,
  type ReceivedRequest,
  type RequestContext,
} from "./accept.ts";
import {
  ConnectionClosedError,
  type ConnectionOptions,
  type Duplex,
  type HandshakeOptions,
  type WebSocketConnection,
} from "./connection.ts";
import { CloseCode } from "./frame.ts";
import { HandshakeError, isUpgrade, rejectUpgrade } from "./handshake.ts";
import { Deadline } from "./_deadline.ts";
import { type ByteDuplex, toByteDuplex } from "./_duplex.ts";
import { finished } from "./_finished.ts";
import { Exchange } from "./_http.ts";
import { headLimits } from "./_http_head.ts";
import { assertAtLeast } from "./_at_least.ts";
import { checkLimits } from "./_limits.ts";
import { close, lingerAndClose, wasSilent } from "./_opening.ts";
import { checkAllowList } from "./_origin.ts";
import { addWork, mayGoOn, takeTurns } from "./_turns.ts";

/**
 * Where connections come from: what `Deno.listen()` returns is one.
 *
 * @example A server without a network, for tests
 * ```ts
 * import {
 *   connect,
 *   type Duplex,
 *   type Listener,
 *   serve,
 * } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const { readable, writable } = new TransformStream<Duplex, Duplex>();
 * const reader = readable.getReader();
 * const listener: Listener = {
 *   accept: async () => {
 *     const { value, done } = await reader.read();
 *     if (done) throw new Error("The listener is closed");
 *     return value;
 *   },
 *   close: () => reader.cancel(),
 * };
 * await using server = serve(listener, {
 *   onConnection: (ws) => ws.forEach((message) => ws.send(message)),
 * });
 *
 * const [here, there] = duplexPair();
 * writable.getWriter().write(here);
 * await using ws = await connect("ws://test/", { dial: () => there });
 * await ws.send("Hello");
 * assertEquals(await ws.receive(), "Hello");
 * ```
 */
export interface Listener {
  /**
   * Waits for the next connection. What it rejects with ends the loop if its
   * name is `BadResource`, and is reported otherwise; the loop goes on then.
   *
   * @returns The connection; it belongs to the server.
   */
  accept(): Promise<Duplex>;
  /** Ends it: nobody is accepted any more, and those who wait are rejected. */
  close(): void;
}

/**
 * Options of {@linkcode serve}.
 *
 * @example A page, a room, and limits
 * ```ts
 * import {
 *   connect,
 *   HandshakeError,
 *   serve,
 *   type ServeOptions,
 * } from "@sansio/websocket";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const options: ServeOptions = {
 *   handler: () => new Response("A page"),
 *   onRequest: ({ target }) => {
 *     if (target === "/room") return;
 *     throw new HandshakeError("There is no such room", { status: 404 });
 *   },
 *   onConnection: (ws) => ws.forEach((message) => ws.send(message)),
 *   maxConnections: 10_000,
 *   maxConnectionsPerAddress: 100,
 *   keepAliveTimeout: 5000, // milliseconds
 *   maxBodySize: 64 * 1024, // bytes
 * };
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * await using server = serve(listener, options);
 * const { port } = listener.addr;
 * await using ws = await connect(`ws://127.0.0.1:${port}/room`);
 * await ws.send("Hello");
 * assertEquals(await ws.receive(), "Hello");
 * await assertRejects(
 *   () => connect(`ws://127.0.0.1:${port}/cellar`),
 *   HandshakeError,
 * );
 * ```
 */
export interface ServeOptions
  extends AnswerOptions, ConnectionOptions, HandshakeOptions {
  /**
   * Takes over a connection. When it returns, the connection is closed with
   * 1000, and with 1011 when it throws, unless it is closed already.
   */
  onConnection: (ws: WebSocketConnection) => unknown;
  /**
   * Answers plain requests, as any `fetch`-style handler does.
   *
   * @default {undefined} (404 to all)
   */
  handler?:
    | ((
      request: Request,
      context: RequestContext,
    ) => Response | Promise<Response>)
    | undefined;
  /**
   * How many connections there may be; more are answered with 503.
   *
   * @default {Infinity}
   */
  maxConnections?: number | undefined;
  /**
   * How many of them may come from one IP address; of IPv6 the first 64 bits
   * count, which is what one household or machine is given. Behind a proxy all
   * come from its address: limit them there. Unix sockets have no addresses, and
   * are not limited by this.
   *
   * @default {Infinity}
   */
  maxConnectionsPerAddress?: number | undefined;
  /**
   * How long a connection is kept for another plain request, in milliseconds; 0
   * for ever.
   *
   * @default {15000}
   */
  keepAliveTimeout?: number | undefined;
  /**
   * The largest body of a plain request, in bytes; a larger one is refused with
   * 413.
   *
   * @default {1048576}
   */
  maxBodySize?: number | undefined;
  /**
   * Told of every error.
   *
   * @default {undefined} (a line on stderr, unless the peer is to blame)
   */
  onError?: ((error: unknown) => void) | undefined;
  /**
   * Shuts the server down, as {@linkcode Server.shutdown} does.
   *
   * @default {undefined}
   */
  signal?: AbortSignal | undefined;
}

/** Options of {@linkcode Server.shutdown}. */
export interface ShutdownOptions {
  /**
   * How long peers and handlers may take, in milliseconds, before they are cut
   * off; 0 for ever.
   *
   * @default {5000}
   */
  timeout?: number | undefined;
}

/**
 * A running server.
 *
 * @example Shut it down
 * ```ts
 * import { connect, serve } from "@sansio/websocket";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const server = serve(listener, {
 *   onConnection: (ws) => ws.forEach((message) => ws.send(message)),
 * });
 * const ws = await connect(`ws://127.0.0.1:${listener.addr.port}/`);
 *
 * server.shutdown({ timeout: 1000 }); // milliseconds
 * assertEquals((await ws.closed).code, 1001);
 * await server.finished;
 * ```
 */
export interface Server extends AsyncDisposable {
  /** Resolved when it listens no more, and all that was under way is done. */
  readonly finished: Promise<void>;
  /**
   * Stops: nobody is accepted any more, plain requests that have arrived are
   * answered, and WebSockets are closed with 1001, once their messages that have
   * arrived are handled.
   *
   * @param options How long that may take.
   * @returns Resolved when {@linkcode Server.finished} is.
   * @throws {RangeError} If the time is less than 0.
   */
  shutdown(options?: ShutdownOptions): Promise<void>;
}

const MAX_BODY_SIZE = 1024 * 1024;

// How much of the time to shut down is left for the closing handshakes, in
// milliseconds: this, or half of it.
const FAREWELL = 1000;

// How often a failure to accept is reported, in milliseconds.
const REPORT_EVERY = 10_000;

// For how long connections are accepted, in milliseconds, before those that
// have been accepted get a turn.
const ACCEPTING = 10;

const NOTHING = new Uint8Array(0);

/**
 * A client: waiting for its request, busy with it, or connected by WebSocket.
 */
interface Peer {
  readonly duplex: ByteDuplex;
  /** Whether it came by TLS. */
  readonly secure: boolean;
  /** Its network ({@linkcode networkOf}); `undefined` without an IP address. */
  readonly address: string | undefined;
  state: "waiting" | "busy" | WebSocketConnection;
}

/**
 * Serves all who connect, until it is shut down.
 *
 * @param listener Of TCP, TLS or Unix sockets, such as `Deno.listen()` returns.
 * It belongs to the server. To watch the bytes of connections, or to know more of
 * them, hand in one that wraps what another one accepts.
 * @param options What to serve, and to whom.
 * @returns The server, which is running already.
 * @throws {RangeError} If a limit of the server's own is out of range.
 * @throws {TypeError} If an entry of `origins` is not an origin.
 *
 * @example Until a signal is given
 * ```ts
 * import { connect, serve } from "@sansio/websocket";
 * import { assertEquals } from "@std/assert";
 *
 * const stopping = new AbortController();
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { finished } = serve(listener, {
 *   onConnection: (ws) => ws.forEach((message) => ws.send(message)),
 *   signal: stopping.signal,
 * });
 *
 * const ws = await connect(`ws://127.0.0.1:${listener.addr.port}/`);
 * await ws.send("Hello");
 * assertEquals(await ws.receive(), "Hello");
 *
 * stopping.abort();
 * assertEquals((await ws.closed).code, 1001); // the server goes away
 * await finished;
 * ```
 */
export function serve(listener: Listener, options: ServeOptions): Server {
  return new Loop(listener, options);
}

class Loop implements Server {
  readonly finished: Promise<void>;
  readonly #listener: Listener;
  readonly #options: ServeOptions;
  readonly #peers = new Set<Peer>();
  readonly #perAddress = new Map<string, number>();
  #finish!: () => void;
  // How many are running: the loop itself, and each connection with its
  // handler.
  #running = 1;
  #isStopping = false;

  constructor(listener: Listener, { signal, ...options }: ServeOptions) {
    for (const name of LIMITS) assertAtLeast(name, options[name], 0);
    checkLimits(options);
    headLimits(options);
    checkAllowList(options.origins ?? []);
    this.#listener = listener;
    this.#options = options;
    this.finished = new Promise((resolve) => this.#finish = resolve);
    const onAbort = () => this.shutdown();
    signal?.addEventListener("abort", onAbort);
    this.finished.then(() => signal?.removeEventListener("abort", onAbort));
    if (signal?.aborted) onAbort();
    this.#acceptAll();
  }

  async #acceptAll(): Promise<void> {
    let since = performance.now();
    let reportedAt = -Infinity;
    for (;;) {
      try {
        // However fast they come, those that are connected have their turns.
        if (performance.now() - since > ACCEPTING) {
          await othersTurn(0);
          since = performance.now();
        }
        this.#serve(await this.#listener.accept());
      } catch (error) {
        // The listener is closed, whatever it calls that.
        if (this.#isStopping || nameOf(error) === "BadResource") break;
        // Without a pause: a peer that resets its connection must not delay
        // others.
        if (GONE.has(nameOf(error))) continue;
        // Most likely there are no more file descriptors, until others are
        // closed. This may go on for long, so it is not reported each time.
        const now = performance.now();
        if (now - reportedAt >= REPORT_EVERY) {
          reportedAt = now;
          this.#report(error);
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    if (--this.#running === 0) this.#finish();
  }

  async #serve(duplex: Duplex): Promise<void> {
    let peer: Peer;
    try {
      peer = {
        duplex: toByteDuplex(duplex),
        secure: "handshake" in duplex,
        address: networkOf(duplex.remoteAddr?.hostname),
        state: "waiting",
      };
    } catch (error) {
      // Its streams are locked.
      this.#report(error);
      await closeUnused(duplex);
      return;
    }
    this.#running++;
    // In a function of its own, so that the request's memory is not kept.
    const ws = await this.#open(peer);
    if (ws !== undefined) {
      try {
        await this.#options.onConnection(ws);
        const { GoingAway, NormalClosure } = CloseCode;
        await ws.close(this.#isStopping ? GoingAway : NormalClosure);
      } catch (error) {
        this.#report(error);
        await ws.close(CloseCode.InternalError);
      }
    }
    this.#leave(peer);
    if (--this.#running === 0) this.#finish();
  }

  async #open(peer: Peer): Promise<WebSocketConnection | undefined> {
    const request = await this.#servePages(peer);
    if (request === undefined) return undefined;
    try {
      const ws = await accept(peer.duplex, { ...this.#options, request });
      peer.state = ws;
      // Its place is free when it is closed, even if the handler still runs.
      if (this.#isLimited) ws.closed.then(() => this.#leave(peer));
      if (!this.#isStopping) return ws;
      await ws.close(CloseCode.GoingAway);
    } catch (error) {
      this.#report(error); // it is answered already
    }
    return undefined;
  }

  /** Answers plain requests until there is one for an upgrade. */
  async #servePages(peer: Peer): Promise<ReceivedRequest | undefined> {
    const { duplex, secure } = peer;
    let isKeptAlive = false;
    let work = 0;
    try {
      this.#enter(peer);
      // Otherwise the body of an answer waits 40 ms until its head is
      // acknowledged.
      duplex.setNoDelay?.(true);
      const { maxHeadSize, maxHeaders } = this.#options;
      const { keepAliveTimeout = 15_000, maxBodySize = MAX_BODY_SIZE } =
        this.#options;
      let { handshakeTimeout } = this.#options;
      let rest: Uint8Array<ArrayBuffer> | undefined = NOTHING;
      while (rest !== undefined && !this.#isStopping) {
        peer.state = "waiting";
        const received = await readRequest(duplex, {
          maxHeadSize,
          maxHeaders,
          handshakeTimeout,
          rest,
        });
        if (received === undefined) break;
        peer.state = "busy";
        if (isUpgrade(received.head)) return received;
        const began = performance.now();
        const exchange = new Exchange(duplex, received, {
          secure,
          maxBodySize,
        });
        const response = await this.#answer(await exchange.request(), duplex);
        rest = await exchange.respond(response, { last: this.#isStopping });
        handshakeTimeout = keepAliveTimeout;
        isKeptAlive = true;
        work += addWork(began);
        // One packet may hold a thousand requests.
        if (!mayGoOn()) work = await othersTurn(work);
      }
      await lingerAndClose(duplex);
    } catch (error) {
      // Not reported: it was closed by shutdown(), or has had its pages and
      // asks for no more.
      const isIdle = peer.state === "waiting" &&
        (this.#isStopping || isKeptAlive && wasSilent(error));
      if (!isIdle) this.#report(error);
      if (!(error instanceof HandshakeError)) close(duplex);
      // A timeout has been answered already.
      else if (error.kind !== "timeout") {
        await lingerAndClose(duplex, rejectUpgrade(error));
      }
    }
    return undefined;
  }

  async #answer(
    request: Request,
    { remoteAddr }: ByteDuplex,
  ): Promise<Response> {
    try {
      return await this.#options.handler?.(request, { remoteAddr }) ??
        new Response("Not found\n", { status: 404 });
    } catch (error) {
      this.#report(error);
      return new Response("The server made a mistake\n", { status: 500 });
    }
  }

  // --- Who is there --------------------------------------------------------

  get #isLimited(): boolean {
    const { maxConnections, maxConnectionsPerAddress } = this.#options;
    return (maxConnections ?? maxConnectionsPerAddress) !== undefined;
  }

  #enter(peer: Peer): void {
    const { maxConnections, maxConnectionsPerAddress } = this.#options;
    const { address } = peer;
    check(this.#peers.size + 1, maxConnections, "The server");
    if (maxConnectionsPerAddress !== undefined && address !== undefined) {
      const count = (this.#perAddress.get(address) ?? 0) + 1;
      check(count, maxConnectionsPerAddress, "Your address");
      this.#perAddress.set(address, count);
    }
    this.#peers.add(peer);
  }

  #leave(peer: Peer): void {
    const { address } = peer;
    if (!this.#peers.delete(peer) || address === undefined) return;
    const count = this.#perAddress.get(address);
    if (count === undefined) return;
    if (count > 1) this.#perAddress.set(address, count - 1);
    else this.#perAddress.delete(address);
  }

  // --- The end -------------------------------------------------------------

  async shutdown({ timeout = 5000 }: ShutdownOptions = {}): Promise<void> {
    assertAtLeast("timeout", timeout, 0);
    if (!this.#isStopping) {
      this.#isStopping = true;
      close(this.#listener);
      for (const { duplex, state } of this.#peers) {
        if (state === "waiting") close(duplex);
        else if (state !== "busy") {
          // Its handler finishes with the messages that have arrived.
          finished(state).then(() => state.close(CloseCode.GoingAway));
        }
      }
    }
    const onDeadline = (): void => {
      for (const { duplex, state } of this.#peers) {
        if (typeof state === "string") close(duplex);
        else state.terminate();
      }
      this.#finish();
    };
    const onLastCall = (): void => {
      for (const { state } of this.#peers) {
        if (typeof state !== "string") state.close(CloseCode.GoingAway);
      }
    };
    const deadlines = timeout > 0
      ? [
        new Deadline(timeout - Math.min(FAREWELL, timeout / 2), {
          onDeadline: onLastCall,
        }),
        new Deadline(timeout, { onDeadline }),
      ]
      : [];
    await this.finished;
    for (const deadline of deadlines) deadline.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  #report(error: unknown): void {
    try {
      (this.#options.onError ?? logError)(error);
    } catch (mistake) {
      logError(mistake);
    }
  }
}

/** Closes a stream that cannot be used. */
async function closeUnused(duplex: Duplex): Promise<void> {
  try {
    await duplex.close?.();
  } catch {
    // There is nothing else to be done with it.
  }
}

/**
 * Waits until others have had their turn; takes and returns
 * {@linkcode TurnTaker.work}.
 */
function othersTurn(work: number): Promise<number> {
  return new Promise((resolve) =>
    takeTurns({
      work,
      onTurn() {
        resolve(this.work);
      },
      onMicrotask() {},
    })
  );
}

function check(count: number, limit = Infinity, whose: string): void {
  if (count <= limit) return;
  throw new HandshakeError(`${whose} has as many connections as it may`, {
    status: 503,
    headers: { "Retry-After": "10" },
  });
}

/**
 * The network of one household or machine. Of an IPv6 address it is the first
 * 64 bits (RFC 6177 §2), unless the address stands for one of IPv4 (RFC 4291
 * §2.5.5.2).
 */
function networkOf(address: string | undefined): string | undefined {
  if (address === undefined || !address.includes(":")) return address;
  const embedded = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (embedded !== null) return embedded[1];
  const [first = "", last = ""] = address.replace(/%.*$/, "").split("::");
  const before = first.split(":").filter((group) => group !== "");
  const after = last.split(":").filter((group) => group !== "");
  const zeros = Array(Math.max(0, 8 - before.length - after.length)).fill("0");
  const groups = address.includes("::")
    ? [...before, ...zeros, ...after]
    : before;
  return groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16))
    .join(":");
}

const LIMITS = [
  "maxConnections",
  "maxConnectionsPerAddress",
  "keepAliveTimeout",
  "handshakeTimeout",
  "maxBodySize",
] as const;

/** The name of an error, by which runtimes tell theirs apart. */
function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

/** Errors of accept() for a peer that has reset its connection before. */
const GONE: ReadonlySet<string> = new Set([
  "NotConnected",
  "ConnectionReset",
  "ConnectionAborted",
]);

/** Errors for a peer that is gone, or does not speak TLS. */
const PEERS: ReadonlySet<string> = new Set([
  ...GONE,
  "BrokenPipe",
  "TimedOut",
  "UnexpectedEof",
  "InvalidData",
]);

/** One line on stderr, unless the peer is to blame. */
function logError(error: unknown): void {
  const isPeers = error instanceof HandshakeError ||
    error instanceof ConnectionClosedError || PEERS.has(nameOf(error));
  if (isPeers) return;
  // The message, and where it happened.
  const text = error instanceof Error ? traceOf(error) : error;
  const [message, place] = String(text).split(/\n\s+at /);
  console.error(place === undefined ? message : `${message} (${place})`);
}

const NO_FILES = /\bE[MN]FILE\b|\bos error 2[34]\b/;

/** Where no file can be opened, Deno (2.9) panics as it makes a stack trace. */
function traceOf(error: Error): string {
  const { message } = error;
  return NO_FILES.test(message) ? `Error: ${message}` : error.stack ?? message;
}
