/**
 * The servers that are measured: our own, and those of others that are
 * installed.
 */

import { fileURLToPath } from "node:url";
import denoConfig from "../deno.json" with { type: "json" };
import type { Target } from "./_measure.ts";
import { Child, output, type Usage } from "./_process.ts";

/**
 * What a server does with messages. `plain` is an echo with the limits that are
 * there by default; `close` has them too, and closes at the first message.
 */
export type Mode =
  | "echo"
  | "plain"
  | "compress"
  | "broadcast"
  | "json"
  | "close";

/** How a server is started. */
interface Command {
  program: string;
  args: string[];
}

/** A kind of server. */
export interface ServerKind {
  /** Its title in tables. */
  readonly title: string;
  /** Its software, with versions; `undefined` if it is not installed. */
  version(): Promise<string | undefined>;
  /** Its command. It prints where it listens; others may listen there too. */
  command(mode: Mode, port: number): Command | Promise<Command>;
  /** Whether it echoes bytes, and knows nothing of WebSocket. */
  readonly raw?: boolean;
}

const root = new URL("../", import.meta.url);
const pathOf = (name: string): string => fileURLToPath(new URL(name, root));

/** Runs a file of this repository. */
export function deno(...args: string[]): Command {
  const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
  return {
    program: Deno.execPath(),
    args: [
      "run",
      `--config=${pathOf(config)}`,
      "--no-prompt",
      "--unstable-net",
      ...args,
    ],
  };
}

/** The version of Deno that runs this. */
export function denoVersion(): Promise<string> {
  return Promise.resolve(`Deno ${Deno.version.deno}`);
}

/** The version of a package that `deno task bench:peers` has installed. */
async function packageVersion(name: string): Promise<string | undefined> {
  try {
    const file = pathOf(`bench/node_modules/${name}/package.json`);
    return JSON.parse(await Deno.readTextFile(file)).version;
  } catch {
    return undefined;
  }
}

async function wsVersion(): Promise<string | undefined> {
  const node = await output("node", ["--version"]);
  const ws = await packageVersion("ws");
  if (node === undefined || ws === undefined) return undefined;
  const bufferutil = await packageVersion("bufferutil");
  const native = bufferutil && ` with bufferutil ${bufferutil}`;
  return `ws ${ws}${native ?? ""} on Node ${node.trim().slice(1)}`;
}

/**
 * Bun's binary: where the package's script has put it, where it was if npm runs
 * no scripts, or on the PATH. What npm puts on the PATH is a second process.
 */
async function findBun(): Promise<
  { program: string; version: string } | undefined
> {
  const { os, arch } = Deno.build;
  const machine = arch === "aarch64" ? arch : "x64";
  const modules = pathOf("bench/node_modules/");
  const packed = `${modules}@oven/bun-${os}-${machine}/bin/bun`;
  if (os !== "windows") await Deno.chmod(packed, 0o755).catch(() => {});
  for (const program of [`${modules}bun/bin/bun.exe`, packed, "bun"]) {
    const version = await output(program, ["--version"]);
    if (version !== undefined) return { program, version: version.trim() };
  }
  return undefined;
}

const bun = findBun();

/** By the names that `--servers` takes. */
export const SERVERS: Record<string, ServerKind> = {
  ours: {
    title: "ours",
    version: () => Promise.resolve(`${denoConfig.name} ${denoConfig.version}`),
    command: (mode, port) =>
      mode === "echo" || mode === "plain" || mode === "compress"
        ? deno(
          "--allow-net=127.0.0.1",
          "examples/echo.ts",
          "--port=0",
          ...(mode === "compress" ? ["--compress"] : []),
        )
        : deno("--allow-net=127.0.0.1", "bench/peers/ours.ts", mode, `${port}`),
  },
  deno: {
    title: "Deno.upgradeWebSocket",
    version: denoVersion,
    command: (mode, port) =>
      deno("--allow-net=127.0.0.1", "bench/peers/deno.ts", mode, `${port}`),
  },
  ws: {
    title: "ws on Node",
    version: wsVersion,
    command: (mode) => ({
      program: "node",
      args: [pathOf("bench/peers/ws.mjs"), mode],
    }),
  },
  bun: {
    title: "Bun",
    version: async () => {
      const found = await bun;
      return found && `Bun ${found.version}`;
    },
    command: async (mode) => ({
      program: (await bun)!.program,
      args: [pathOf("bench/peers/bun.mjs"), mode],
    }),
  },
  tcp: {
    title: "raw TCP on Deno",
    version: denoVersion,
    command: () => deno("--allow-net=127.0.0.1", "bench/peers/tcp.ts"),
    raw: true,
  },
};

/** A running server, in one process or several. */
export class RunningServer implements Target, AsyncDisposable {
  readonly port: number;
  readonly #children: Child[];

  constructor(port: number, children: Child[]) {
    this.port = port;
    this.#children = children;
  }

  async usage(): Promise<Usage | undefined> {
    const sum = { cpu: 0, waited: 0, memory: 0, peak: 0 };
    for (const child of this.#children) {
      const usage = await child.usage();
      if (usage === undefined) return undefined;
      sum.cpu += usage.cpu;
      sum.waited += usage.waited / this.#children.length;
      sum.memory += usage.memory;
      sum.peak += usage.peak;
    }
    return sum;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map((child) => child.stop()));
  }
}

/** How a server is started. */
export interface StartOptions {
  readonly mode: Mode;
  /** The core that it is to run on; any, if there is none. */
  readonly core?: number | undefined;
  /** How many processes listen at the same port. */
  readonly processes?: number;
}

/** Starts a server afresh. */
export async function startServer(
  kind: ServerKind,
  { mode, core, processes = 1 }: StartOptions,
): Promise<RunningServer> {
  const children: Child[] = [];
  let port = 0;
  while (children.length < processes) {
    const { program, args } = await kind.command(mode, port);
    const child = new Child(program, { args, core });
    children.push(child);
    const [, at] = await child.expect(/^Listening on \w+:\/\/[^/]*:(\d+)/);
    port = Number(at);
  }
  return new RunningServer(port, children);
}
