/**
 * What the examples share as programs: flags, a listener, and an end
 * on Ctrl-C.
 *
 * @module
 */

import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import type { ServeOptions, Server } from "../mod.ts";
import { serveTapped, type TappedOptions } from "./_tap.ts";

/** A flag that takes a whole number. */
export interface NumberFlag<Default extends number | undefined> {
  type: "number";
  default: Default;
  help: string;
  /** @default {0} */
  min?: number;
  /** @default {Number.MAX_SAFE_INTEGER} */
  max?: number;
}

/** A flag that takes a text. */
export interface TextFlag<Default extends string | undefined> {
  type: "text";
  default: Default;
  help: string;
  /** What the help calls its value, such as `FILE`. */
  value: string;
}

/** A flag that takes a text, and may be given several times. */
export interface ListFlag {
  type: "list";
  help: string;
  /** What the help calls its value. */
  value: string;
  /** A letter that stands for it, behind one dash. */
  short?: string;
}

/** A flag that takes nothing. */
export interface SwitchFlag {
  type: "switch";
  help: string;
  /** A letter that stands for it, behind one dash. */
  short?: string;
}

/** An argument without a flag, in the order of these. */
export interface Operand {
  type: "operand";
  help: string;
}

/** The flags of a program, by name. */
export type Flags = Record<
  string,
  | NumberFlag<number | undefined>
  | TextFlag<string | undefined>
  | ListFlag
  | SwitchFlag
  | Operand
>;

/** The values of flags, or their defaults. */
export type FlagValues<F extends Flags> = {
  [Name in keyof F]: F[Name] extends { type: "switch" } ? boolean
    : F[Name] extends { type: "list" } ? string[]
    : F[Name] extends { type: "operand" } ? string
    : F[Name] extends { type: "number"; default: infer Default }
      ? Default extends number ? number : number | undefined
    : F[Name] extends { type: "text"; default: infer Default }
      ? Default extends string ? string : string | undefined
    : never;
};

/** A mistake of the user's: one line, no stack trace. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The flag for the address of a server. */
export const HOST_FLAG = {
  hostname: {
    type: "text",
    default: "127.0.0.1",
    value: "HOST",
    help: "the address to listen at; 0.0.0.0 for all",
  },
} as const satisfies Flags;

/** The flags for where a server listens. */
export const SERVER_FLAGS = {
  ...HOST_FLAG,
  unix: {
    type: "text",
    default: undefined,
    value: "PATH",
    help: "listen at a Unix socket instead",
  },
  cert: {
    type: "text",
    default: undefined,
    value: "FILE",
    help: "serve TLS with this certificate (PEM)",
  },
  key: {
    type: "text",
    default: undefined,
    value: "FILE",
    help: "and its private key (PEM)",
  },
} as const satisfies Flags;

/** How many may be connected at the same time. */
export const LIMIT_FLAGS = {
  "max-connections": {
    type: "number",
    default: 20_000,
    min: 1,
    help: "how many connections there may be",
  },
  "max-connections-per-address": {
    type: "number",
    default: undefined,
    min: 1,
    help:
      "how many of them from one IP address, such as a proxy's (three quarters)",
  },
} as const satisfies Flags;

/**
 * The options of `serve()` for these flags: one address cannot take all places,
 * unless the flags say so.
 */
export function limitsOf(
  flags: FlagValues<typeof LIMIT_FLAGS>,
): Pick<ServeOptions, "maxConnections" | "maxConnectionsPerAddress"> {
  const maxConnections = flags["max-connections"];
  return {
    maxConnections,
    maxConnectionsPerAddress: flags["max-connections-per-address"] ??
      Math.ceil(maxConnections * 0.75),
  };
}

/** The values of the flags for where a server listens. */
export type ServerFlags =
  & { port: number }
  & FlagValues<typeof HOST_FLAG>
  & Partial<FlagValues<typeof SERVER_FLAGS>>;

