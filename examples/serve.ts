/**
 * A server on `Deno.listen`: one loop that accepts connections, answers plain
 * requests, and hands over those that become WebSockets. The other examples are
 * built on it, and so can your own server be.
 *
 * ```ts
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 8000 });
 * serve(listener, {
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
  type WebSocketConnection,
} from "../mod.ts";
import {
  close,
  hangUp,
  isKeptAlive,
  readWhole,
  refuse,
  writeResponse,
} from "./_http.ts";

/** Options of {@linkcode serve}. */
export interface ServeOptions
  extends Omit<AcceptOptions, "received" | "signal"> {
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
   * @default {a line on stderr for those that are not the peers'}
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
   * How long the peers may take, in milliseconds, before they are cut off.
   *
   * @default {5000}
   */
  grace?: number;
}

/** A running server. */
export interface Server {
  /** Where it listens. */
  readonly addr: Deno.Addr;
  /** Resolved when it listens no more, and the last connection is gone. */
  readonly finished: Promise<void>;
  /**
   * Stops: nobody is accepted any more, answers that are under way go out, and
   * WebSockets are closed with 1001.
   */
  shutdown(options?: ShutdownOptions): Promise<void>;
}

/** A connection, and what it is at. */
interface Peer {
  readonly scheme: "http" | "https";
  duplex: ByteDuplex;
  ws: WebSocketConnection | undefined;
  isIdle: boolean;
}

/** Serves all who connect to the listener, until `shutdown()`. */
export function serve(listener: Deno.Listener, options: ServeOptions): Server {
  return new Loop(listener, options);
}

class Loop implements Server {
  readonly addr: Deno.Addr;
  readonly finished: Promise<void>;
  readonly #listener: Deno.Listener;
  readonly #options: ServeOptions;
  readonly #peers = new Set<Peer>();
  readonly #addresses = new Map<string, number>();
  #isStopping = false;
  #onLastGone: (() => void) | undefined;

  constructor(listener: Deno.Listener, options: ServeOptions) {
    this.addr = listener.addr;
    this.#listener = listener;
    this.#options = options;
    this.finished = this.#acceptAll();
  }

  async #acceptAll(): Promise<void> {
    while (!this.#isStopping) {
      try {
        this.#serve(await this.#listener.accept());
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) break; // it is closed
        // Out of file descriptors, most likely, and some will be free again.
        this.#report(error);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    if (this.#peers.size > 0) {
      await new Promise<void>((resolve) => this.#onLastGone = resolve);
    }
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    const peer: Peer = {
      scheme: "handshake" in conn ? "https" : "http",
      duplex: conn,
      ws: undefined,
      isIdle: true,
    };
    const address = "hostname" in conn.remoteAddr
      ? conn.remoteAddr.hostname
      : "";
    this.#peers.add(peer);
    this.#count(address, 1);
    try {
      peer.duplex = this.#options.tap?.(conn) ?? conn;
      this.#checkLimits(address);
      const upgrade = await this.#servePages(peer);
      if (upgrade !== undefined) await this.#serveWebSocket(peer, upgrade);
    } catch (error) {
      if (error instanceof HandshakeError && peer.isIdle) {
        await refuse(peer.duplex, error);
      } else if (peer.ws === undefined) close(peer.duplex);
      this.#report(error);
    } finally {
      this.#count(address, -1);
      this.#peers.delete(peer);
      if (this.#peers.size === 0) this.#onLastGone?.();
    }
  }

  #count(address: string, change: 1 | -1): void {
    if (this.#options.maxConnectionsPerAddress === undefined) return;
    const count = (this.#addresses.get(address) ?? 0) + change;
    if (count > 0) this.#addresses.set(address, count);
    else this.#addresses.delete(address);
  }

  #checkLimits(address: string): void {
    const { maxConnections = Infinity, maxConnectionsPerAddress = Infinity } =
      this.#options;
    const isFull = this.#peers.size > maxConnections;
    if (
      !isFull && (this.#addresses.get(address) ?? 0) <= maxConnectionsPerAddress
    ) return;
    throw new HandshakeError(
      isFull
        ? "The server has as many connections as it takes"
        : "Your address has as many connections as it may",
      { status: 503, headers: { "Retry-After": "10" } },
    );
  }

  /** Answers plain requests until there is one for an upgrade. */
  async #servePages(peer: Peer): Promise<ReceivedRequest | undefined> {
    const { duplex } = peer;
    let limits = this.#options;
    let rest: Uint8Array<ArrayBuffer> | undefined;
    while (!this.#isStopping) {
      peer.isIdle = true;
      const received = await readRequest(duplex, limits, rest);
      if (received === undefined) break;
      if (isUpgrade(received.head)) {
        peer.isIdle = false;
        return received;
      }
      const whole = await readWhole(duplex, received, peer.scheme);
      rest = whole.rest;
      peer.isIdle = false;
      const { method, version } = received.head;
      const response = await this.#answer(whole.request);
      const keepAlive = isKeptAlive(received.head) && !this.#isStopping;
      const goesOn = await writeResponse(duplex, response, {
        method,
        version,
        keepAlive,
      });
      if (!goesOn) break;
      const { keepAliveTimeout = 15_000 } = this.#options;
      limits = { ...this.#options, handshakeTimeout: keepAliveTimeout };
    }
    await hangUp(duplex);
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

  async #serveWebSocket(peer: Peer, received: ReceivedRequest): Promise<void> {
    const ws = await accept(peer.duplex, { ...this.#options, received });
    peer.ws = ws;
    if (this.#isStopping) {
      await ws.close(CloseCode.GoingAway);
      return;
    }
    try {
      await this.#options.onConnection(ws);
      await ws.close();
    } catch (error) {
      this.#report(error);
      await ws.close(CloseCode.InternalError);
    }
  }

  #report(error: unknown): void {
    const { onError = logError } = this.#options;
    onError(error);
  }

  async shutdown({ grace = 5000 }: ShutdownOptions = {}): Promise<void> {
    if (!this.#isStopping) {
      this.#isStopping = true;
      this.#listener.close();
      for (const { ws, duplex, isIdle } of this.#peers) {
        if (ws !== undefined) ws.close(CloseCode.GoingAway);
        else if (isIdle) close(duplex);
      }
    }
    const timer = setTimeout(() => {
      for (const { ws, duplex } of this.#peers) {
        if (ws !== undefined) ws.terminate();
        else close(duplex);
      }
    }, grace);
    await this.finished;
    clearTimeout(timer);
  }
}

/** One line for what is not a peer's doing. */
function logError(error: unknown): void {
  const isPeers = error instanceof HandshakeError ||
    error instanceof ConnectionClosedError ||
    error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.UnexpectedEof ||
    error instanceof Deno.errors.InvalidData; // TLS
  if (!isPeers) console.error(`Error: ${String(error)}`);
}
