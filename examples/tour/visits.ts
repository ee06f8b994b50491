/**
 * The tour's connections. A page opens two with an id that it makes up:
 * `/inspect/ID` first, on which it gives orders and gets reports on the
 * other one, `/tour/ID`. Reports go over the former alone,
 * so that reports do not report themselves.
 *
 * @module
 */
import { crypto } from "@std/crypto";
import { encodeBase64 } from "@std/encoding/base64";
import { encodeHex } from "@std/encoding/hex";
import {
  CloseCode,
  type CloseInfo,
  ConnectionClosedError,
  HandshakeError,
  isOriginAllowed,
  type UpgradeRequest,
  type WebSocketConnection,
} from "../../mod.ts";
import type { Handshake, SeenFrame } from "./wiretap.ts";

// 128 bits, so that nobody can guess the id of another page.
const PATH = /^\/(inspect|tour)\/([0-9a-f]{32})(\?.*)?$/;

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** How much may wait for a page that is slower than its frames, in bytes. */
const BACKLOG = 256 * 1024;

const PUSH_INTERVAL = 250;
const PUSH_STEP = 2;

/**
 * Any page may talk to the echo; what the tour shows is for its own page.
 *
 * @throws {HandshakeError} With 403.
 */
export function checkOrigin({ origin, host, target }: UpgradeRequest): void {
  if (origin === undefined || !PATH.test(target)) return;
  if (isOriginAllowed(origin, [], host)) return;
  throw new HandshakeError("This path is for the tour's own page", {
    status: 403,
    kind: "origin",
  });
}

/** The orders of a page. */
type Order =
  | { do: "ping" }
  | { do: "push"; on: boolean }
  | { do: "close"; code: number; reason: string };

/** All pages that are open. */
export class Visits {
  readonly #visits = new Map<string, Visit>();

  /** Serves a connection until it is closed. */
  async serve(ws: WebSocketConnection): Promise<void> {
    const [, kind, id = ""] = PATH.exec(ws.request?.target ?? "") ?? [];
    if (kind === "inspect") await this.#inspect(id, ws);
    else if (kind === "tour") await this.#tour(this.#visits.get(id), ws);
    else await echo(ws);
  }

  /** The visit to report the frames of a connection to. */
  find(handshake: Handshake): ((frame: SeenFrame) => void) | undefined {
    const [, kind, id = ""] = PATH.exec(handshake.target) ?? [];
    return kind === "tour"
      ? this.#visits.get(id)?.onHandshake(handshake)
      : undefined;
  }

  async #inspect(id: string, ws: WebSocketConnection): Promise<void> {
    if (this.#visits.has(id)) {
      await ws.close(CloseCode.PolicyViolation, "This id is taken");
      return;
    }
    const visit = new Visit(ws);
    this.#visits.set(id, visit);
    try {
      visit.report({ type: "ready" });
      for await (const message of ws) visit.obey(readOrder(message));
    } finally {
      this.#visits.delete(id);
    }
  }

  async #tour(
    visit: Visit | undefined,
    ws: WebSocketConnection,
  ): Promise<void> {
    if (visit === undefined) {
      await ws.close(CloseCode.PolicyViolation, "Nobody inspects this id");
      return;
    }
    visit.enter(ws);
    try {
      await echo(ws);
    } finally {
      ws.closed.then((info) => visit.leave(ws, info));
    }
  }
}

async function echo(ws: WebSocketConnection): Promise<void> {
  for await (const message of ws) await ws.send(message);
}

/** One page: the connection that inspects, and the one that is inspected. */
class Visit {
  readonly #inspector: WebSocketConnection;
  #ws: WebSocketConnection | undefined;
  #pusher: ReturnType<typeof setInterval> | undefined;
  #missed = 0;
  #connections = 0;
  #isPinging = false;

  constructor(inspector: WebSocketConnection) {
    this.#inspector = inspector;
  }

