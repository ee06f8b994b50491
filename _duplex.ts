/**
 * The transports that a connection can run on, and the one interface to them
 * all.
 *
 * @module
 */

import { Deadline } from "./_deadline.ts";

/**
 * A byte stream in both directions that is read into memory of the caller's,
 * as `Deno.TcpConn`, `Deno.TlsConn` and `Deno.UnixConn` are.
 *
 * @example A stream that counts what is written
 * ```ts
 * import { accept, type ByteDuplex, connect } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const [here, there] = duplexPair();
 * let written = 0;
 * const counted: ByteDuplex = {
 *   read: (into) => there.read(into),
 *   write: async (bytes) => {
 *     const length = await there.write(bytes);
 *     written += length;
 *     return length;
 *   },
 *   close: () => there.close(),
 * };
 *
 * const accepting = accept(here);
 * const client = await connect("ws://test/", { dial: () => counted });
 * const server = await accepting;
 * written = 0; // the handshake has been
 * client.send("Hello");
 * assertEquals(await server.receive(), "Hello");
 * assertEquals(written, 6 + 5); // a header with its masking key, and the text
 * await client.close();
 * ```
 */
export interface ByteDuplex {
  /**
   * Reads some bytes. Not called again before it has settled.
   *
   * @param into Where to put them, from its beginning.
   * @returns How many they are, or `null` at the end.
   */
  read(into: Uint8Array<ArrayBuffer>): Promise<number | null>;
  /**
   * Writes some bytes. Not called again before it has settled.
   *
   * @param bytes What to write. Its memory is used again once this has settled.
   * @returns How many have been written, from the beginning.
   */
  write(bytes: Uint8Array): Promise<number>;
  /** Ends both directions at once; pending calls are rejected or resolved. */
  close(): void;
  /**
   * Ends the direction of writing (a TCP FIN), if that can be done apart.
   *
   * @returns Resolved when that is done.
   */
  closeWrite?(): Promise<void>;
  /**
   * Sends small packets at once (TCP_NODELAY).
   *
   * @param noDelay Whether to do so.
   */
  setNoDelay?(noDelay?: boolean): void;
  /**
   * Who the peer is.
   *
   * @default {undefined} (unknown)
   */
  readonly remoteAddr?: RemoteAddress | undefined;
}

/**
 * A pair of web streams, as a worker's TCP socket or an HTTP/2 stream is.
 *
 * @example Two streams that are joined crosswise
 * ```ts
 * import { accept, connect, type StreamDuplex } from "@sansio/websocket";
 * import { assertEquals } from "@std/assert";
 *
 * const up = new TransformStream<Uint8Array, Uint8Array>();
 * const down = new TransformStream<Uint8Array, Uint8Array>();
 * const here: StreamDuplex = {
 *   readable: up.readable,
 *   writable: down.writable,
 * };
 * const there: StreamDuplex = {
 *   readable: down.readable,
 *   writable: up.writable,
 * };
 *
 * const accepting = accept(here);
 * const client = await connect("ws://test/", { dial: () => there });
 * const server = await accepting;
 * client.send("Hello");
 * assertEquals(await server.receive(), "Hello");
 * await client.close();
 * ```
 */
export interface StreamDuplex {
  /** What the peer sends. */
  readonly readable: ReadableStream<Uint8Array>;
  /** What is sent to the peer. */
  readonly writable: WritableStream<Uint8Array>;
  /**
   * Ends both directions at once, if there is a way to do so besides cancelling
   * and aborting the streams.
   *
   * @returns Of no interest, and nor is that it fails.
   */
  close?(): unknown;
  /**
   * Who the peer is.
   *
   * @default {undefined} (`{ transport: "stream" }`)
   */
  readonly remoteAddr?: RemoteAddress | undefined;
}

/** Who a peer is, as `Deno.Addr` says it. */
export interface RemoteAddress {
  /** Such as "tcp" or "unix". */
  readonly transport: string;
  /** The IP address. */
  readonly hostname?: string | undefined;
  /** The port. */
  readonly port?: number | undefined;
  /** The path of a Unix socket. */
  readonly path?: string | undefined;
}

/** What a connection can run on. */
export type Duplex = ByteDuplex | StreamDuplex;

// readRequest() and accept() on the same pair of streams share its reader.
const known = new WeakMap<StreamDuplex, ByteDuplex>();

/** Gives a pair of streams the shape of {@linkcode ByteDuplex}. */
export function toByteDuplex(duplex: Duplex): ByteDuplex {
  if ("read" in duplex && "write" in duplex) return duplex;
  let bytes = known.get(duplex);
  if (bytes === undefined) {
    bytes = new StreamByteDuplex(duplex);
    known.set(duplex, bytes);
  }
  return bytes;
}

// How much is written at once, in bytes: it is copied, and a peer that reads
// slowly shows that it is alive with each write that it has taken.
const LARGEST_WRITE = 65536;

// How long a stream may take to end by itself, in milliseconds.
const FINISH_TIME = 1000;

class StreamByteDuplex implements ByteDuplex {
  readonly #duplex: StreamDuplex;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  #isWriting = false;
  #closing: Promise<void> | undefined;
  #isCut = false;

  constructor(duplex: StreamDuplex) {
    this.#duplex = duplex;
    this.#reader = duplex.readable.getReader();
    this.#writer = duplex.writable.getWriter();
    // Failures are reported by read() and write().
    this.#reader.closed.catch(() => {});
    this.#writer.closed.catch(() => {});
    this.#writer.ready.catch(() => {});
  }

  get remoteAddr(): RemoteAddress {
    return this.#duplex.remoteAddr ?? { transport: "stream" };
  }

  async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#reader.read();
      if (done) return null;
      this.#rest = value;
    }
    const length = Math.min(into.length, this.#rest.length);
    into.set(this.#rest.subarray(0, length));
    this.#rest = this.#rest.subarray(length);
    return length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    // A copy: the stream may keep it, and our memory is used again. Not by
    // slice(), which does not copy if it is that of Node's Buffer.
    const part = new Uint8Array(bytes.subarray(0, LARGEST_WRITE));
    this.#isWriting = true;
    await this.#writer.write(part);
    this.#isWriting = false;
    return part.length;
  }

  closeWrite(): Promise<void> {
    return this.#closing ??= this.#writer.close();
  }

  close(): void {
    // The stream may still hold what was written, our Close frame among it: to
    // abort would discard that.
    if (this.#isWriting) this.#cut();
    else this.#finish();
  }

  async #finish(): Promise<void> {
    const onDeadline = (): void => this.#cut();
    const deadline = new Deadline(FINISH_TIME, { onDeadline });
    try {
      await this.closeWrite();
    } catch {
      // The stream has failed, and has nothing left to write.
    }
    deadline.cancel();
    this.#cut();
  }

  #cut(): void {
    if (this.#isCut) return;
    this.#isCut = true;
    const error = new Error("The connection is closed");
    this.#reader.cancel(error).catch(() => {});
    this.#writer.abort(error).catch(() => {});
    try {
      const closing = this.#duplex.close?.();
      if (closing instanceof Promise) closing.catch(() => {});
    } catch {
      // It is closed already.
    }
  }
}
