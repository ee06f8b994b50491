/**
 * A server on `Deno.listen`: one loop that accepts connections, answers plain
 * requests, and hands over those that become WebSockets. The other examples are
 * built on it, and your own server may be.
 *
 * ```ts ignore
 * serve(Deno.listen({ hostname: "127.0.0.1", port: 8000 }), {
 *   handler: () => new Response("A page"),
 *   onConnection: (ws) => ws.forEach((message) => ws.send(message)),
 * });
 * ```
 *
 * @module
 */

import {
  accept,
  type AcceptOptions,
  type ByteDuplex,
  CloseCode,
  ConnectionClosedError,
  HandshakeError,
  isUpgrade,
  readRequest,
  type ReceivedRequest,
  rejectUpgrade,
  type WebSocketConnection,
} from "../mod.ts";
import { close, Exchange, hangUp } from "./_http.ts";

const NOTHING = new Uint8Array(0);

/** Options of {@linkcode serve}. */
export interface ServeOptions
  extends Omit<AcceptOptions, "request" | "signal"> {
  /**
   * Answers plain requests, as any `fetch`-style handler does.
   *
   * @default {404 to all}
   */
  handler?: (request: Request) => Response | Promise<Response>;
  /**
   * Takes over a connection. When it returns, the connection is closed with
   * 1000, and with 1011 when it throws, unless it is closed already.
   */
  onConnection: (ws: WebSocketConnection) => unknown;
  /**
   * How many connections there may be; more are answered with 503.
   *
   * @default {Infinity}
   */
  maxConnections?: number;
  /**
   * How many of them may come from one IP address.
   *
   * @default {Infinity}
   */
  maxConnectionsPerAddress?: number;
  /**
   * How long a connection is kept for another plain request, in milliseconds.
   *
   * @default {15000}
   */
  keepAliveTimeout?: number;
  /**
   * Told of every error.
   *
   * @default {a line on stderr, unless the peer is to blame}
   */
  onError?: (error: unknown) => void;
  /**
   * Wraps each stream, for instance to watch its bytes.
   *
   * @default {undefined} (as it is)
   */
  tap?: (conn: Deno.Conn) => ByteDuplex;
}

/** Options of {@linkcode Server.shutdown}. */
export interface ShutdownOptions {
  /**
   * How long peers and handlers may take, in milliseconds, before they are cut
   * off.
   *
   * @default {5000}
   */
  grace?: number;
}

/** A running server. */
export interface Server {
  /** Where it listens. */
  readonly addr: Deno.Addr;
  /** Resolved when it listens no more, and all that was under way is done. */
  readonly finished: Promise<void>;
  /**
   * Stops: nobody is accepted any more, plain requests that have arrived are
   * answered, and WebSockets are closed with 1001.
   */
  shutdown(options?: ShutdownOptions): Promise<void>;
}

/** A connection: waiting for a request, busy with one, or a WebSocket. */
interface Peer {
  readonly conn: Deno.Conn;
  duplex: ByteDuplex;
  state: "waiting" | "busy" | WebSocketConnection;
}

/**
 * Serves all who connect, until `shutdown()`.
 *
 * @param listener Of TCP, TLS or Unix sockets. It belongs to the server.
 * @param options What to serve, and to whom.
 */
export function serve(listener: Deno.Listener, options: ServeOptions): Server {
  return new Loop(listener, options);
}

class Loop implements Server {
  readonly addr: Deno.Addr;
  readonly finished: Promise<void>;
  readonly #listener: Deno.Listener;
  readonly #options: ServeOptions;
  readonly #peers = new Set<Peer>();
  readonly #perAddress = new Map<string, number>();
  readonly #finish: () => void;
  // The loop itself, and each connection with its handler.
  #running = 1;
  #isStopping = false;