  /** Sends a report to the page, unless it is too far behind. */
  report(report: Record<string, unknown>): void {
    if (!this.#inspector.isOpen) return;
    if (this.#inspector.bufferedAmount > BACKLOG) {
      this.#missed++;
      return;
    }
    const missed = this.#missed;
    this.#missed = 0;
    this.#tell(missed > 0 ? { ...report, missed } : report);
  }

  #tell(report: Record<string, unknown>): void {
    // Not awaited: the limit on the backlog above is enough.
    this.#inspector.send(JSON.stringify(report)).catch(() => {});
  }

  onHandshake(handshake: Handshake): (frame: SeenFrame) => void {
    const { request, response, key, accept } = handshake;
    // The steps of acceptKey() in handshake.ts.
    const text = new TextEncoder().encode(key + GUID);
    const digest = crypto.subtle.digestSync("SHA-1", text);
    const connection = ++this.#connections;
    this.report({
      type: "handshake",
      connection,
      request,
      response,
      key,
      guid: GUID,
      digest: encodeHex(digest),
      encoded: encodeBase64(digest),
      accept,
    });
    const begin = performance.now();
    return ({ from, wire, inflated }) => {
      this.report({
        type: "frame",
        connection,
        from,
        at: performance.now() - begin,
        wire: encodeHex(wire),
        inflated: inflated && {
          length: inflated.length,
          start: encodeHex(inflated.start),
        },
      });
    };
  }

  enter(ws: WebSocketConnection): void {
    this.#ws?.close(CloseCode.PolicyViolation, "One connection a page");
    this.#ws = ws;
    this.#push(true);
  }

  leave(ws: WebSocketConnection, { code, reason, wasClean }: CloseInfo): void {
    if (this.#ws !== ws) return;
    this.#push(false);
    this.#ws = undefined;
    this.#tell({ type: "closed", code, reason, wasClean });
  }

  obey(order: Order | undefined): void {
    if (order === undefined) {
      this.#inspector.close(CloseCode.UnsupportedData, "Not an order");
    } else if (order.do === "ping") this.#ping();
    else if (order.do === "push") this.#push(order.on);
    else this.#close(order.code, order.reason);
  }

  async #ping(): Promise<void> {
    // A peer that does not answer could be owed any number of them.
    if (this.#isPinging) return;
    this.#isPinging = true;
    try {
      const milliseconds = await this.#ws?.ping();
      this.report({ type: "pong", milliseconds });
    } catch (error) {
      if (!(error instanceof ConnectionClosedError)) throw error;
    } finally {
      this.#isPinging = false;
    }
  }

  /** Begins, or stops, to push messages. */
  #push(on: boolean): void {
    clearInterval(this.#pusher);
    this.#pusher = undefined;
    const ws = this.#ws;
    if (!on || ws === undefined) return;
    let progress = 0;
    this.#pusher = setInterval(() => {
      // Nothing is sent to a page that does not read.
      if (!ws.isOpen || ws.bufferedAmount > 0) return;
      progress += PUSH_STEP;
      ws.send(JSON.stringify({ progress, of: 100 })).catch(() => {});
      if (progress >= 100) this.#push(false);
    }, PUSH_INTERVAL);
  }

  #close(code: number, reason: string): void {
    // Each call is kept until the closing handshake has ended.
    if (!this.#ws?.isOpen) return;
    this.#ws.close(code, reason).catch((error: Error) => {
      // A code that must not be sent, or a reason that is too long.
      this.report({ type: "refused", message: error.message });
    });
  }
}

/** An order, if it is one. */
function readOrder(message: unknown): Order | undefined {
  const order = parse(message) as Record<string, unknown> | null | undefined;
  switch (order?.["do"]) {
    case "ping":
      return { do: "ping" };
    case "push":
      return { do: "push", on: order["on"] === true };
    case "close": {
      const { code, reason } = order;
      return typeof code === "number" && typeof reason === "string"
        ? { do: "close", code, reason }
        : undefined;
    }
    default:
      return undefined;
  }
}

function parse(message: unknown): unknown {
  try {
    return typeof message === "string" ? JSON.parse(message) : undefined;
  } catch {
    return undefined;
  }
}
