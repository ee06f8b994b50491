/** What is measured: our own server and its peers, as far as they are there. */

import denoConfig from "../deno.json" with { type: "json" };
import { Child, output } from "./_process.ts";

/** What a server does with messages. */
export type Mode = "echo" | "compress" | "broadcast" | "json";

/** How a server is started. */
interface Command {
  program: string;
  args: string[];
}

/** A kind of server. */
export interface ServerKind {
  /** What it is called in tables. */
  readonly title: string;
  /** What runs it, with versions; `undefined` if it is not there. */
  version(): Promise<string | undefined>;
  /** Its command. It listens at port 0, and prints where that is. */
  command(mode: Mode): Command | Promise<Command>;
  /** Whether it echoes bytes, and knows nothing of WebSocket. */
  readonly raw?: boolean;
}

const root = new URL("../", import.meta.url);
const pathOf = (name: string): string =>
  decodeURIComponent(new URL(name, root).pathname);

function deno(...args: string[]): Command {
  const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
  return {
    program: Deno.execPath(),
    args: ["run", `--config=${pathOf(config)}`, "--no-prompt", ...args],
  };
}

function denoVersion(): Promise<string> {
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
    command: (mode) =>
      mode === "echo" || mode === "compress"
        ? deno(
          "--allow-net=127.0.0.1",
          "examples/echo.ts",
          "--port=0",
          ...(mode === "compress" ? ["--compress"] : []),
        )
        : deno("--allow-net=127.0.0.1", "bench/peers/ours.ts", mode),
  },
  tcp: {
    title: "raw TCP on Deno",
    version: denoVersion,
    command: () => deno("--allow-net=127.0.0.1", "bench/peers/tcp.ts"),
    raw: true,
  },
  deno: {
    title: "Deno.upgradeWebSocket",
    version: denoVersion,
    command: (mode) =>
      deno("--allow-net=127.0.0.1", "bench/peers/deno.ts", mode),
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
};

/** A server that runs. */
export interface RunningServer extends AsyncDisposable {
  readonly children: readonly Child[];
  readonly port: number;
}

/** Starts a server afresh. */
export async function startServer(
  kind: ServerKind,
  mode: Mode,
  core?: number,
): Promise<RunningServer> {
  const { program, args } = await kind.command(mode);
  const child = new Child(program, { args, core });
  const [, port] = await child.expect(/^Listening on \w+:\/\/[^/]*:(\d+)/);
  return {
    children: [child],
    port: Number(port),
    [Symbol.asyncDispose]: () => child.stop(),
  };
}
