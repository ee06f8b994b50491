/** Runs the fuzzer in workers, none of which may hang or take all memory. */
import { targetOfFuzz, TARGETS_OF_FUZZ } from "./_fuzz.ts";
import type { FuzzNews, FuzzTask } from "./_fuzz_worker.ts";

const NAMES = Object.keys(TARGETS_OF_FUZZ);

/** What to run. */
export interface FuzzOptions {
  cases: number;
  seed: number;
  workers: number;
  /** All, if none is given. */
  targets?: readonly string[];
  /** How long a case, or the corpus, may take, in milliseconds: 5,000. */
  longest?: number;
  /** How much memory the whole process may take, in MiB: 700. */
  most?: number;
}

/** The result of a run. */
export interface FuzzReport {
  cases: number;
  /** For each target, how many cases, and their time in all. */
  targets: Map<string, { count: number; milliseconds: number }>;
  /** The most memory that was seen, in MiB. */
  rss: number;
}

/**
 * Runs so many cases, in so many threads.
 *
 * @throws {Error} If a case fails, hangs, or takes all memory.
 */
export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const report: FuzzReport = { cases: 0, targets: new Map(), rss: 0 };
  const { most = 700 } = options;
  const { promise: failed, reject } = Promise.withResolvers<never>();
  const stops: (() => void)[] = [];
  const watch = setInterval(() => {
    const rss = Deno.memoryUsage().rss / 1024 / 1024;
    report.rss = Math.max(report.rss, rss);
    if (rss > most) reject(new Error(`${rss.toFixed(0)} MiB are taken`));
  }, 100);
  try {
    const working = Array.from({ length: options.workers }, (_, i) => {
      const { done, stop } = work(options, i, report);
      stops.push(stop);
      return done;
    });
    await Promise.race([failed, Promise.all(working)]);
    return report;
  } catch (error) {
    // A case can depend on those before it: some memory is used again.
    const { cases, seed, workers, targets } = options;
    const one = targets?.length === 1 ? ` --target ${targets[0]}` : "";
    const reason = error instanceof Error ? error : new Error(String(error));
    reason.message +=
      `\nAll of it: \`deno task fuzz --cases ${cases} --seed ${seed} --workers ${workers}${one}\``;
    throw reason;
  } finally {
    clearInterval(watch);
    for (const stop of stops) stop();
  }
}

function work(
  { cases, seed, workers, targets = NAMES, longest = 5000 }: FuzzOptions,
  index: number,
  report: FuzzReport,
): { done: Promise<void>; stop: () => void } {
  const worker = new Worker(new URL("_fuzz_worker.ts", import.meta.url), {
    type: "module",
  });
  const shares = targets.reduce(
    (sum, name) => sum + targetOfFuzz(name).share,
    0,
  );
  const counts = Object.fromEntries(targets.map((name) => [
    name,
    Math.ceil(cases * targetOfFuzz(name).share / shares / workers),
  ]));
  const most = Math.max(...Object.values(counts));
  const progress = new SharedArrayBuffer(8);
  const at = new Int32Array(progress).fill(-2);
  const { promise, resolve, reject } = Promise.withResolvers<void>();

  let last = "";
  let since = performance.now();
  const watch = setInterval(() => {
    const [target, number] = [Atomics.load(at, 0), Atomics.load(at, 1)];
    const now = `${target} ${number}`;
    // Modules take their time to be loaded.
    const most = target === -2 ? 60_000 : longest;
    if (now !== last) {
      last = now;
      since = performance.now();
    } else if (performance.now() - since > most) {
      const which = target < 0
        ? "--corpus"
        : `--target ${targets[target]} --case ${number}`;
      reject(new Error(`It hangs: \`deno task fuzz ${which}\``));
    }
  }, 500);
  worker.onmessage = ({ data }: MessageEvent<FuzzNews>) => {
    if (data.type === "done") resolve();
    else if (data.type === "failed") reject(new Error(data.message));
    else {
      const { name, count, milliseconds } = data;
      const sum = report.targets.get(name) ?? { count: 0, milliseconds: 0 };
      sum.count += count;
      sum.milliseconds += milliseconds;
      report.targets.set(name, sum);
      report.cases += count;
    }
  };
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(event.message));
  };
  // Each begins where the one before it ends.
  const task: FuzzTask = { counts, seed: seed + index * most, progress };
  worker.postMessage(task);
  const stop = (): void => {
    clearInterval(watch);
    worker.terminate();
  };
  return { done: promise, stop };
}
