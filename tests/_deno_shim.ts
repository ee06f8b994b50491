/**
 * `Deno.test` where there is no Deno: registers tests and runs them, in any
 * runtime. Import it before the tests. What else of `Deno` a test asks for is not
 * there.
 */

type TestFn = (
  context: { step(name: string, fn: () => unknown): unknown },
) => unknown;

interface Test {
  name: string;
  fn: TestFn;
  ignore?: boolean;
}

/** The result of a test. */
export interface TestResult {
  name: string;
  /** How long it took. */
  milliseconds: number;
  ignored?: boolean;
  /** With its stack, where the test failed. */
  error?: string;
}

/** Called with the result of each test, and awaited before the next one. */
export type Tell = (result: TestResult) => void | Promise<void>;

type Listener = (event: Event) => void;

let tests: Test[] = [];

/** `Deno.test` in all its forms. */
function test(
  first: string | Partial<Test> | TestFn,
  second?: Partial<Test> | TestFn,
  third?: TestFn,
): void {
  const parts: Partial<Test> = {};
  for (const part of [first, second, third]) {
    if (typeof part === "string") parts.name = part;
    else if (typeof part === "object") Object.assign(parts, part);
    else if (typeof part === "function") {
      parts.fn = part;
      parts.name ??= part.name;
    }
  }
  const { name, fn, ignore = false } = parts;
  if (!name || fn === undefined) {
    throw new TypeError(`A test needs a name and a function ("${name}")`);
  }
  tests.push({ name, fn, ignore });
}

const own = Object.getOwnPropertyDescriptor(globalThis, "Deno");

/** Installs `Deno.test`, or removes it. */
function provide(isThere: boolean): void {
  if (!isThere) Reflect.deleteProperty(globalThis, "Deno");
  else {
    Object.defineProperty(globalThis, "Deno", {
      // In Deno itself, process.exit() needs the rest.
      value: Object.assign(Object.create(own?.value ?? null), { test }),
      configurable: true,
    });
  }
}

provide(true);

// Node and Bun report unhandled rejections by an event of `process`.
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

/** The names of the tests that have been registered since the last call. */
export function listTests(): string[] {
  const names = tests.map(({ name }) => name);
  tests = [];
  return names;
}

/** Runs the tests that have been registered since the last call. */
export async function runTests(tell: Tell): Promise<void> {
  const context = { step: (_name: string, fn: () => unknown) => fn() };
  const registered = tests;
  tests = [];
  provide(false); // as in any program
  for (const { name, fn, ignore } of registered) {
    const begin = Date.now();
    const result: TestResult = { name, milliseconds: 0 };
    if (ignore) result.ignored = true;
    else {
      try {
        await fn(context);
      } catch (error) {
        result.error = error instanceof Error
          ? `${error.stack}`
          : `Not an error (${error})`;
      }
      result.milliseconds = Date.now() - begin;
    }
    await tell(result);
  }
  provide(true);
}
