/**
 * The tests that need nothing but JavaScript, for runtimes other than Deno:
 * `_hosts.ts` bundles this file and runs it in each.
 */
import { listTests, runTests, type TestResult } from "./_deno_shim.ts";
import { chooseDeflater, NodeDeflater } from "../_deflater.ts";
import { areTimersShared } from "../_platform.ts";
import { sha1Source } from "../_sha1.ts";
import { chooseIsUtf8, isUtf8Natively, isUtf8Portable } from "../_utf8.ts";
import { type Suite, SUITES } from "./_suites.ts";

/** What is told, a line of JSON each. */
export interface Told {
  /** What became of a test. */
  test?: TestResult;
  /** The names of each file's tests. */
  names?: Record<string, string[]>;
  /** What the modules have chosen of what the runtime has. */
  choices?: Record<string, string>;
  /** Why there is no more. */
  error?: string;
}

/** Runs the tests of a file, or does what else is asked for. */
export function run(
  what: string,
  tell: (line: string) => void | Promise<void>,
): Promise<void> {
  return runFrom(SUITES, what, tell);
}

/**
 * The same.
 *
 * @param suites Where the file is.
 * @param tell Takes what comes of it, line by line.
 */
export async function runFrom(
  suites: Record<string, Suite>,
  what: string,
  tell: (line: string) => void | Promise<void>,
): Promise<void> {
  const files: Suite = Object.assign({}, ...Object.values(suites));
  const say = (told: Told) => tell(JSON.stringify(told));
  try {
    if (what === "names") await say({ names: await listFiles(files) });
    else if (what === "choices") await say({ choices: describeChoices() });
    else {
      await files[what]!();
      await runTests((test) => say({ test }));
    }
  } catch (error) {
    await say({ error: `${(error as Error).stack}` });
  }
}

async function listFiles(files: Suite): Promise<Record<string, string[]>> {
  const names: Record<string, string[]> = {};
  for (const [file, load] of Object.entries(files)) {
    await load();
    names[file] = listTests();
  }
  return names;
}

function describeChoices(): Record<string, string> {
  const settings = { level: undefined, memLevel: 1, windowBits: 9 };
  const deflater = chooseDeflater()(settings);
  deflater.close();
  const isUtf8 = chooseIsUtf8();
  return {
    "SHA-1": sha1Source ?? "none",
    "compression": deflater instanceof NodeDeflater ? "node:zlib" : "pako",
    "UTF-8": isUtf8 === isUtf8Natively
      ? "node:buffer"
      : isUtf8 === isUtf8Portable
      ? "a loop"
      : "WebAssembly",
    "timers": areTimersShared ? "shared" : "one for each wait",
  };
}
