/**
 * `Deno.test` where there is no Deno: registers tests and runs them, in any
 * runtime. Import it before the tests.
 */

interface Test {
  name: string;
  fn(context: { step(name: string, fn: () => unknown): unknown }): unknown;
  ignore?: boolean;
}

/** What became of the tests. */
export interface Report {
  passed: number;
  ignored: number;
  /** Name and error of each test that failed. */
  failures: string[];
}

type Listener = (event: Event) => void;

const tests: Test[] = [];

function test(name: string | Test, fn?: Test["fn"]): void {
  tests.push(typeof name === "string" ? { name, fn: fn! } : name);
}

// Under Deno all is tried; elsewhere it is enough to see that nothing differs.
Object.assign(globalThis, { Deno: { test }, testEffort: 0.25 });

// Node and Bun tell of rejections in a way of their own.
const { process } = globalThis as unknown as {
  process?: {
    release?: { name: string };
    on?(type: string, listener: (reason: unknown) => void): void;
    off?(type: string, listener: (reason: unknown) => void): void;
  };
};

if (process?.release?.name === "node" && !("WebSocketPair" in globalThis)) {
  const listeners = new Map<Listener, (reason: unknown) => void>();
  Object.assign(globalThis, {
    addEventListener(_type: "unhandledrejection", listener: Listener) {
      const onRejection = (reason: unknown) =>
        listener(Object.assign(new Event("unhandledrejection"), { reason }));
      listeners.set(listener, onRejection);
      process.on!("unhandledRejection", onRejection);
    },
    removeEventListener(_type: "unhandledrejection", listener: Listener) {
      process.off!("unhandledRejection", listeners.get(listener)!);
    },
  });
}

// What Node 20 lacks and tests or @std/assert use, though no module does
// (runtimes_test.ts).
Promise.withResolvers ??= function <T>() {
  let resolve!: PromiseWithResolvers<T>["resolve"];
  let reject!: PromiseWithResolvers<T>["reject"];
  const promise = new Promise<T>((fulfil, refuse) => {
    resolve = fulfil;
    reject = refuse;
  });
  return { promise, resolve, reject };
};
Array.fromAsync ??= async function <T>(
  source: AsyncIterable<T> | Iterable<T> | ArrayLike<T>,
): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source as AsyncIterable<T>) items.push(item);
  return items;
};

Set.prototype.union ??= function <T, U>(
  this: Set<T>,
  other: ReadonlySetLike<U>,
): Set<T | U> {
  return new Set<T | U>([...this, ...other as Set<U>]);
};

/** Runs the tests that have been registered since the last call. */
export async function runTests(): Promise<Report> {
  const report: Report = { passed: 0, ignored: 0, failures: [] };
  const context = { step: (_name: string, fn: () => unknown) => fn() };
  for (const { name, fn, ignore } of tests.splice(0)) {
    if (ignore) {
      report.ignored++;
      continue;
    }
    try {
      await fn(context);
      report.passed++;
    } catch (error) {
      const told = error instanceof Error ? error.stack : String(error);
      report.failures.push(`${name}: ${told}`);
    }
  }
  return report;
}
