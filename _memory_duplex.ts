/**
 * Two ends of a byte stream in memory, for tests of what runs on one: its
 * capacity is limited, as a socket's is, and it can be made to stall, to hand
 * out bytes in pieces, to fail and to break. It uses no timer and no runtime's
 * own functions: what can happen has happened when the microtasks are through.
 *
 * @module
 */

import type { ByteDuplex, RemoteAddress } from "./_duplex.ts";

/** As `DuplexPairOptions` of testing.ts, which documents them. */
export interface MemoryDuplexOptions {
  capacity?: number | undefined;
  segment?: ((available: number) => number) | undefined;
  halfClose?: boolean | undefined;
}

/** One direction of a stream in memory. */
class Pipe {
  readonly #capacity: number;
  readonly #segment: (available: number) => number;
  #parts: Uint8Array[] = [];
  // How many of them have been read. They are removed together: to shift each
  // of many takes long.
  #readParts = 0;
  #length = 0;
  #isEnded = false;
  #failure: Error | undefined;
  #isStalled = false;
  #reading:
    | { into: Uint8Array; resolve(length: number | null): void; reject: Reject }
    | undefined;
  #writing:
    | { bytes: Uint8Array; resolve(length: number): void; reject: Reject }
    | undefined;

  constructor({ capacity = 65536, segment }: MemoryDuplexOptions) {
    this.#capacity = capacity;
    this.#segment = segment ?? ((available) => available);
  }

  get length(): number {
    return this.#length;
  }

  get isRead(): boolean {
    return this.#reading !== undefined;
  }

  get isWritten(): boolean {
    return this.#writing !== undefined;
  }