/** The flag for the port, 0 for any that is free. */
export function portFlag(port: number): NumberFlag<number> {
  return {
    type: "number",
    default: port,
    max: 65535,
    help: "the port; 0 for any that is free",
  };
}

/**
 * Reads the flags of the command line. `--help` prints them and exits with 0; a
 * mistake is told in one line, and exits with 1.
 */
export function readFlags<F extends Flags>(
  about: string,
  flags: F,
  args: readonly string[] = Deno.args,
): FlagValues<F> {
  try {
    return parseFlags(about, flags, args);
  } catch (error) {
    return exitWith(error);
  }
}

function parseFlags<F extends Flags>(
  about: string,
  flags: F,
  args: readonly string[],
): FlagValues<F> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: Object.values(flags).some(isOperand),
    options: parserOptions({
      ...flags,
      help: { type: "switch", help: "print this" },
    }),
  });
  if (values["help"]) {
    console.log(helpText(about, flags));
    Deno.exit(0);
  }
  const result = Object.fromEntries(
    Object.entries(flags).map(([name, flag]) => {
      if (flag.type === "operand") {
        const operand = positionals.shift();
        if (operand !== undefined) return [name, operand];
        throw new UsageError(`${name.toUpperCase()} is missing; see --help`);
      }
      const given = values[name] as string | string[] | undefined;
      if (flag.type === "switch") return [name, given !== undefined];
      if (flag.type === "list") return [name, given ?? []];
      if (given === undefined) return [name, flag.default];
      return [
        name,
        flag.type === "text" ? given : toNumber(name, given as string, flag),
      ];
    }),
  );
  if (positionals.length > 0) {
    throw new UsageError(`Unexpected argument [${positionals[0]}]`);
  }
  return result as FlagValues<F>;
}

function isOperand(flag: Flags[string]): boolean {
  return flag.type === "operand";
}

function parserOptions(flags: Flags): ParseArgsOptionsConfig {
  const options: ParseArgsOptionsConfig = {};
  for (const [name, flag] of Object.entries(flags)) {
    if (flag.type === "operand") continue;
    options[name] = {
      type: flag.type === "switch" ? "boolean" : "string",
      multiple: flag.type === "list",
      ...("short" in flag && flag.short !== undefined
        ? { short: flag.short }
        : {}),
    };
  }
  return options;
}

function toNumber(
  name: string,
  given: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: { min?: number; max?: number },
): number {
  const number = /^\d+$/.test(given) ? Number(given) : NaN;
  if (number >= min && number <= max) return number;
  const range = max === Number.MAX_SAFE_INTEGER
    ? `not less than ${min}`
    : `from ${min} to ${max}`;
  throw new UsageError(
    `--${name} must be a whole number ${range}, got [${given}]`,
  );
}

function helpText(about: string, flags: Flags): string {
  const rows = Object.entries(flags).map(([name, flag]) => {
    if (flag.type === "operand") return [name.toUpperCase(), flag.help];
    const short = "short" in flag ? `-${flag.short}, ` : "";
    const value = flag.type === "switch"
      ? ""
      : flag.type === "number"
      ? " N"
      : ` ${flag.value}`;
    const given = "default" in flag && flag.default !== undefined
      ? ` (${flag.default})`
      : "";
    return [`${short}--${name}${value}`, flag.help + given];
  });
  rows.push(["--help", "print this"]);
  const width = Math.max(...rows.map(([flag]) => flag!.length));
  const lines = rows.map(([flag, help]) => `  ${flag!.padEnd(width)}  ${help}`);
  return `${about}\n\n${lines.join("\n")}`;
}

/** Prints what is wrong in one line, and exits with 1. */
export function exitWith(error: unknown): never {
  const message = error instanceof Error ? error.message : String(error);
  console.error(`error: ${message.split("\n", 1)[0]}`);
  Deno.exit(1);
}

