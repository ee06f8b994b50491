/**
 * Deflating, synchronously and with a context that is kept: by `node:zlib`
 * where it can be done, by pako everywhere else.
 *
 * @module
 */

import {
  Z_DEFAULT_STRATEGY,
  Z_OK,
  Z_SYNC_FLUSH,
  zlibDeflate,
  zlibDeflateInit2,
  zlibDeflateReset,
  ZStream,
} from "pako";
import { Inflater } from "./_inflater.ts";
import { joined } from "./_joined.ts";
import { loadNodeZlib, type NodeZlib } from "./_platform.ts";

/** How much work and memory compressing takes. */
export interface DeflateSettings {
  /** 1 to 9; `undefined` for what suits the compressor. */
  level: number | undefined;
  /** 1 to 9. */
  memLevel: number;
  /** 9 to 15. */
  windowBits: number;
}

/** The state of deflating one stream of messages. */
export interface Deflater {
  /** The base-2 logarithm of how far back it refers, in bytes. */
  readonly windowBits: number;
  /**
   * Deflates data, not empty, up to the end of a block and of a byte: the
   * result ends with 00 00 FF FF (RFC 7692 §7.2.1).
   */
  deflate(data: Uint8Array): Uint8Array<ArrayBuffer>;
  /** Forgets what has been deflated. */
  reset(): void;
  /** Gives up memory outside of the JavaScript heap. */
  close(): void;
}

/** Makes a compressor. */
export type DeflaterMaker = (settings: DeflateSettings) => Deflater;

const DEFLATED = 8; // Z_DEFLATED, the only method there is

// pako takes 98 µs for 4 KiB of JSON at level 3 and 213 at level 6, for output
// that is 10 % smaller; node:zlib takes 46 and 74, for 14 %.
const PAKO_LEVEL = 3;
const NODE_LEVEL = 6;

// The output of every compressor, copied before anything else can run.
const WORKSPACE_SIZE = 64 * 1024;
let workspace: Uint8Array<ArrayBuffer> | undefined;

const NOTHING = new Uint8Array(0);

/** The compressor of pako. */
export class PakoDeflater implements Deflater {
  readonly windowBits: number;
  readonly #stream = new ZStream();

  /** @param settings How much work and memory it takes. */
  constructor({ level = PAKO_LEVEL, memLevel, windowBits }: DeflateSettings) {
    this.windowBits = windowBits;
    // The newer hash always takes 64 KiB: too much beside a small window.
    const legacyHash = windowBits < 14;
    const status = zlibDeflateInit2(
      this.#stream,
      level,
      DEFLATED,
      -windowBits,
      memLevel,
      Z_DEFAULT_STRATEGY,
      legacyHash,
    );
    if (status !== Z_OK) {
      throw new RangeError(
        `pako does not take level ${level}, memLevel ${memLevel}, windowBits ${windowBits}`,
      );
    }
  }

  deflate(data: Uint8Array): Uint8Array<ArrayBuffer> {
    const stream = this.#stream;
    const memory = workspace ??= new Uint8Array(WORKSPACE_SIZE);
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    stream.input = data;
    stream.next_in = 0;
    stream.avail_in = data.length;
    do {
      stream.output = memory;
      stream.next_out = 0;
      stream.avail_out = WORKSPACE_SIZE;
      zlibDeflate(stream, Z_SYNC_FLUSH);
      pieces.push(memory.slice(0, stream.next_out));
    } while (stream.avail_out === 0);
    stream.input = NOTHING;
    return pieces.length === 1 ? pieces[0]! : joined(pieces);
  }

