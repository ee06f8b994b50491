/**
 * Runs cases of the fuzzer in a thread of its own, and says in shared memory which
 * one it is at: who never comes back from a case cannot tell it.
 */
import { fuzzCase, fuzzCorpus, TARGETS_OF_FUZZ } from "./_fuzz.ts";

/** What a worker is told to do. */
export interface FuzzTask {
  /** The names of the targets, and how many cases of each. */
  counts: Record<string, number>;
  /** The first case's number. */
  seed: number;
  /** Two numbers: which target, and which case. */
  progress: SharedArrayBuffer;
}

/** What it tells. */
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
  const names = Object.keys(TARGETS_OF_FUZZ);
  fuzzCorpus();
  for (const [name, count] of Object.entries(counts)) {
    const began = performance.now();
    at[0] = names.indexOf(name);
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
    const message = error instanceof Error
      ? error.stack ?? error.message
      : String(error);
    scope.postMessage({ type: "failed", message });
  }
});
