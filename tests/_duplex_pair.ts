/** The streams in memory of `testing.ts`, with all that our own tests look at. */
import type { ByteDuplex } from "../connection.ts";

export {
  MemoryDuplex,
  type MemoryDuplexOptions as DuplexPairOptions,
  memoryDuplexPair as duplexPair,
} from "../_memory_duplex.ts";

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
