/**
 * Danmaku in many processes that share one port, joined by Redis Pub/Sub. The
 * same on other machines, with the same Redis, joins them too.
 *
 * ```sh
 * redis-server &
 * deno task scale-out --processes 4
 * ```
 *
 * The kernel gives each new connection to one of the processes (SO_REUSEPORT,
 * which is Linux's alone). One that ends is started again.
 *
 * @module
 */

import { TextLineStream } from "./lines.ts";
import {
  exitWith,
  readFlags,
  stopOnSignals,
  tryToListen,
  UsageError,
} from "../_command_line.ts";
import { WORKER_FLAGS } from "./flags.ts";

/** How long to wait before a process that has ended is started again. */
const RESTART_PAUSE = 1000;

/** Starts processes, passes on their output, and ends them. */
class Fleet {
  readonly #args: readonly string[];
  readonly #redis: string;
  readonly #workers = new Map<string, Deno.ChildProcess>();
  #isStopping = false;

  constructor(args: readonly string[], redis: string) {
    this.#args = args;
    this.#redis = redis;
  }

  /**
   * Starts a process, and starts it again whenever it ends.
   *
   * @returns The port at which it listens.
   */
  async start(name: string, port: number): Promise<number> {
    const worker = this.#spawn(name, port);
    this.#workers.set(name, worker);
    const ready = Promise.withResolvers<number>();
    let lastWords = "";
    const listen = async (
      stream: ReadableStream<Uint8Array<ArrayBuffer>>,
      say: (line: string) => void,
    ) => {
      const lines = stream.pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream());
      for await (const line of lines) {
        const [, listening] = /^Listening at port (\d+)$/.exec(line) ?? [];
        if (listening !== undefined) ready.resolve(Number(listening));
        else if (this.#workers.get(name) === worker) say(line);
      }
    };
    let isReady = false;
    const said = Promise.all([
      listen(worker.stdout, (line) => console.log(`[${name}] ${line}`)),
      listen(worker.stderr, (line) => {
        if (isReady) console.error(`[${name}] ${line}`);
        else if (line.startsWith("error: ")) lastWords = line.slice(7);
      }),
    ]);
    const ended = Promise.all([worker.status, said]).then(([{ code }]) => {
      ready.reject(
        new UsageError(
          lastWords || `A process could not start: it ended with code ${code}`,
        ),
      );
      return code;
    });
    const listening = await ready.promise;
    isReady = true;
    console.log(`[${name}] Process ${worker.pid} is ready`);
    ended.then((code) => this.#restart(name, listening, code));
    return listening;
  }

  #spawn(name: string, port: number): Deno.ChildProcess {
    const folder = import.meta.dirname!;
    const socket = /^unix:(?:\/\/)?(.*)$/.exec(this.#redis)?.[1];
    const config = Deno.env.get("DENO_TASK_CONFIG");
    return new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        "--unstable-net", // for reusePort
        ...(config ? [`--config=${config}`] : []),
        "--allow-net",
        `--allow-read=${folder}/../danmaku${socket ? `,${socket}` : ""}`,
        ...(socket ? [`--allow-write=${socket}`] : []),
        `${folder}/worker.ts`,
        ...this.#args,
        `--port=${port}`,
        `--name=${name}`,
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  #restart(name: string, port: number, code: number): void {
    if (this.#isStopping) return;
    console.error(`[${name}] It ended with code ${code}: starting another`);
    setTimeout(() => {
      if (this.#isStopping) return;
      this.start(name, port).catch((error) => {
        console.error(`[${name}] ${error.message}`);
        this.#restart(name, port, 1);
      });
    }, RESTART_PAUSE);
  }

  /** Ends all of them. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(
      Array.from(this.#workers.values(), async (worker) => {
        // It shuts down when its standard input ends.
        await worker.stdin.close().catch(() => {});
        await worker.status;
      }),
    );
  }
}

/**
 * Checks that no other program listens at the port, which would be shared with
 * it.
 */
function assertFree(hostname: string, port: number): void {
  tryToListen({ hostname, port }, () => Deno.listen({ hostname, port }))
    .close();
}

if (import.meta.main) {
  const { processes, port, ...flags } = readFlags(
    "Serves danmaku from many processes, joined by Redis.",
    {
      processes: {
        type: "number",
        default: 2,
        min: 1,
        max: 64,
        help: "how many processes to start",
      },
      ...WORKER_FLAGS,
    },
  );
  const args = Object.entries(flags).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}=${value}`]
  );
  const fleet = new Fleet(args, flags.redis);
  try {
    if (processes > 1 && Deno.build.os !== "linux") {
      throw new UsageError(
        `Processes can share a port on Linux alone: --processes 1, please`,
      );
    }
    if (port > 0) assertFree(flags.hostname, port);
    stopOnSignals(async () => {
      await fleet.stop();
      return 0;
    });
    // The first one shows whether it works, and chooses the port.
    const shared = await fleet.start("1", port);
    await Promise.all(
      Array.from(
        { length: processes - 1 },
        (_, i) => fleet.start(`${i + 2}`, shared),
      ),
    );
    const host = flags.hostname.includes(":")
      ? `[${flags.hostname}]`
      : flags.hostname;
    console.log(`Listening on http://${host}:${shared}/`);
  } catch (error) {
    await fleet.stop();
    exitWith(error);
  }
}