  read(into: Uint8Array): Promise<number | null> {
    if (this.#reading !== undefined) {
      throw new Error("A read is pending already");
    }
    return new Promise((resolve, reject) => {
      this.#reading = { into, resolve, reject };
      this.#move();
    });
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.#writing !== undefined) {
      throw new Error("A write is pending already");
    }
    return new Promise((resolve, reject) => {
      this.#writing = { bytes, resolve, reject };
      this.#move();
    });
  }

  /** Ends the writing; what is on the way can still be read. */
  end(): void {
    this.#isEnded = true;
    this.#reject("writing", new Error("This end is closed"));
    this.#move();
  }

  /** Makes what is pending, and all that follows, reject. */
  fail(error: Error, side: "reading" | "writing" | "both" = "both"): void {
    this.#failure ??= error;
    this.#parts = [];
    this.#readParts = 0;
    this.#length = 0;
    if (side !== "writing") this.#reject("reading", error);
    if (side !== "reading") this.#reject("writing", error);
  }

  stall(): void {
    this.#isStalled = true;
  }

  resume(): void {
    this.#isStalled = false;
    this.#move();
  }

  #reject(side: "reading" | "writing", error: Error): void {
    if (side === "reading") {
      const reading = this.#reading;
      this.#reading = undefined;
      reading?.reject(error);
    } else {
      const writing = this.#writing;
      this.#writing = undefined;
      writing?.reject(error);
    }
  }

  #move(): void {
    if (this.#failure !== undefined) {
      this.#reject("reading", this.#failure);
      this.#reject("writing", this.#failure);
      return;
    }
    for (let moved = true; moved;) {
      moved = this.#takeWrite();
      moved = this.#serveRead() || moved;
    }
  }

  #takeWrite(): boolean {
    const writing = this.#writing;
    if (writing === undefined) return false;
    if (this.#isEnded) {
      this.#reject("writing", new Error("This end is closed"));
      return false;
    }
    const room = this.#isStalled ? 0 : this.#capacity - this.#length;
    // Not slice(), which does not copy if it is Node's Buffer's.
    const part = new Uint8Array(writing.bytes.subarray(0, room));
    if (part.length < Math.min(1, writing.bytes.length)) return false;
    if (part.length > 0) this.#parts.push(part);
    this.#length += part.length;
    this.#writing = undefined;
    writing.resolve(part.length);
    return true;
  }

  #serveRead(): boolean {
    const reading = this.#reading;
    if (reading === undefined) return false;
    if (this.#length === 0) {
      if (!this.#isEnded || this.#isStalled) return false;
      this.#reading = undefined;
      reading.resolve(null);
      return false;
    }
    const { into, resolve } = reading;
    const available = Math.min(this.#length, into.length);
    const wanted = Math.min(
      available,
      Math.max(1, Math.trunc(this.#segment(available))),
    );
    let length = 0;
    while (length < wanted) {
      const part = this.#parts[this.#readParts]!;
      const piece = part.subarray(0, wanted - length);
      into.set(piece, length);
      length += piece.length;
      if (piece.length === part.length) this.#readParts++;
      else this.#parts[this.#readParts] = part.subarray(piece.length);
    }
    if (this.#readParts * 2 >= this.#parts.length) {
      this.#parts.splice(0, this.#readParts);
      this.#readParts = 0;
    }
    this.#length -= length;
    this.#reading = undefined;
    resolve(length);
    return true;
  }
}

type Reject = (error: Error) => void;

/** One end of a stream in memory; see {@linkcode memoryDuplexPair}. */
export class MemoryDuplex implements ByteDuplex {
  readonly #incoming: Pipe;
  readonly #outgoing: Pipe;
  readonly remoteAddr: RemoteAddress = { transport: "memory" };
  closeWrite?: () => Promise<void>;

  /** How many bytes have been read. */
  bytesRead = 0;
  /** Whether {@linkcode close} has been called. */
  isClosed = false;
  /** Whether the direction of writing was ended apart. */
  isWriteClosed = false;

  constructor(incoming: Pipe, outgoing: Pipe, options: MemoryDuplexOptions) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    if (options.halfClose ?? true) {
      this.closeWrite = () => {
        if (this.isClosed) return Promise.reject(new Error("It is closed"));
        this.isWriteClosed = true;
        this.#outgoing.end();
        return Promise.resolve();
      };
    }
  }

  /** Whether a read is pending. */
  get isReading(): boolean {
    return this.#incoming.isRead;
  }

  /** Whether a write is pending. */
  get isWriting(): boolean {
    return this.#outgoing.isWritten;
  }

  /** How many bytes have arrived and not been read. */
  get unread(): number {
    return this.#incoming.length;
  }

  async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    if (this.isClosed) throw new Error("This end is closed");
    const length = await this.#incoming.read(into);
    this.bytesRead += length ?? 0;
    return length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (this.isClosed) throw new Error("This end is closed");
    return await this.#outgoing.write(bytes);
  }

  close(): void {
    if (this.isClosed) throw new Error("It is closed already");
    this.isClosed = true;
    this.#outgoing.end();
    this.#incoming.fail(new Error("The stream was closed"));
  }

  /** Lets nothing that is written here get on its way, until `resume()`. */
  stall(): void {
    this.#outgoing.stall();
  }

  /** Ends what `stall()` began. */
  resume(): void {
    this.#outgoing.resume();
  }

  /** Makes this and all further reads fail. */
  failReads(error: Error): void {
    this.#incoming.fail(error, "reading");
  }

  /** Makes this and all further writes fail. */
  failWrites(error: Error): void {
    this.#outgoing.fail(error, "writing");
  }

  /** Breaks the stream in both directions, for both ends; nothing arrives. */
  reset(error: Error = new Error("Connection reset by peer")): void {
    this.#incoming.fail(error);
    this.#outgoing.fail(error);
  }
}

/** The two ends of a stream: what is written to one is read from the other. */
export function memoryDuplexPair(
  options?: MemoryDuplexOptions,
): [MemoryDuplex, MemoryDuplex];
/** The same, as instances of a class that extends {@linkcode MemoryDuplex}. */
export function memoryDuplexPair<End extends MemoryDuplex>(
  options: MemoryDuplexOptions | undefined,
  End: new (...given: ConstructorParameters<typeof MemoryDuplex>) => End,
): [End, End];
export function memoryDuplexPair(
  options: MemoryDuplexOptions = {},
  End: typeof MemoryDuplex = MemoryDuplex,
): [MemoryDuplex, MemoryDuplex] {
  const there = new Pipe(options);
  const back = new Pipe(options);
  return [new End(back, there, options), new End(there, back, options)];
}