  constructor(listener: Deno.Listener, options: ServeOptions) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.addr = listener.addr;
    this.finished = promise;
    this.#finish = resolve;
    this.#listener = listener;
    this.#options = options;
    this.#acceptAll();
  }

  async #acceptAll(): Promise<void> {
    let isFailing = false;
    for (;;) {
      try {
        this.#serve(await this.#listener.accept());
        isFailing = false;
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) break; // it is closed
        if (isGone(error)) continue; // to wait would let it stop all others
        // Out of file descriptors, most likely: some will be free again.
        if (!isFailing) this.#report(error);
        isFailing = true;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    if (--this.#running === 0) this.#finish();
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    const peer: Peer = { conn, duplex: conn, state: "waiting" };
    this.#running++;
    // What was needed to open it is not kept while it lasts.
    const ws = await this.#open(peer);
    if (ws !== undefined) {
      try {
        await this.#options.onConnection(ws);
        await ws.close();
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
      // Its place is free then, whatever the handler is still at.
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
    try {
      peer.duplex = this.#options.tap?.(peer.conn) ?? peer.conn;
      this.#enter(peer);
      const { duplex } = peer;
      // The body of an answer would wait for its head to be acknowledged: 40 ms.
      duplex.setNoDelay?.(true);
      let { handshakeTimeout } = this.#options;
      let rest: Uint8Array<ArrayBuffer> | undefined = NOTHING;
      while (rest !== undefined && !this.#isStopping) {
        peer.state = "waiting";
        const received = await readRequest(duplex, {
          ...this.#options,
          handshakeTimeout,
          received: rest,
        });
        if (received === undefined) break;
        peer.state = "busy";
        if (isUpgrade(received.head)) return received;
        const exchange = new Exchange(duplex, received, peer.conn);
        const response = await this.#answer(await exchange.request());
        rest = await exchange.respond(response, { last: this.#isStopping });
        handshakeTimeout = this.#options.keepAliveTimeout ?? 15_000;
      }
      await hangUp(duplex);
    } catch (error) {
      // Those who wait at the end are closed by shutdown().
      if (!this.#isStopping || peer.state !== "waiting") this.#report(error);
      if (error instanceof HandshakeError) {
        await hangUp(peer.duplex, rejectUpgrade(error));
      } else {
        close(peer.duplex);
      }
    }
    return undefined;
  }

  async #answer(request: Request): Promise<Response> {
    try {
      return await this.#options.handler?.(request) ??
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
    check(this.#peers.size + 1, maxConnections, "The server");
    if (maxConnectionsPerAddress !== undefined) {
      const address = addressOf(peer);
      const count = (this.#perAddress.get(address) ?? 0) + 1;
      check(count, maxConnectionsPerAddress, "Your address");
      this.#perAddress.set(address, count);
    }
    this.#peers.add(peer);
  }

  #leave(peer: Peer): void {
    if (!this.#peers.delete(peer)) return;
    if (this.#options.maxConnectionsPerAddress === undefined) return;
    const address = addressOf(peer);
    const count = this.#perAddress.get(address)! - 1;
    if (count > 0) this.#perAddress.set(address, count);
    else this.#perAddress.delete(address);
  }

  // --- The end -------------------------------------------------------------

  async shutdown({ grace = 5000 }: ShutdownOptions = {}): Promise<void> {
    if (!this.#isStopping) {
      this.#isStopping = true;
      close(this.#listener);
      for (const { duplex, state } of this.#peers) {
        if (state === "waiting") close(duplex);
        else if (state !== "busy") state.close(CloseCode.GoingAway);
      }
    }
    const timer = setTimeout(() => {
      for (const { duplex, state } of this.#peers) {
        if (typeof state === "string") close(duplex);
        else state.terminate();
      }
      this.#finish();
    }, grace);
    await this.finished;
    clearTimeout(timer);
  }

  #report(error: unknown): void {
    try {
      (this.#options.onError ?? logError)(error);
    } catch (mistake) {
      logError(mistake);
    }
  }
}

function check(count: number, limit = Infinity, whose: string): void {
  if (count <= limit) return;
  throw new HandshakeError(`${whose} has as many connections as it may`, {
    status: 503,
    headers: { "Retry-After": "10" },
  });
}

function addressOf({ conn: { remoteAddr } }: Peer): string {
  return "hostname" in remoteAddr ? remoteAddr.hostname : "";
}

/** Whether a peer has reset its connection before it was accepted. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotConnected ||
    error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted;
}

/** One line on stderr, unless the peer is to blame. */
function logError(error: unknown): void {
  const { errors } = Deno;
  const isPeers = error instanceof HandshakeError ||
    error instanceof ConnectionClosedError ||
    error instanceof errors.ConnectionReset ||
    error instanceof errors.ConnectionAborted ||
    error instanceof errors.BrokenPipe ||
    error instanceof errors.NotConnected ||
    error instanceof errors.TimedOut ||
    error instanceof errors.UnexpectedEof || // TLS, as the next one
    error instanceof errors.InvalidData;
  if (isPeers) return;
  // The message, and where it happened.
  const text = error instanceof Error ? error.stack ?? error.message : error;
  const [message, place] = String(text).split(/\n\s+at /);
  console.error(place === undefined ? message : `${message} (${place})`);
}