  reset(): void {
    zlibDeflateReset(this.#stream);
  }

  close(): void {}
}

/** The internals of a compressing stream of `node:zlib`. */
export interface NodeStream {
  _handle: {
    writeSync(
      flush: number,
      input: Uint8Array,
      inputOffset: number,
      inputLength: number,
      output: Uint8Array,
      outputOffset: number,
      outputLength: number,
    ): void;
    reset(): void;
    close(): void;
  };
  // How many bytes are left of the output's memory and of the input.
  _writeState: Uint32Array;
}

// Deno does not free the memory of a stream that is not closed. Some workers
// have no FinalizationRegistry.
const abandoned = typeof FinalizationRegistry === "undefined"
  ? undefined
  : new FinalizationRegistry<NodeStream["_handle"]>((handle) => {
    handle.close();
  });

/**
 * The compressor of `node:zlib`. Its public interface has nothing synchronous
 * that keeps a context; the handles within its streams are, in Node, Deno and
 * Bun, and npm's own `tar` has long relied on them. {@linkcode chooseDeflater}
 * tests them before they are used.
 */
export class NodeDeflater implements Deflater {
  readonly windowBits: number;
  readonly #stream: NodeStream;

  /**
   * @param zlib The module `node:zlib`.
   * @param settings How much work and memory it takes.
   */
  constructor(zlib: NodeZlib, settings: DeflateSettings) {
    const { level = NODE_LEVEL, memLevel, windowBits } = settings;
    this.windowBits = windowBits;
    const stream = zlib.createDeflateRaw!({
      level,
      memLevel,
      windowBits,
      chunkSize: 64, // the stream's own buffer, which is not used
    }) as NodeStream;
    for (const method of ["writeSync", "reset", "close"] as const) {
      if (typeof stream._handle?.[method] !== "function") {
        throw new TypeError(`The streams of node:zlib have no ${method}()`);
      }
    }
    this.#stream = stream;
    abandoned?.register(this, this.#stream._handle, this);
  }

  deflate(data: Uint8Array): Uint8Array<ArrayBuffer> {
    const { _handle: handle, _writeState: state } = this.#stream;
    const memory = workspace ??= new Uint8Array(WORKSPACE_SIZE);
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let left = data.length;
    let room = 0;
    do {
      const from = data.length - left;
      handle.writeSync(
        Z_SYNC_FLUSH,
        data,
        from,
        left,
        memory,
        0,
        WORKSPACE_SIZE,
      );
      room = state[0]!;
      left = state[1]!;
      pieces.push(memory.slice(0, WORKSPACE_SIZE - room));
    } while (room === 0);
    return pieces.length === 1 ? pieces[0]! : joined(pieces);
  }

  reset(): void {
    this.#stream._handle.reset();
  }

  close(): void {
    abandoned?.unregister(this);
    this.#stream._handle.close();
  }
}

/** Whether `node:zlib` does here what {@linkcode NodeDeflater} asks of it. */
export function isUsable(zlib: NodeZlib): boolean {
  try {
    const deflater = new NodeDeflater(zlib, {
      level: 1,
      memLevel: 1,
      windowBits: 12,
    });
    const inflater = new Inflater(12);
    const message = Uint8Array.from({ length: 300 }, (_, i) => i * i >> 3);
    const first = deflater.deflate(message);
    const second = deflater.deflate(message);
    deflater.reset();
    const third = deflater.deflate(message);
    deflater.close();
    let length = 0;
    for (const part of [first, second, third]) {
      inflater.push(part, (piece) => {
        if (piece.every((byte, i) => byte === message[i])) {
          length += piece.length;
        }
      });
    }
    return length === 3 * message.length && // it can be inflated
      second.length < first.length / 4 && // it refers back
      third.every((byte, i) => byte === first[i]); // it forgets
  } catch {
    return false;
  }
}

let maker: DeflaterMaker | undefined;

/** The best compressor that there is in this runtime. */
export function chooseDeflater(): DeflaterMaker {
  if (maker === undefined) {
    const zlib = loadNodeZlib();
    maker = zlib !== undefined && isUsable(zlib)
      ? (settings) => new NodeDeflater(zlib, settings)
      : (settings) => new PakoDeflater(settings);
  }
  return maker;
}
