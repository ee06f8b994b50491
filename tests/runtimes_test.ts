/**
 * The tests of each module in other runtimes than Deno: Node, Bun, a browser and
 * Cloudflare's workerd. `docs/runtimes.md` has them as a table.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { chromiumPath } from "./_browser.ts";
import type { TestResult } from "./_deno_shim.ts";
import type { Told } from "./_everywhere.ts";
import {
  ask,
  browserHost,
  type Host,
  type StartHost,
  startProcess,
  workerHost,
} from "./_hosts.ts";
import { isLocal, type ModuleText, parseModule } from "./_imports.ts";
import {
  bundle,
  findBun,
  findNode,
  findWorkerd,
  type MissingRuntime,
  OLDEST_NODE,
  type Runtime,
  Workerd,
  workerFolder,
} from "./_runtimes.ts";
import { sha1Source } from "../_sha1.ts";
import { SUITES } from "./_suites.ts";
import { SUITES_OF_NODE } from "./_suites_of_node.ts";

const ROOT = new URL("../", import.meta.url);

const ROWS = { ...SUITES, ...SUITES_OF_NODE };

// How long the tests of one file may take, in milliseconds.
const PATIENCE = 120_000;

/** A column of the table. */
interface Column {
  /** Its head. */
  name: string;
  /** What tests that link here have to mention. */
  mark: RegExp;
  runtime: Runtime | MissingRuntime;
  start: StartHost;
  /** Files whose tests cannot be had there, and why. */
  without: Record<string, string>;
}

function findChromium(): Runtime | MissingRuntime {
  return chromiumPath === undefined
    ? { missing: "Chromium is not installed" }
    : { path: chromiumPath, version: "" };
}

/** What runs on Node alone, and why. */
function ofNode(why: string): Record<string, string> {
  const files = Object.values(SUITES_OF_NODE).flatMap((it) => Object.keys(it));
  return Object.fromEntries(files.map((file) => [file, why]));
}

