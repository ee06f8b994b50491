/**
 * Property tests, one seed for the whole run. A failure prints the seed;
 * `SEED=<number> deno task test` repeats that run.
 */
import fc from "fast-check";

export { fc };

/** What runtimes other than Deno are told before these tests are imported. */
const { testSeed, testEffort = 1 } = globalThis as {
  testSeed?: number;
  /** The share of the runs that is made, which is less in other runtimes. */
  testEffort?: number;
};

/** The seed of this run: the environment's `SEED` where it may be read. */
export const seed: number = testSeed ?? readSeed() ??
  Math.trunc(Math.random() * 2 ** 31);

/**
 * Any character, for the `unit` of `fc.string()`. That with `unit: "binary"` makes
 * a table of them all first, which takes workerd half a minute.
 */
export const anyCharacter: fc.Arbitrary<string> = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

function readSeed(): number | undefined {
  const { process } = globalThis as {
    process?: { env: Record<string, string | undefined> };
  };
  let text: string | undefined;
  try {
    text = process?.env["SEED"];
  } catch {
    return undefined; // not permitted
  }
  if (!text) return undefined;
  const number = Number(text);
  if (!Number.isInteger(number)) {
    throw new TypeError(`SEED must be an integer ("${text}")`);
  }
  return number;
}

/**
 * Registers a test that `holds` for any values that the arbitraries give, so
 * many of them. It fails by throwing.
 */
export function property<Values extends [unknown, ...unknown[]]>(
  name: string,
  arbitraries: { [Index in keyof Values]: fc.Arbitrary<Values[Index]> },
  holds: (...values: Values) => void | Promise<void>,
  numRuns = 100,
): void {
  Deno.test(name, async () => {
    const predicate = async (...values: Values) => await holds(...values);
    try {
      await fc.assert(fc.asyncProperty(...arbitraries, predicate), {
        seed,
        numRuns: Math.ceil(numRuns * testEffort),
      });
    } catch (error) {
      if (error instanceof Error) {
        error.message = `Repeat with SEED=${seed}\n${error.message}`;
      }
      throw error;
    }
  });
}