/**
 * Opens the listener that the flags ask for.
 *
 * @throws {UsageError} If it cannot be opened.
 */
export async function listen(flags: ServerFlags): Promise<Deno.Listener> {
  const { hostname, port, unix, cert, key } = flags;
  if ((cert === undefined) !== (key === undefined)) {
    throw new UsageError("--cert and --key go together");
  }
  if (unix !== undefined) {
    if (cert !== undefined) throw new UsageError("--unix is without TLS");
    return await listenUnix(unix);
  }
  const pem = cert === undefined ? undefined : {
    cert: await Deno.readTextFile(cert),
    key: await Deno.readTextFile(key!),
    alpnProtocols: ["http/1.1"],
  };
  return tryToListen(
    flags,
    () =>
      pem === undefined
        ? Deno.listen({ hostname, port })
        : Deno.listenTls({ hostname, port, ...pem }),
  );
}

/**
 * Opens a listener.
 *
 * @throws {UsageError} If it cannot be opened; it says where, and why.
 */
export function tryToListen<T>(
  { hostname, port }: { hostname: string; port: number },
  open: () => T,
): T {
  try {
    return open();
  } catch (error) {
    const reason = error instanceof Deno.errors.AddrInUse
      ? "it is in use"
      : (error as Error).message;
    throw new UsageError(
      `Cannot listen at port ${port} of ${hostname}: ${reason}`,
    );
  }
}

/**
 * Listens at a Unix socket, and replaces one that nobody listens at any more.
 */
async function listenUnix(path: string): Promise<Deno.Listener> {
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) {
      // A plain file refuses connections, too.
      if (!(await Deno.lstat(path)).isSocket) {
        throw new UsageError(`Cannot listen at ${path}: it is no socket`);
      }
      await Deno.remove(path);
      return Deno.listen({ transport: "unix", path });
    }
  }
  throw new UsageError(`Cannot listen at ${path}: it is in use`);
}

/** The address of a listener as a URL, such as `ws://127.0.0.1:9001/`. */
export function urlOf(
  scheme: "ws" | "http",
  addr: Deno.Addr,
  { hostname, cert }: { hostname: string; cert?: string | undefined },
): string {
  if ("path" in addr) return `${scheme}+unix:${addr.path}`;
  const { port } = addr as Deno.NetAddr;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return `${scheme}${cert === undefined ? "" : "s"}://${host}:${port}/`;
}

/**
 * Serves until SIGINT or SIGTERM: prints where, closes all connections then,
 * and exits with 0. An error is printed in one line, and it exits with 1.
 */
export async function runServer(
  scheme: "ws" | "http",
  flags: ServerFlags,
  options: TappedOptions,
): Promise<Server> {
  try {
    const listener = await listen(flags);
    const server = serveTapped(listener, options);
    stopOnSignals(async () => {
      await server.shutdown();
      return 0;
    });
    console.log(`Listening on ${urlOf(scheme, listener.addr, flags)}`);
    return server;
  } catch (error) {
    return exitWith(error);
  }
}

/**
 * Stops on SIGINT or SIGTERM, and exits with what `stop` resolves to; a second
 * signal does not wait for that.
 *
 * @returns The handler of SIGINT, for a terminal in which Ctrl-C is a key.
 */
export function stopOnSignals(stop: () => Promise<number>): () => void {
  let stoppedAt: number | undefined;
  const onSignal = async (exitCode: number): Promise<void> => {
    if (stoppedAt !== undefined) {
      // Under `deno task`, which passes signals on, Ctrl-C comes twice.
      if (performance.now() - stoppedAt > 300) Deno.exit(exitCode);
      return;
    }
    stoppedAt = performance.now();
    Deno.exit(await stop());
  };
  const onInterrupt = (): void => void onSignal(130);
  Deno.addSignalListener("SIGINT", onInterrupt);
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGTERM", () => onSignal(143));
  }
  return onInterrupt;
}
