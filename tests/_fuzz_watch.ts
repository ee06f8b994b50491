/** Who watches workers that fuzz: that none hangs, and none takes all memory. */
import { TARGETS_OF_FUZZ } from "./_fuzz.ts";
import type { FuzzNews, FuzzTask } from "./_fuzz_worker.ts";

/** How long a case may take, in milliseconds. */
const LONGEST = 5000;
/** How much memory all of them together may take, in MiB. */
const MOST = 700;

const NAMES = Object.keys(TARGETS_OF_FUZZ);

/** What to run. */
export interface FuzzOptions {
  cases: number;
  seed: number;
  workers: number;
  /** All, if none is given. */
  targets?: readonly string[];
}

/** What has come of it. */
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
  const { promise: failed, reject } = Promise.withResolvers<never>();
  const stops: (() => void)[] = [];
  const watch = setInterval(() => {
    const rss = Deno.memoryUsage().rss / 1024 / 1024;
    report.rss = Math.max(report.rss, rss);
    if (rss > MOST) reject(new Error(`${rss.toFixed(0)} MiB are taken`));
  }, 100);
  try {
    const working = Array.from({ length: options.workers }, (_, i) => {
      const { done, stop } = work(options, i, report);
      stops.push(stop);
      return done;
    });
    await Promise.race([failed, Promise.all(working)]);
    return report;
  } finally {
    clearInterval(watch);
    for (const stop of stops) stop();
  }
}

function work(
  { cases, seed, workers, targets = NAMES }: FuzzOptions,
  index: number,
  report: FuzzReport,
): { done: Promise<void>; stop: () => void } {
  const worker = new Worker(new URL("_fuzz_worker.ts", import.meta.url), {
    type: "module",
  });
  const shares = targets.reduce(
    (sum, name) => sum + TARGETS_OF_FUZZ[name]!.share,
    0,
  );
  const counts = Object.fromEntries(targets.map((name) => [
    name,
    Math.ceil(cases * TARGETS_OF_FUZZ[name]!.share / shares / workers),
  ]));
  const most = Math.max(...Object.values(counts));
  const progress = new SharedArrayBuffer(8);
  const at = new Int32Array(progress);
  const { promise, resolve, reject } = Promise.withResolvers<void>();

  let last = "";
  let since = performance.now();
  const watch = setInterval(() => {
    const now = `${NAMES[at[0]!]} --case ${Atomics.load(at, 1)}`;
    if (now !== last) {
      last = now;
      since = performance.now();
    } else if (performance.now() - since > LONGEST && at[1] !== 0) {
      reject(new Error(`It hangs: deno task fuzz --target ${now}`));
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
