/** What the tests with other implementations have in common. */
import { accept, type AcceptOptions } from "../accept.ts";
import type { Message, WebSocketConnection } from "../connection.ts";
import type { CloseInfo } from "../protocol.ts";

/** Lengths at which the header, the buffer or the way of writing changes. */
export const LENGTHS: number[] = [
  ...[0, 1, 2, 31, 32, 33, 124, 125, 126, 127, 128, 1023, 1024, 4096],
  ...[16383, 16384, 65534, 65535, 65536, 65537, 131071, 131072, 131073],
  ...[262144, 1_000_000, 4_194_304],
];

/**
 * Bytes of that length, in which a part that is shifted shows; made quickly.
 */
export function bytesOf(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + (i >> 8) * 7;
  return bytes;
}

/** A text of that many bytes, most of its characters two bytes long. */
export function textOf(length: number): string {
  return "é".repeat(length >> 1) + "x".repeat(length & 1);
}

/** Close codes that either side may send, with reasons. */
export const CLOSES: [code: number, reason: string][] = [
  [1000, ""],
  [1000, "done"],
  [1001, "going away"],
  [1003, ""],
  [1008, "é".repeat(61)],
  [1011, "oops"],
  [1013, "later"],
  [3000, "registered"],
  [4999, "x".repeat(123)],
];

/** A server of ours at a free port of this machine. */
export class OurServer implements AsyncDisposable {
  readonly #listener: Deno.Listener;
  readonly port: number;
  /** How the connections ended, in that order. */
  readonly ended: CloseInfo[] = [];
  readonly #running: Promise<unknown>[] = [];
  readonly #open = new Set<WebSocketConnection>();
  #next = Promise.withResolvers<WebSocketConnection>();

  /** @param handle Serves a connection; by default all is sent back. */
  constructor(
    options: AcceptOptions = {},
    handle: (ws: WebSocketConnection) => Promise<void> = echo,
    listener: Deno.Listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  ) {
    this.#listener = listener;
    this.port = (listener.addr as Deno.NetAddr).port;
    this.#running.push(this.#accept(options, handle));
  }

  async #accept(
    options: AcceptOptions,
    handle: (ws: WebSocketConnection) => Promise<void>,
  ): Promise<void> {
    for await (const conn of this.#listener) {
      this.#running.push(this.#serve(conn, options, handle).catch(() => {}));
    }
  }

  async #serve(
    conn: Deno.Conn,
    options: AcceptOptions,
    handle: (ws: WebSocketConnection) => Promise<void>,
  ): Promise<void> {
    const ws = await accept(conn, options);
    this.#open.add(ws);
    this.#next.resolve(ws);
    this.#next = Promise.withResolvers();
    try {
      await handle(ws);
    } finally {
      this.ended.push(await ws.closed);
      this.#open.delete(ws);
    }
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/`;
  }

  /** The next connection that is accepted from now on. */
  next(): Promise<WebSocketConnection> {
    return this.#next.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const ws of this.#open) ws.terminate();
    await Promise.all(this.#running);
  }
}

/** Sends all messages back. */
export async function echo(ws: WebSocketConnection): Promise<void> {
  await ws.forEach((message) => ws.send(message)).catch(() => {});
}

/** Whether two messages are equal, without a report of the difference. */
export function isSame(a: Message | undefined, b: Message): boolean {
  if (typeof a !== "object" || typeof b !== "object") return a === b;
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
