/**
 * Quotes over one WebSocket: a page subscribes to symbols and unsubscribes from
 * them, gets a snapshot of each and then what changes, and says how much of it
 * it has dealt with. To one that falls behind, only the newest price of each
 * symbol is sent, when it has caught up.
 *
 * @module
 */

import {
  CloseCode,
  HandshakeError,
  Hub,
  type PreparedMessage,
  type RemoteAddress,
  type Subscriber,
  type WebSocketConnection,
} from "../../mod.ts";
import { permessageDeflate } from "../../deflate.ts";
import { RateLimit } from "../danmaku/pace.ts";
import { Meter, newTally, type Tally } from "../_meter.ts";
import type { TappedOptions } from "../_tap.ts";
import { GOODS, Market, type MarketOptions, type Quote } from "./market.ts";

const PATH = "/quotes";

/** How many unprocessed messages a page may have before it is too slow. */
export const WINDOW = 16;
/** How many bytes each of them counts for the hub. */
const WEIGHT = 256;
/**
 * How many snapshots a page gets a second, and how many at once: a snapshot is
 * much longer than the request for it.
 */
const SNAPSHOT_RATE = 64;
const SNAPSHOTS_AT_ONCE = 128;
/** How often a page gets a report on its traffic, in milliseconds. */
const COST_INTERVAL = 1000;
/** How often slow pages are looked at, in milliseconds. */
const CONFLATION_INTERVAL = 20;

/** The orders of a page. */
type Order =
  | { do: "subscribe" | "unsubscribe"; symbols: string[] }
  | { do: "read"; count: number }
  | { do: "conflate"; on: boolean }
  | { do: "time" };

/** The application. */
export class Quotes {
  readonly #page: (request: Request) => Response;
  readonly #hub = new Hub({
    slowPolicy: "conflate",
    slowThreshold: WINDOW * WEIGHT,
    conflationInterval: CONFLATION_INTERVAL,
  });
  // By the address of the peer: the same object for a connection and its stream.
  readonly #tallies = new WeakMap<RemoteAddress, Tally>();
  #feeds = 0;
  readonly market: Market;

  /** @param page Answers plain requests. */
  constructor(
    page: (request: Request) => Response,
    options: MarketOptions = {},
  ) {
    this.#page = page;
    this.market = new Market((quote) => this.#publish(quote), options);
  }

  /** The options for `serveTapped()`. */
  get serveOptions(): TappedOptions {
    return {
      maxMessageSize: 4096,
      // A page that wants everything, and does not read, is cut off.
      maxBufferedAmount: 1024 * 1024,
      // With context takeover, even messages of 50 bytes shrink to a third.
      extensions: [permessageDeflate({ threshold: 32 })],
      handler: this.#page,
      tap: (conn) => {
        const tally = newTally();
        this.#tallies.set(conn.remoteAddr, tally);
        return new Meter(
          conn,
          (target) => target === PATH ? tally : undefined,
        );
      },
      onRequest: ({ target }) => {
        if (target === PATH) return;
        throw new HandshakeError("Not found", { status: 404 });
      },
      onConnection: (ws) => this.#serve(ws),
    };
  }

  /**
   * One message for all subscribers; each connection compresses it for itself.
   */
  #publish({ symbol, n, price, at }: Quote): void {
    const message = { q: symbol, n, price, at: Math.round(at) };
    this.#hub.publish(symbol, JSON.stringify(message), { key: symbol });
  }

  async #serve(ws: WebSocketConnection): Promise<void> {
    const feed = new Feed(ws);
    const tally = this.#tallies.get(ws.remoteAddr!) ?? newTally();
    const timer = setInterval(() => feed.tellCost(tally), COST_INTERVAL);
    if (this.#feeds++ === 0) this.market.open();
    feed.tell({ type: "welcome", goods: GOODS });
    try {
      for await (const message of ws) {
        const order = readOrder(message);
        if (order === undefined) {
          await ws.close(CloseCode.UnsupportedData, "Not an order");
        } else await this.#obey(order, feed);
      }
    } finally {
      clearInterval(timer);
      this.#hub.remove(feed);
      if (--this.#feeds === 0) this.market.close();
    }
  }

  async #obey(order: Order, feed: Feed): Promise<void> {
    switch (order.do) {
      case "subscribe":
        for (const symbol of order.symbols) {
          if (this.#hub.has(symbol, feed)) continue;
          await feed.mayHaveSnapshot();
          if (!feed.isOpen) break;
          this.#hub.subscribe(symbol, feed);
          // The next quote is the one after this, whenever it comes.
          const snapshot = this.market.snapshot(symbol);
          await feed.tell({ type: "snapshot", ...snapshot });
        }
        break;
      case "unsubscribe":
        for (const symbol of order.symbols) this.#hub.unsubscribe(symbol, feed);
        break;
      case "read":
        feed.onRead(order.count);
        break;
      case "conflate":
        feed.conflates = order.on;
        break;
      case "time":
        await feed.tell({ type: "time", now: performance.now() });
    }
  }
}

