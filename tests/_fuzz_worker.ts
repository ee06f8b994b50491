/**
 * Runs cases of the fuzzer in a thread of its own, and says in shared memory which
 * one it is at: a case that hangs could not report it otherwise.
 */
import { fuzzCase, fuzzCorpus } from "./_fuzz.ts";

/** What a worker is to do. */
export interface FuzzTask {
  /** The names of the targets, and how many cases of each. */
  counts: Record<string, number>;
  /** The first case's number. */
  seed: number;
  /**
   * Two numbers: which of the targets, -1 for the corpus, -2 before; and which
   * case.
   */
  progress: SharedArrayBuffer;
}

/** What it reports. */
export type FuzzNews =
  | { type: "target"; name: string; count: number; milliseconds: number }
  | { type: "failed"; message: string }
  | { type: "done" };

const scope = globalThis as unknown as {
  postMessage(news: FuzzNews): void;
  addEventListener(
    type: "message",
    listener: (event: MessageEvent<FuzzTask>) => void,
  ): void;
};

async function run({ counts, seed, progress }: FuzzTask): Promise<void> {
  const at = new Int32Array(progress);
  Atomics.store(at, 0, -1);
  fuzzCorpus((number) => Atomics.store(at, 1, number));
  for (const [i, [name, count]] of Object.entries(counts).entries()) {
    const began = performance.now();
    Atomics.store(at, 1, seed);
    Atomics.store(at, 0, i);
    for (let i = 0; i < count; i++) {
      Atomics.store(at, 1, seed + i);
      const running = fuzzCase(name, seed + i);
      if (running !== undefined) await running;
    }
    const milliseconds = performance.now() - began;
    scope.postMessage({ type: "target", name, count, milliseconds });
  }
}

scope.addEventListener("message", async ({ data }) => {
  try {
    await run(data);
    scope.postMessage({ type: "done" });
  } catch (error) {
    // With its cause.
    const message = error instanceof Error ? Deno.inspect(error) : `${error}`;
    scope.postMessage({ type: "failed", message });
  }
});
