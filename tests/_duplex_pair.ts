/** The streams in memory of `testing.ts`, which also record what happens. */
import type { ByteDuplex } from "../connection.ts";
import {
  MemoryDuplex as Plain,
  type MemoryDuplexOptions as DuplexPairOptions,
  memoryDuplexPair,
} from "../_memory_duplex.ts";

export type { DuplexPairOptions };

/** One end, which records what is read and written. */
export class MemoryDuplex extends Plain {
  /** The length of each write that has been taken, in order. */
  readonly writes: number[] = [];
  /** The length that each read asked for, in order. */
  readonly reads: number[] = [];

  override read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    if (!this.isClosed) this.reads.push(into.length);
    return super.read(into);
  }

  override write(bytes: Uint8Array): Promise<number> {
    const writing = super.write(bytes);
    writing.then((length) => this.writes.push(length), () => {});
    return writing;
  }
}

/** Both ends. */
export function duplexPair(
  options?: DuplexPairOptions,
): [MemoryDuplex, MemoryDuplex] {
  return memoryDuplexPair(options, MemoryDuplex);
}

/** One end as a pair of web streams. */
export function toStreams(
  duplex: ByteDuplex,
): {
  readable: ReadableStream<Uint8Array>;
  writable: WritableStream<Uint8Array>;
} {
  return {
    readable: new ReadableStream<Uint8Array>({
      async pull(controller) {
        const into = new Uint8Array(16384);
        const length = await duplex.read(into);
        if (length === null) controller.close();
        else controller.enqueue(into.subarray(0, length));
      },
      cancel() {
        duplex.close();
      },
    }, { highWaterMark: 0 }),
    writable: new WritableStream<Uint8Array>({
      async write(bytes) {
        let rest = bytes;
        while (rest.length > 0) rest = rest.subarray(await duplex.write(rest));
      },
      async close() {
        await duplex.closeWrite?.();
      },
    }),
  };
}