/**
 * A page, as the hub sees it. What has been sent but not dealt with waits
 * somewhere, in the buffers of two machines or in the page: `bufferedAmount` of
 * the connection knows only what has not even left, and by then a slow page is
 * minutes behind.
 */
export class Feed implements Subscriber {
  readonly #ws: WebSocketConnection;
  #sent = 0;
  #read = 0;
  #bytes = 0;
  // The number of the message that had the last report.
  #costNumber = 0;
  readonly #snapshots = new RateLimit(SNAPSHOT_RATE, SNAPSHOTS_AT_ONCE);
  /** Whether only the newest quotes are wanted when it is too slow. */
  conflates = true;

  constructor(ws: WebSocketConnection) {
    this.#ws = ws;
  }

  get bufferedAmount(): number {
    if (!this.conflates) return 0;
    return this.#ws.bufferedAmount + (this.#sent - this.#read) * WEIGHT;
  }

  get isOpen(): boolean {
    return this.#ws.isOpen;
  }

  get closed(): Promise<unknown> {
    return this.#ws.closed;
  }

  send(message: PreparedMessage): Promise<void> {
    this.#sent++;
    this.#bytes += message.data.length;
    return this.#ws.send(message);
  }

  /** Waits until it has not had too many snapshots. */
  async mayHaveSnapshot(): Promise<void> {
    for (let wait; (wait = this.#snapshots.take()) > 0;) {
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  /** Sends a message to this page. */
  tell(what: unknown): Promise<void> {
    const message = JSON.stringify(what);
    this.#sent++;
    this.#bytes += message.length; // all of it is ASCII
    const sent = this.#ws.send(message);
    sent.catch(() => {}); // it is gone
    return sent;
  }

  /**
   * Reports the traffic: to a slow page too,
   * but not again before it has processed the last report.
   */
  tellCost({ down }: Tally): void {
    if (!this.#ws.isOpen) return;
    if (this.conflates && this.#read < this.#costNumber) return;
    const unread = this.#sent - this.#read;
    this.tell({ type: "cost", bytes: this.#bytes, wire: down, unread });
    this.#costNumber = this.#sent;
  }

  /** The page has processed that many messages in all. */
  onRead(count: number): void {
    if (count > this.#read && count <= this.#sent) this.#read = count;
  }

  close(code: number, reason: string): Promise<unknown> {
    return this.#ws.close(code, reason);
  }
}

function isGood(symbol: string): boolean {
  return Object.hasOwn(GOODS, symbol);
}

/** An order, if it is one. */
function readOrder(message: unknown): Order | undefined {
  let order: Record<string, unknown> | null;
  try {
    order = JSON.parse(`${message}`);
  } catch {
    return undefined;
  }
  const { symbols, count, on } = order ?? {};
  switch (order?.["do"]) {
    case "subscribe":
    case "unsubscribe": {
      const areKnown = Array.isArray(symbols) &&
        symbols.every((it) => typeof it === "string" && isGood(it));
      return areKnown ? { do: order["do"], symbols } : undefined;
    }
    case "read":
      return typeof count === "number" ? { do: "read", count } : undefined;
    case "conflate":
      return { do: "conflate", on: on === true };
    case "time":
      return { do: "time" };
    default:
      return undefined;
  }
}
