/**
 * The transports a connection runs on, reduced to one shape.
 *
 * @module
 */

/**
 * A byte stream in both directions that is read into memory of the caller's,
 * as `Deno.TcpConn`, `Deno.TlsConn` and `Deno.UnixConn` are.
 */
export interface ByteDuplex {
  /**
   * Reads some bytes; resolves to how many, or `null` at the end. Not called
   * again before it has settled.
   */
  read(into: Uint8Array<ArrayBuffer>): Promise<number | null>;
  /**
   * Writes some bytes; resolves to how many. Not called again before it has
   * settled.
   */
  write(bytes: Uint8Array): Promise<number>;
  /** Ends both directions at once; pending calls are rejected or resolved. */
  close(): void;
  /** Ends the direction of writing (a TCP FIN), if that can be done apart. */
  closeWrite?(): Promise<void>;
  /** Sends small packets at once. */
  setNoDelay?(noDelay?: boolean): void;
  /** Who the peer is. */
  readonly remoteAddr?: RemoteAddress | undefined;
}

/**
 * A pair of web streams, as a worker's TCP socket or an HTTP/2 stream is.
 */
export interface StreamDuplex {
  /** What the peer sends. */
  readonly readable: ReadableStream<Uint8Array>;
  /** What is sent to the peer. */
  readonly writable: WritableStream<Uint8Array>;
  /** Ends both directions at once, if there is a way to do so. */
  close?(): unknown;
  /** Who the peer is. */
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

// Who has read a request off a pair of streams goes on with the same reader.
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

// How much is written at once, in bytes: that a peer reads shows in what it has
// taken, and a copy is made of no more.
const LARGEST_WRITE = 65536;

class StreamByteDuplex implements ByteDuplex {
  readonly #duplex: StreamDuplex;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

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
    // The stream may keep what it is given, and our memory is used again.
    const part = bytes.slice(0, LARGEST_WRITE);
    await this.#writer.write(part);
    return part.length;
  }

  async closeWrite(): Promise<void> {
    await this.#writer.close();
  }

  close(): void {
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