// One after the other would take twice as long, all at once more than there are
// processors: two at a time.
const COLUMNS: Column[] = [
  {
    name: `Node ${OLDEST_NODE}`,
    mark: /\bfindNode\(\)/,
    runtime: await findNode(),
    start: startProcess,
    without: {},
  },
  {
    name: "Bun",
    mark: /\bfindBun\(\)/,
    runtime: await findBun(),
    start: startProcess,
    without: {},
  },
  {
    name: "Chromium",
    mark: /\bbrowserTest\(/,
    runtime: findChromium(),
    start: browserHost(),
    without: ofNode("it has no node:zlib"),
  },
  {
    name: "workerd",
    mark: /\bfindWorkerd\(\)/,
    runtime: await findWorkerd(),
    start: workerHost("nodejs_compat"),
    without: {
      "turns_shared_test.ts": "a timer belongs to one request",
      "utf8_simd_test.ts": "it compiles no WebAssembly",
      ...ofNode("ws needs more of Node"),
    },
  },
];

// What the first test starts goes on during the others, and is ended after them.
const UNSANITIZED = { sanitizeOps: false, sanitizeResources: false };

const stop = new AbortController();
const ends: Promise<unknown>[] = [];

/** Asks the host for something, within a time limit, and returns its report. */
async function told(
  host: Host,
  what: string,
  take: (told: Told) => void,
): Promise<void> {
  const limit = AbortSignal.timeout(PATIENCE);
  let last: string | undefined;
  let failure: string | undefined;
  try {
    await ask(
      host,
      what,
      (it) => {
        last = it.test?.name ?? last;
        failure = it.error ?? failure;
        take(it);
      },
      AbortSignal.any([limit, stop.signal]),
    );
  } catch (error) {
    failure = limit.aborted
      ? `It took more than ${PATIENCE} ms`
      : `${(error as Error).message || error}`;
  }
  if (failure === undefined) return;
  const where = last === undefined ? "no test" : `"${last}"`;
  throw new Error(`${what}, after ${where}: ${failure}`);
}

/** Runs the tests of a runtime, file by file; a crash fails its file. */
class Run {
  readonly #files = new Map<string, PromiseWithResolvers<TestResult[]>>();

  constructor(column: Column) {
    for (const suite of Object.values(ROWS)) {
      for (const file of Object.keys(suite)) {
        if (file in column.without) continue;
        const cell = Promise.withResolvers<TestResult[]>();
        cell.promise.catch(() => {}); // its test is told
        this.#files.set(file, cell);
      }
    }
    ends.push(this.#run(column));
  }

  async #run({ runtime, start }: Column): Promise<void> {
    let host: Host | undefined;
    for (const [file, { resolve, reject }] of this.#files) {
      const results: TestResult[] = [];
      try {
        host ??= await start(runtime.path!);
        await told(host, file, ({ test }) => test && results.push(test));
        resolve(results);
      } catch (error) {
        reject(error);
        // It may be in any state.
        await Promise.allSettled([host?.[Symbol.asyncDispose]()]);
        host = undefined;
      }
    }
    await host?.[Symbol.asyncDispose]();
  }

  results(file: string): Promise<TestResult[]> | undefined {
    return this.#files.get(file)?.promise;
  }
}

const runs: (Run | undefined)[] = [];

function startRun(index: number): Run | undefined {
  const column = COLUMNS[index]!;
  if (column.runtime.missing !== undefined) return undefined;
  return runs[index] ??= new Run(column);
}

/** The names that the tests of each file have under Deno. */
let names: Promise<Record<string, string[]>> | undefined;

async function listNames(): Promise<Record<string, string[]>> {
  await using host = await startProcess(Deno.execPath());
  let names: Record<string, string[]> | undefined;
  await told(host, "names", (it) => names = it.names);
  assert(names !== undefined, "Deno tells no names");
  return names;
}

Deno.test.afterAll(async () => {
  stop.abort(); // what is still running
  for (const end of await Promise.allSettled(ends)) {
    if (end.status === "rejected") throw end.reason;
  }
});

/** What runs the tests, by its version where that may be another. */
function titleOf({ name, runtime: { version } }: Column): string {
  return name.startsWith("Node ") && version !== undefined
    ? `Node ${version.slice(1)}`
    : name;
}

for (const [index, column] of COLUMNS.entries()) {
  const { runtime, without } = column;
  const name = titleOf(column);
  const why = runtime.missing === undefined ? "" : ` (${runtime.missing})`;
  for (const [row, suite] of Object.entries(ROWS)) {
    if (Object.keys(suite).every((file) => file in without)) continue;
    Deno.test({
      name: `${name}: ${row.replaceAll("`", "")} passes its tests${why}`,
      ignore: runtime.missing !== undefined,
      ...UNSANITIZED,
      fn: async () => {
        const run = startRun(index)!;
        if (index % 2 === 0 && index + 1 < COLUMNS.length) startRun(index + 1);
        const expected = await (names ??= listNames());
        let passed = 0;
        let time = 0;
        for (const file of Object.keys(suite)) {
          const results = await run.results(file);
          if (results === undefined) {
            console.log(`without ${file}: ${without[file]}`);
            continue;
          }
          const failed = results.filter(({ error }) => error !== undefined);
          assertEquals(
            failed.map(({ name, error }) => `${name}: ${error}`),
            [],
            file,
          );
          const ignored = results.filter(({ ignored }) => ignored);
          assertEquals(ignored.map(({ name }) => name), [], file);
          assertEquals(
            results.map(({ name }) => name).sort(),
            expected[file]!.toSorted(),
            `${file}: not the tests that Deno has`,
          );
          passed += results.length;
          for (const { milliseconds } of results) time += milliseconds;
        }
        assert(passed > 0, "no tests");
        console.log(`${passed} passed in ${time} ms`);
      },
    });
  }
}

// The documentation

/** The tables of a page: rows of cells, without those of dashes. */
function tablesOf(markdown: string): string[][][] {
  const tables = markdown.match(/(^\|.*\|\n)+/gm) ?? [];
  return tables.map((table) =>
    table.trim().split("\n")
      .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
      .filter(([first]) => !/^-+$/.test(first!))
  );
}

const page = await Deno.readTextFile(new URL("docs/runtimes.md", ROOT));
const [modulesTable = [], choicesTable = []] = tablesOf(page);

Deno.test("docs/runtimes.md tells which tests run where", () => {
  const [head = [], ...lines] = modulesTable;
  assertEquals(head.slice(1), ["Deno 2", ...COLUMNS.map(({ name }) => name)]);
  const rows = lines.slice(0, Object.keys(ROWS).length);
  assertEquals(rows.map(([row]) => row), Object.keys(ROWS));
  for (const [row = "", ...cells] of rows) {
    const files = Object.keys(ROWS[row]!);
    assertEquals(
      cells.map((cell) => cell.replace(/;.*$/, "")),
      ["its tests"].concat(COLUMNS.map(({ without }) => {
        const missing = files.filter((file) => file in without);
        if (missing.length === files.length) return "none";
        return missing.length === 0
          ? "its tests"
          : `its tests, without ${missing.map((file) => `\`${file}\``)}`;
      })),
      row,
    );
  }
});

Deno.test("docs/runtimes.md has a row for each module that is exported", async () => {
  const { exports } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const rows = modulesTable.map(([row]) => row).join();
  for (const name of Object.keys(exports)) {
    if (name === ".") continue;
    assert(rows.includes(`\`${name.slice(2)}\``), `no row for ${name}`);
  }
});

/** Asks what the modules choose in a runtime. */
async function choicesOf(
  start: StartHost,
  path: string,
): Promise<Record<string, string>> {
  await using host = await start(path);
  let choices: Record<string, string> | undefined;
  await told(host, "choices", (it) => choices = it.choices);
  assert(choices !== undefined, "It tells no choices");
  return choices;
}

// What a running program cannot be asked about.
const TOLD_BY_FILES = ["decompression", "TLS"];

for (const column of [...COLUMNS, deno()]) {
  const { name, runtime, start } = column;
  const why = runtime.missing === undefined ? "" : ` (${runtime.missing})`;
  Deno.test({
    name: `${
      titleOf(column)
    }: the modules choose what docs/runtimes.md says${why}`,
    ignore: runtime.missing !== undefined,
    ...UNSANITIZED,
    fn: async () => {
      const choices = await choicesOf(start, runtime.path!);
      const [head = [], ...rows] = choicesTable;
      const at = head.findIndex((cell) =>
        cell.split(", ").includes(name.split(" ")[0]!)
      );
      assert(at > 0, `no column for ${name}`);
      assertEquals(
        rows.map(([row]) => row!).sort(),
        [...Object.keys(choices), ...TOLD_BY_FILES].sort(),
      );
      for (const [what, choice] of Object.entries(choices)) {
        const row = rows.find(([row]) => row === what)!;
        const cell = row[at]!.replace(/^the same/, row[1]!);
        const [first = ""] = cell.replaceAll("`", "").split(/[,;] /);
        assertEquals(first, choice, `${what} in ${name}`);
      }
    },
  });
}

function deno(): Column {
  return {
    name: "Deno 2",
    mark: /\bDeno\.(listen|connect)\w*\(|\bTestServer\(/,
    runtime: { path: Deno.execPath(), version: Deno.version.deno },
    start: startProcess,
    without: {},
  };
}

Deno.test("docs/runtimes.md tells whose TLS and inflating is used", async () => {
  const [head = [], ...rows] = choicesTable;
  const rowOf = (name: string) => rows.find(([row]) => row === name)!.slice(1);
  const inflater = parseModule(
    await Deno.readTextFile(new URL("_inflater.ts", ROOT)),
  );
  assertEquals(inflater.values.filter((it) => !isLocal(it)), ["pako"]);
  assertEquals(new Set(rowOf("decompression")), new Set(["`pako`"]));

  const files = {
    "Deno": "connect.ts",
    "Node, Bun": "examples/node/node_sockets.ts",
    "workerd": "examples/edge/worker.ts",
  };
  for (const [name, file] of Object.entries(files)) {
    const text = await Deno.readTextFile(new URL(file, ROOT));
    const cell = rowOf("TLS")[head.indexOf(name) - 1]!;
    const names = Array.from(cell.matchAll(/`([^`]+)`/g), ([, it]) => it!);
    assert(names.length > 1, cell);
    for (const it of names) assert(text.includes(it), `no ${it} in ${file}`);
  }
});

Deno.test("docs/runtimes.md links to tests of the runtime", async () => {
  const [, ...lines] = modulesTable;
  const references = Object.fromEntries(
    Array.from(
      page.matchAll(/^\[(\d)\]: \.\.\/(tests\/\w+\.ts)$/gm),
      ([, number, file]) => [number, file!],
    ),
  );
  const used = new Set<string>();
  for (const [row = "", ...cells] of lines) {
    for (const [index, cell] of cells.entries()) {
      const { name, mark } = [deno(), ...COLUMNS][index]!;
      const [first = "", second] = cell.split(";");
      const isSuite = row in ROWS;
      const isNothing = /^(cannot be|the browser's own)/.test(cell);
      const claims = isSuite ? [second] : isNothing ? [] : [first, second];
      for (const claim of claims) {
        if (claim === undefined) continue;
        const [, number = ""] = /\]\[(\d)\]$/.exec(claim) ?? [];
        const file = references[number];
        assert(file !== undefined, `${row}, ${name}: "${claim}" has no link`);
        used.add(number);
        const text = await Deno.readTextFile(new URL(file, ROOT));
        assert(mark.test(text), `${file} does not run ${name}`);
      }
    }
  }
  assertEquals([...used].sort(), Object.keys(references).sort());
});

Deno.test("Deno: @std/crypto computes digests, unless it is bundled out", () => {
  assertEquals(sha1Source, "@std/crypto");
});

// Where something is forbidden

{
  const { runtime } = COLUMNS.find(({ name }) => name === "Chromium")!;
  const why = runtime.missing === undefined ? "" : ` (${runtime.missing})`;
  Deno.test({
    name: `Chromium: a policy that forbids WebAssembly is no obstacle${why}`,
    ignore: runtime.missing !== undefined,
    ...UNSANITIZED,
    fn: async () => {
      await using host = await browserHost("script-src 'self'")(runtime.path!);
      let choice: string | undefined;
      await told(host, "choices", (it) => choice = it.choices?.["UTF-8"]);
      assertEquals(choice, "a loop");
      let passed = 0;
      for (const file of ["utf8_test.ts", "protocol_utf8_test.ts"]) {
        await told(host, file, ({ test }) => {
          assertEquals(test?.error, undefined, test?.name);
          passed++;
        });
      }
      assert(passed > 10, `${passed} passed`);
    },
  });
}

{
  const { runtime } = COLUMNS.find(({ name }) => name === "workerd")!;
  const why = runtime.missing === undefined ? "" : ` (${runtime.missing})`;
  Deno.test({
    name: `workerd: without nodejs_compat, no handshake succeeds${why}`,
    ignore: runtime.missing !== undefined,
    ...UNSANITIZED,
    fn: async () => {
      await using host = await workerHost()(runtime.path!);
      let choices: Record<string, string> | undefined;
      await told(host, "choices", (it) => choices = it.choices);
      assertEquals(choices, {
        "masking keys": "crypto.getRandomValues",
        "SHA-1": "none",
        "compression": "pako",
        "UTF-8": "a loop",
        "timers": "one for each wait",
      });
      let handshake: string[] | undefined;
      await told(host, "handshake", (it) => handshake = it.handshake);
      const message = "This platform has no synchronous SHA-1";
      assertEquals(handshake, [message, message]);
      let passed = 0;
      for (
        const file of ["frame_test.ts", "utf8_test.ts", "protocol_test.ts"]
      ) {
        await told(host, file, ({ test }) => {
          assertEquals(test?.error, undefined, test?.name);
          passed++;
        });
      }
      assert(passed > 100, `${passed} passed`);
    },
  });
}

{
  const { runtime } = COLUMNS.find(({ name }) => name === "workerd")!;
  const why = runtime.missing === undefined ? "" : ` (${runtime.missing})`;
  Deno.test({
    name: `workerd: nothing is drawn before there is a request${why}`,
    ignore: runtime.missing !== undefined,
    ...UNSANITIZED,
    fn: async () => {
      await using folder = await workerFolder(["nodejs_compat"], {
        "worker.js": `
          import { nextMaskingKey } from "keys.js";
          import { connect } from "library.js";
          let before;
          try {
            before = \`drawn [\${nextMaskingKey()}]\`;
          } catch (error) {
            before = error.message;
          }
          export default {
            fetch() {
              const key = nextMaskingKey();
              return Response.json([before, typeof key, typeof connect]);
            },
          };
        `,
        "keys.js": await bundle("_masking_keys.ts"),
        "library.js": await bundle("mod.ts", { external: ["@std/crypto"] }),
      });
      await using worker = await Workerd.start(
        runtime.path!,
        `${folder.path}/config.capnp`,
      );
      const response = await fetch(`http://${worker.host}/`);
      const [before, key, library] = await response.json();
      assertStringIncludes(before, "generating random values");
      assertEquals([key, library], ["number", "function"]);
    },
  });
}

// The lists are whole

Deno.test("whatever test needs nothing of Deno runs elsewhere", async () => {
  const texts = new Map<string, ModuleText>();
  const read = async (url: URL): Promise<ModuleText> => {
    let text = texts.get(url.href);
    if (text === undefined) {
      text = parseModule(await Deno.readTextFile(url));
      texts.set(url.href, text);
    }
    return text;
  };
  /** Whether a file, or one of tests/ and examples/ that it imports, needs Deno. */
  const needsDeno = async (start: URL): Promise<boolean> => {
    const found = new Map([[start.href, start]]);
    for (const url of found.values()) {
      const { code, values } = await read(url);
      if (/\bDeno\.(?!test\()/.test(code)) return true;
      for (const specifier of values.filter(isLocal)) {
        const next = new URL(specifier, url);
        const path = next.href.slice(ROOT.href.length);
        if (/^(tests|examples)\/.*\.ts$/.test(path)) found.set(next.href, next);
      }
    }
    return false;
  };
  const listed = Object.values(ROWS).flatMap((suite) => Object.keys(suite));
  const free: string[] = [];
  const folder = new URL("tests/", ROOT);
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.endsWith("_test.ts")) continue;
    if (!await needsDeno(new URL(name, folder))) free.push(name);
  }
  assertEquals(listed.toSorted(), free.sort());
});

Deno.test("the modules use nothing that Node 20 lacks", async () => {
  const lacking = new RegExp(
    [
      /\bPromise\.(withResolvers|try)\b/,
      /\b(Object|Map)\.groupBy\b/,
      /\bArray\.fromAsync\b/,
      /\bIterator\.(from|prototype|concat)\b/,
      /\.(transfer|transferToFixedLength)\(/,
      /\.(union|intersection|difference|symmetricDifference)\(/,
      /\.(isSubsetOf|isSupersetOf|isDisjointFrom)\(/,
      /\.(to|from)(Base64|Hex)\(/,
      /\b(Math\.f16round|Float16Array|RegExp\.escape|Error\.isError)\b/,
      /^\s*(await )?using /,
      /\bAsync(Disposable)?Stack\b|\bDisposableStack\b/,
    ].map(({ source }) => source).join("|"),
  );
  for await (const { name } of Deno.readDir(ROOT)) {
    if (!name.endsWith(".ts")) continue;
    const lines = (await Deno.readTextFile(new URL(name, ROOT))).split("\n");
    const wrong = lines.filter((line) =>
      lacking.test(line) && !/^\s*(\*|\/\/)/.test(line)
    );
    assertEquals(wrong, [], name);
  }
});
