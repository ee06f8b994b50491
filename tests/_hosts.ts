/** Starts runtimes other than Deno, each with `_everywhere.ts`. */
import type { Told } from "./_everywhere.ts";
import { TestBrowser } from "./_browser.ts";
import { seed } from "./_property.ts";
import {
  bundle,
  type BundleOptions,
  TemporaryFolder,
  Workerd,
  workerFolder,
} from "./_runtimes.ts";
import { TestServer } from "./_server.ts";

/** A runtime that is started. */
export interface Host extends AsyncDisposable {
  /** Does what `run()` of `_everywhere.ts` does; rejects when it is aborted. */
  run(
    what: string,
    tell: (line: string) => void,
    signal: AbortSignal,
  ): Promise<void>;
}

/** Starts a runtime that is at a path. */
export type StartHost = (path: string) => Promise<Host>;

/** Has a host do something, and takes what it reports. */
export async function ask(
  host: Host,
  what: string,
  take: (told: Told) => void,
  signal: AbortSignal,
): Promise<void> {
  await host.run(what, (line) => {
    // Tests may print lines of their own.
    if (line.startsWith("{")) take(JSON.parse(line));
  }, signal);
}

// Fewer cases than under Deno: they are to show that nothing differs.
const SETTINGS = `Object.assign(globalThis, ${
  JSON.stringify({ testSeed: seed, testEffort: 0.25 })
});`;

const bundles = new Map<string, Promise<string>>();

/** Bundles a file of tests/, once. */
function bundleOnce(
  file: string,
  options: BundleOptions = {},
): Promise<string> {
  const key = JSON.stringify([file, options]);
  let promise = bundles.get(key);
  if (promise === undefined) {
    bundles.set(key, promise = bundle(`tests/${file}`, options));
    promise.catch(() => {}); // its callers are told
  }
  return promise;
}

/** Has the stand-ins for `@std` import from a module what Node has. */
function withoutNode(code: string, module: string): string {
  return code.replace(/ from "node:(util|crypto)";/g, ` from "${module}";`);
}

/** Calls `tell` for each line. */
async function readLines(
  stream: ReadableStream<Uint8Array>,
  tell: (line: string) => void,
): Promise<void> {
  let rest = "";
  for await (const part of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split("\n");
    rest = lines.pop()!;
    lines.forEach(tell);
  }
  if (rest !== "") tell(rest);
}

/** Node, Bun, or Deno itself with nothing of Deno's: a process for each file. */
export const startProcess: StartHost = async (path) => {
  const folder = await TemporaryFolder.create({
    "tests.mjs": await bundleOnce("_everywhere_in_node.ts", {
      platform: "deno",
      external: ["bufferutil", "utf-8-validate"], // ws goes without
    }),
    "settings.mjs": SETTINGS,
    "main.mjs": `
      import "./settings.mjs";
      import process from "node:process";
      import { run } from "./tests.mjs";
      await run(process.argv[2], (line) => console.log(line));
      process.exit();
    `,
  });
  return {
    async run(what, tell, signal) {
      signal.throwIfAborted();
      const process = new Deno.Command(path, {
        // Deno's has what the tests there have; others ask for no permissions.
        args: [
          ...path === Deno.execPath() ? ["run", "--allow-all"] : [],
          `${folder.path}/main.mjs`,
          what,
        ],
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
        signal,
      }).spawn();
      const errors = new Response(process.stderr).text();
      try {
        await readLines(process.stdout, tell);
      } catch (error) {
        process.kill("SIGKILL");
        await Promise.all([errors, process.status]);
        throw error;
      }
      const { success } = await process.status;
      const said = await errors;
      signal.throwIfAborted();
      if (!success) throw new Error(said);
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
};

/** A browser: a page for each file. */
export function browserHost(policy?: string): StartHost {
  return async (path) => {
    const javascript = "text/javascript";
    const files: Record<string, [type: string, text: string]> = {
      "/": [
        "text/html",
        `<!doctype html><script type="module" src="/main.js"></script>`,
      ],
      "/main.js": [
        javascript,
        `import "/settings.js";
        import { run } from "/tests.js";
        globalThis.run = run;`,
      ],
      "/settings.js": [javascript, SETTINGS],
      "/node.js": [javascript, await bundleOnce("_node_in_browser.ts")],
      "/tests.js": [
        javascript,
        withoutNode(await bundleOnce("_everywhere.ts"), "/node.js"),
      ],
    };
    await using stack = new AsyncDisposableStack();
    const server = stack.use(
      new TestServer({
        handler: ({ url }) => {
          const [type, text] = files[new URL(url).pathname] ?? [];
          if (type === undefined) return new Response(null, { status: 204 });
          const headers = new Headers({ "content-type": type });
          if (policy) headers.set("content-security-policy", policy);
          return new Response(text, { headers });
        },
      }),
    );
    const browser = stack.use(await TestBrowser.launch(path));
    const owned = stack.move();
    return {
      async run(what, tell, signal) {
        signal.throwIfAborted();
        const { page } = await browser.open(`http://127.0.0.1:${server.port}/`);
        const aborted = new Promise<never>((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason));
        });
        aborted.catch(() => {});
        await page.exposeFunction("tell", tell);
        await page.waitForFunction("globalThis.run !== undefined");
        await Promise.race([
          page.evaluate(`run(${JSON.stringify(what)}, tell)`),
          aborted,
        ]);
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  };
}

/** Cloudflare's runtime: a request for each file. */
export function workerHost(...flags: string[]): StartHost {
  return async (path) => {
    // Without @std/crypto, as `deno task edge:bundle` has it. Its own node:util
    // takes 60 ms to compare 64 KiB, where Node takes 5 us.
    const code = await bundleOnce("_everywhere.ts", {
      external: ["@std/crypto"],
    });
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(
      await workerFolder(flags, {
        "worker.js": `
          import "settings.js";
          import { run } from "tests.js";
          export default {
            fetch(request) {
              const { readable, writable } = new TransformStream();
              const writer = writable.getWriter();
              const encoder = new TextEncoder();
              run(new URL(request.url).pathname.slice(1), async (line) => {
                await writer.write(encoder.encode(line + "\\n"));
                // Nothing is sent before the worker waits for something.
                await new Promise((resolve) => setTimeout(resolve, 0));
              }).then(() => writer.close(), (error) => writer.abort(error));
              return new Response(readable);
            },
          };
        `,
        "tests.js": withoutNode(code, "node.js"),
        "settings.js": SETTINGS,
        "node.js": await bundleOnce("_node_in_browser.ts"),
      }),
    );
    const workerd = stack.use(
      await Workerd.start(path, `${folder.path}/config.capnp`),
    );
    const owned = stack.move();
    return {
      async run(what, tell, signal) {
        const response = await fetch(`http://${workerd.host}/${what}`, {
          signal,
        });
        if (!response.ok) throw new Error(await response.text());
        await readLines(response.body!, tell);
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  };
}
