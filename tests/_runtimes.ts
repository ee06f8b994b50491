/** Runtimes other than Deno, and bundles of our modules for them. */
import { createRequire } from "node:module";

const ROOT = new URL("../", import.meta.url);
const CONFIG = Deno.env.get("DENO_TASK_CONFIG") || "deno.json";

// 340 MB together: what deno.json names, each first task would download, and what
// is imported by its literal name, each type check.
const BUN: string = "npm:bun@~1.4.4/package.json";
const WORKERD: string = "npm:workerd@~1.20261023.0";

// How long a program may take to start, in milliseconds.
const PATIENCE = 30_000;

/** A runtime that is installed. */
export interface Runtime {
  /** Its file. */
  readonly path: string;
  /** What it prints for `--version`. */
  readonly version: string;
  /** Why it cannot be used. */
  readonly missing?: undefined;
}

/** A runtime that cannot be used. */
export interface MissingRuntime {
  readonly path?: undefined;
  readonly version?: undefined;
  readonly missing: string;
}

async function probe(
  name: string,
  find: () => string | Promise<string>,
): Promise<Runtime | MissingRuntime> {
  try {
    const path = await find();
    const { success, stdout } = await new Deno.Command(path, {
      args: ["--version"],
      stderr: "null",
    }).output();
    const version = new TextDecoder().decode(stdout).trim();
    return success
      ? { path, version }
      : { missing: `${name} does not run here` };
  } catch (error) {
    const [why] = `${error}`.split("\n");
    return { missing: `${name} cannot be had: ${why}` };
  }
}

/** The oldest Node that is tried. */
export const OLDEST_NODE = 20;

/** Node, if it is installed, and not too old. */
export async function findNode(): Promise<Runtime | MissingRuntime> {
  const node = await probe("Node", () => "node");
  if (node.missing !== undefined) return node;
  const [, major] = /^v(\d+)\./.exec(node.version) ?? [];
  return Number(major) >= OLDEST_NODE
    ? node
    : { missing: `Node ${OLDEST_NODE} is needed, found ${node.version}` };
}

/** Bun, from npm. */
export function findBun(): Promise<Runtime | MissingRuntime> {
  return probe("Bun", async () => {
    await import(BUN, { with: { type: "json" } });
    const { os, arch } = Deno.build;
    const machine = arch === "aarch64" ? arch : "x64";
    const file = `bin/bun${os === "windows" ? ".exe" : ""}`;
    return createRequire(import.meta.resolve(BUN))
      .resolve(`@oven/bun-${os}-${machine}/${file}`);
  });
}

/** Cloudflare's workerd, from npm. */
export function findWorkerd(): Promise<Runtime | MissingRuntime> {
  return probe("workerd", async () => (await import(WORKERD)).default.default);
}

/** Options of {@linkcode bundle}. */
export interface BundleOptions {
  /** Modules that the runtime has itself. */
  external?: string[];
  /** Whether to make it as small as can be. */
  minify?: boolean;
  /**
   * What it is for; that of `deno` is right for Node and Bun as well.
   *
   * @default {"browser"}
   */
  platform?: "browser" | "deno";
  /** Which files stand for which modules. */
  instead?: Record<string, string>;
}

/**
 * Bundles a module of this project with all that it imports, as one ES module of
 * plain JavaScript that Node 20 understands.
 *
 * @param entry The module's file, as seen from the project's root.
 */
export async function bundle(
  entry: string,
  options: BundleOptions = {},
): Promise<string> {
  const { external = [], minify = false, instead } = options;
  const { platform = "browser" } = options;
  const folder = await Deno.makeTempDir();
  const file = `${folder}/bundle.js`;
  try {
    const args = external.map((name) => `--external=${name}`);
    if (instead !== undefined) {
      const { imports } = JSON.parse(
        await Deno.readTextFile(new URL(CONFIG, ROOT)),
      );
      const map = `${folder}/imports.json`;
      await Deno.writeTextFile(
        map,
        JSON.stringify({ imports: { ...imports, ...instead } }),
      );
      args.push(`--import-map=${map}`);
    }
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["bundle", "--quiet", `--config=${CONFIG}`],
        `--platform=${platform}`,
        ...args,
        `--output=${file}`,
        entry,
      ],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdout: "null",
      stderr: "piped",
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    const code = await Deno.readTextFile(file);
    // Node 20 knows no `using`. A thread of esbuild's would outlive the test.
    Deno.env.set("ESBUILD_WORKER_THREADS", "0");
    const { transformSync } = await import("esbuild");
    return transformSync(code, { target: "es2022", format: "esm", minify })
      .code;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A folder that is removed with its content when it is disposed of. */
export class TemporaryFolder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes one with some files. */
  static async create(files: Record<string, string>): Promise<TemporaryFolder> {
    const folder = new TemporaryFolder(await Deno.makeTempDir());
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder.path}/${name}`, text);
    }
    return folder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/**
 * A folder with the modules of a worker, the first of which is its main one, and
 * `config.capnp` for {@linkcode Workerd.start}.
 */
export function workerFolder(
  flags: string[],
  modules: Record<string, string>,
): Promise<TemporaryFolder> {
  const embedded = Object.keys(modules)
    .map((name) => `(name = "${name}", esModule = embed "${name}")`);
  return TemporaryFolder.create({
    ...modules,
    "config.capnp": `
      using Workerd = import "/workerd/workerd.capnp";
      const config :Workerd.Config = (
        services = [(name = "worker", worker = .worker)],
        sockets = [(
          name = "http", address = "127.0.0.1:0", http = (), service = "worker",
        )],
      );
      const worker :Workerd.Worker = (
        modules = [${embedded.join(", ")}],
        compatibilityDate = "2025-10-01",
        compatibilityFlags = ${JSON.stringify(flags)},
      );
    `,
  });
}

/** Workers that run in workerd. */
export class Workerd implements AsyncDisposable {
  /** Where its socket listens, such as `127.0.0.1:41234`. */
  readonly host: string;
  readonly #process: Deno.ChildProcess;
  readonly #rest: Promise<unknown>;

  private constructor(
    process: Deno.ChildProcess,
    host: string,
    rest: Promise<unknown>,
  ) {
    this.#process = process;
    this.host = host;
    this.#rest = rest;
  }

  /**
   * Starts what a configuration named `config` describes, with its one socket,
   * named `http`, at a free port.
   */
  static async start(
    path: string,
    configuration: string,
    env: Record<string, string> = {},
  ): Promise<Workerd> {
    const process = new Deno.Command(path, {
      args: [
        ...["serve", configuration, "config"],
        ...["--socket-addr=http=127.0.0.1:0", "--control-fd=1"],
      ],
      env,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const said = new Response(process.stderr).text();
    const reader = process.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    const timer = setTimeout(() => process.kill("SIGKILL"), PATIENCE);
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        clearTimeout(timer);
        await process.status;
        throw new Error(`workerd does not listen: ${await said}`);
      }
      text += value;
      const [, port] = /"event":"listen".*"port":(\d+)/.exec(text) ?? [];
      if (port === undefined) continue;
      clearTimeout(timer);
      const rest = Promise.all([said, reader.cancel()]);
      return new Workerd(process, `127.0.0.1:${port}`, rest);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // It hears no other signal while a worker computes.
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await this.#rest;
  }
}
