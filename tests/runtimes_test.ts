/**
 * The tests of each module in other runtimes than Deno: Node, Bun, a browser and
 * Cloudflare's workerd. `docs/runtimes.md` has them as a table.
 */
import { assert, assertEquals } from "@std/assert";
import type { Report } from "./_deno_shim.ts";
import { chromiumPath, TestBrowser } from "./_browser.ts";
import {
  bundle,
  findBun,
  findNode,
  findWorkerd,
  type MissingRuntime,
  type Runtime,
  TemporaryFolder,
  Workerd,
} from "./_runtimes.ts";
import { TestServer } from "./_server.ts";

const ROOT = new URL("../", import.meta.url);

const MODULES = [
  "frame",
  "handshake",
  "utf8",
  "protocol",
  "deflate",
  "connection",
  "hub",
];

// How long all tests may take in one runtime, in milliseconds.
const PATIENCE = 400_000;

/** Runs the tests of the modules, and hands out a report of each. */
type Run = (
  what: { runtime: Runtime; modules: string[]; code: string },
  onReport: (module: string, report: Report) => void,
) => Promise<void>;

// All are bundled once.
let code: Promise<string> | undefined;

/** Runs them in a process that prints a report a line. */
const inProcess: Run = async ({ runtime, modules, code }, onReport) => {
  await using folder = await TemporaryFolder.create({
    "tests.mjs": code,
    "main.mjs": `
      import { runSuite } from "./tests.mjs";
      for (const module of ${JSON.stringify(modules)}) {
        const report = await runSuite(module);
        console.log(JSON.stringify({ module, report }));
      }
      process.exit();
    `,
  });
  const process = new Deno.Command(runtime.path, {
    args: [`${folder.path}/main.mjs`],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => process.kill("SIGKILL"), PATIENCE);
  const errors = new Response(process.stderr).text();
  let text = "";
  for await (
    const part of process.stdout.pipeThrough(new TextDecoderStream())
  ) {
    const lines = (text + part).split("\n");
    text = lines.pop()!;
    for (const line of lines) {
      const { module, report } = JSON.parse(line);
      onReport(module, report);
    }
  }
  const { success } = await process.status;
  clearTimeout(timer);
  if (!success) throw new Error(await errors);
};

/** Runs them in a page. */
const inPage: Run = async ({ runtime, modules, code }, onReport) => {
  // What the stand-ins for @std want of Node.
  const node = await bundle("tests/_node_in_browser.ts");
  const html = `<!doctype html><script type="importmap">${
    JSON.stringify({
      imports: {
        "node:util": "/node.js",
        "node:crypto": "/node.js",
      },
    })
  }</script><script type="module">
    import { runSuite } from "/tests.js";
    globalThis.runSuite = runSuite;
  </script>`;
  const files: Record<string, [string, string]> = {
    "/": ["text/html", html],
    "/node.js": ["text/javascript", node],
    "/tests.js": ["text/javascript", code],
  };
  await using server = new TestServer({
    handler: ({ url }) => {
      const [type, text] = files[new URL(url).pathname] ?? [];
      return text === undefined
        ? new Response(null, { status: 204 })
        : new Response(text, { headers: { "content-type": type! } });
    },
  });
  await using browser = await TestBrowser.launch(runtime.path);
  const page = await browser.open(`http://127.0.0.1:${server.port}/`);
  await page.page.waitForFunction("globalThis.runSuite !== undefined");
  for (const module of modules) {
    const report = await page.run(
      (name) =>
        (globalThis as unknown as {
          runSuite(name: string): Promise<Report>;
        }).runSuite(name),
      module,
      PATIENCE,
    );
    onReport(module, report);
  }
};

/** Runs them in a worker. */
const inWorker: Run = async ({ runtime, modules, code }, onReport) => {
  await using folder = await TemporaryFolder.create({
    "tests.js": code,
    "worker.js": `
      import { runSuite } from "tests.js";
      export default {
        async fetch(request) {
          const module = new URL(request.url).pathname.slice(1);
          return Response.json(await runSuite(module));
        },
      };
    `,
    "config.capnp": `
      using Workerd = import "/workerd/workerd.capnp";
      const config :Workerd.Config = (
        services = [(name = "worker", worker = .worker)],
        sockets = [
          (name = "http", address = "127.0.0.1:0", http = (), service = "worker"),
        ],
      );
      const worker :Workerd.Worker = (
        modules = [
          (name = "worker.js", esModule = embed "worker.js"),
          (name = "tests.js", esModule = embed "tests.js"),
        ],
        compatibilityDate = "2025-10-01",
        compatibilityFlags = ["nodejs_compat"],
      );
    `,
  });
  await using workerd = await Workerd.start(
    runtime.path,
    `${folder.path}/config.capnp`,
  );
  for (const module of modules) {
    const response = await fetch(`http://${workerd.host}/${module}`);
    assertEquals(response.status, 200, await response.clone().text());
    onReport(module, await response.json());
  }
};

function findChromium(): Runtime | MissingRuntime {
  return chromiumPath === undefined
    ? { missing: "Chromium is not installed" }
    : { path: chromiumPath };
}

// One after the other would take twice as long, all at once more than there are
// processors: two at a time.
const RUNTIMES: {
  name: string;
  runtime: Runtime | MissingRuntime;
  run: Run;
  modules: string[];
}[] = [
  { name: "Node", runtime: await findNode(), run: inProcess, modules: MODULES },
  { name: "Bun", runtime: await findBun(), run: inProcess, modules: MODULES },
  {
    name: "Chromium",
    runtime: findChromium(),
    run: inPage,
    modules: MODULES,
  },
  {
    name: "workerd",
    runtime: await findWorkerd(),
    run: inWorker,
    // The others are at work there in edge_test.ts: their own tests would take
    // minutes in workerd.
    modules: ["frame", "handshake", "utf8", "hub"],
  },
];

type Cells = Record<string, PromiseWithResolvers<Report>>;

const started: (Cells | undefined)[] = [];

/** Runs the tests of all modules in a runtime, if they do not run yet. */
function start(index: number): Cells | undefined {
  const { runtime, run, modules } = RUNTIMES[index]!;
  if (runtime.missing !== undefined) return undefined;
  if (started[index] !== undefined) return started[index];
  const cells: Cells = Object.fromEntries(
    modules.map((module) => [module, Promise.withResolvers<Report>()]),
  );
  const end = (error: unknown) => {
    for (const { promise, reject } of Object.values(cells)) {
      promise.catch(() => {});
      reject(error);
    }
  };
  code ??= bundle("tests/_everywhere.ts");
  code.then((code) =>
    run(
      { runtime, modules, code },
      (module, report) => cells[module]!.resolve(report),
    )
  ).then(() => end(new Error("It ended early")), end);
  return started[index] = cells;
}

for (const [index, { name, runtime, modules }] of RUNTIMES.entries()) {
  const why = runtime.missing === undefined ? "" : ` (${runtime.missing})`;
  for (const module of modules) {
    Deno.test({
      name: `${name}: ${module} passes its tests${why}`,
      ignore: runtime.missing !== undefined,
      // What the first of these tests starts ends with the last.
      sanitizeOps: false,
      sanitizeResources: false,
      fn: async () => {
        const cells = start(index)!;
        if (index % 2 === 0) start(index + 1);
        const { passed, failures } = await cells[module]!.promise;
        assertEquals(failures, []);
        assert(passed > 0, "no tests");
        console.log(`${passed} passed`);
      },
    });
  }
}

Deno.test("the modules use nothing that Node 20 lacks", async () => {
  const lacking =
    /\bPromise\.(withResolvers|try)\b|\bArray\.fromAsync\b|\.(to|from)(Base64|Hex)\(|^\s*(await )?using /;
  for await (const { name } of Deno.readDir(ROOT)) {
    if (!name.endsWith(".ts")) continue;
    const lines = (await Deno.readTextFile(new URL(name, ROOT))).split("\n");
    const wrong = lines.filter((line) =>
      lacking.test(line) && !/^\s*(\*|\/\/)/.test(line)
    );
    assertEquals(wrong, [], name);
  }
});
