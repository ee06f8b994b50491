/** Other runtimes than Deno: where they are, and programs for them. */
import { createRequire } from "node:module";

const ROOT = new URL("../", import.meta.url);
const CONFIG = Deno.env.get("DENO_TASK_CONFIG") || "deno.json";

/** A program that runs other programs. */
export interface Runtime {
  /** Its file. */
  readonly path: string;
  /** Why it cannot be used. */
  readonly missing?: undefined;
}

/** A runtime that cannot be used. */
export interface MissingRuntime {
  readonly path?: undefined;
  readonly missing: string;
}

async function probe(
  name: string,
  find: () => string | Promise<string>,
): Promise<Runtime | MissingRuntime> {
  try {
    const path = await find();
    const { success } = await new Deno.Command(path, {
      args: ["--version"],
      stdout: "null",
      stderr: "null",
    }).output();
    return success ? { path } : { missing: `${name} does not run here` };
  } catch {
    return { missing: `${name} cannot be had` };
  }
}

/** Node, if it is installed. */
export function findNode(): Promise<Runtime | MissingRuntime> {
  return probe("Node", () => "node");
}

/** Bun, from npm. */
export function findBun(): Promise<Runtime | MissingRuntime> {
  return probe("Bun", async () => {
    // Deno must not look for types: that would fetch it for each type check.
    const manifest: string = "bun/package.json";
    await import(manifest, { with: { type: "json" } });
    const { resolve } = createRequire(import.meta.url);
    const { os, arch } = Deno.build;
    const machine = arch === "aarch64" ? arch : "x64";
    const file = `bin/bun${os === "windows" ? ".exe" : ""}`;
    return createRequire(resolve(manifest))
      .resolve(`@oven/bun-${os}-${machine}/${file}`);
  });
}

/** Cloudflare's workerd, from npm. */
export function findWorkerd(): Promise<Runtime | MissingRuntime> {
  return probe("workerd", async () => {
    const name: string = "workerd";
    return (await import(name)).default.default;
  });
}

/** Options of {@linkcode bundle}. */
export interface BundleOptions {
  /** Modules that the runtime has itself. */
  external?: string[];
  /** Whether to make it as small as can be. */
  minify?: boolean;
}

/**
 * Bundles a module of this project with all that it imports, as one ES module of
 * plain JavaScript that Node 20 understands.
 *
 * @param entry The module's file, as seen from the project's root.
 */
export async function bundle(
  entry: string,
  { external = [], minify = false }: BundleOptions = {},
): Promise<string> {
  const file = await Deno.makeTempFile({ suffix: ".js" });
  try {
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["bundle", "--quiet", `--config=${CONFIG}`, "--platform=browser"],
        ...external.map((name) => `--external=${name}`),
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
    await Deno.remove(file);
  }
}

/** A folder that goes with what is in it. */
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
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`workerd ended: ${await said}`);
      text += value;
      const [, port] = /"event":"listen".*"port":(\d+)/.exec(text) ?? [];
      if (port === undefined) continue;
      const rest = Promise.all([said, reader.cancel()]);
      return new Workerd(process, `127.0.0.1:${port}`, rest);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill();
    await this.#process.status;
    await this.#rest;
  }
}
