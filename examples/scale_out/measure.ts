/**
 * Measures danmaku in one process and in several: how many messages a second are
 * fanned out, how long a comment takes, and what a viewer costs. It prints the
 * tables of docs/scale_out.md.
 *
 * ```sh
 * redis-server --save "" &
 * deno task measure-scale-out
 * ```
 *
 * @module
 */

import { connect, generateKey, type WebSocketConnection } from "../../mod.ts";
import { exitWith, readFlags, UsageError } from "../_command_line.ts";
import type { Comment, Update, Welcome } from "../danmaku/comment.ts";
import { TextLineStream } from "./lines.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** `scale_out/main.ts`, running. */
class Fleet implements AsyncDisposable {
  readonly pids: number[] = [];
  #process: Deno.ChildProcess;
  port = 0;

  private constructor(processes: number, redis: string, gather: number) {
    const config = Deno.env.get("DENO_TASK_CONFIG");
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        ...(config ? [`--config=${config}`] : []),
        "--allow-net",
        "--allow-env=DENO_TASK_CONFIG",
        `--allow-run=${Deno.execPath()}`,
        `${import.meta.dirname}/main.ts`,
        `--processes=${processes}`,
        `--redis=${redis}`,
        `--gather=${gather}`,
        "--port=0",
        "--rate=1000000",
        "--room-rate=1000000",
        "--max-connections=100000",
      ],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  static async start(
    processes: number,
    redis: string,
    gather = 40,
  ): Promise<Fleet> {
    const fleet = new Fleet(processes, redis, gather);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const complaints = new Response(fleet.#process.stderr).text();
    (async () => {
      const lines = fleet.#process.stdout.pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream());
      for await (const line of lines) {
        const [, pid] = /Process (\d+) is ready/.exec(line) ?? [];
        if (pid !== undefined) fleet.pids.push(Number(pid));
        const [, port] = /^Listening on .*:(\d+)\//.exec(line) ?? [];
        if (port === undefined) continue;
        fleet.port = Number(port);
        resolve();
      }
      const [line = ""] = (await complaints).split("\n");
      reject(new UsageError(line.replace(/^error: /, "")));
    })();
    await promise;
    return fleet;
  }

  /** The memory of its workers, in bytes, as `ps` reports it. */
  async memory(): Promise<number> {
    const { stdout } = await new Deno.Command("ps", {
      args: ["-o", "rss=", "-p", this.pids.join(",")],
    }).output();
    return decoder.decode(stdout).trim().split(/\s+/)
      .reduce((sum, kibibytes) => sum + Number(kibibytes) * 1024, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.status;
  }
}

/** A viewer that only counts bytes, so that it costs next to nothing. */
class Counter {
  bytes = 0;
  readonly #conn: Deno.TcpConn;

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  static async enter(port: number, room: string): Promise<Counter> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    await conn.write(encoder.encode(
      `GET /rooms/${room} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${generateKey()}\r\n\r\n`,
    ));
    const first = await conn.read(new Uint8Array(4096));
    if (first === null) throw new Error("The server does not want a viewer");
    const counter = new Counter(conn);
    counter.#read();
    return counter;
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(128 * 1024);
    try {
      for (let n; (n = await this.#conn.read(buffer)) !== null;) {
        this.bytes += n;
      }
    } catch {
      // It is closed.
    }
  }

  close(): void {
    this.#conn.close();
  }
}

/** A viewer that reads what it gets. */
class Viewer {
  readonly arrivals = new Map<string, number>();
  /** The bytes of all updates with comments, and the number of comments. */
  bytes = 0;
  comments = 0;

  private constructor(
    readonly ws: WebSocketConnection,
    readonly server: string,
  ) {
    ws.forEach((message) => {
      const update: Update = JSON.parse(String(message));
      if (update.type !== "comments") return;
      this.bytes += encoder.encode(String(message)).length + 4;
      this.comments += update.comments.length;
      const now = performance.now();
      for (const { text } of update.comments) this.arrivals.set(text, now);
    }).catch(() => {});
  }

  static async enter(port: number, room: string): Promise<Viewer> {
    const url = `ws://127.0.0.1:${port}/rooms/${room}`;
    const ws = await connect(url, { maxReadAheadMessages: 10_000 });
    const welcome: Welcome = JSON.parse(String(await ws.receive()));
    return new Viewer(ws, welcome.server ?? "");
  }

  say(text: string): void {
    const comment: Partial<Comment> = { name: "Measure", text, color: 0 };
    this.ws.send(JSON.stringify(comment));
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))]!;
}

/**
 * One viewer comments as fast as possible for some seconds: that many comments
 * are under way at any time.
 *
 * @returns How many comments a second reached all viewers together.
 */
async function measureFanOut(
  { port }: Fleet,
  { viewers, seconds, ahead }: {
    viewers: number;
    seconds: number;
    ahead: number;
  },
): Promise<number> {
  const room = "fan-out";
  const witness = await Viewer.enter(port, room);
  const counters = await Promise.all(
    Array.from({ length: viewers }, () => Counter.enter(port, room)),
  );
  await pause(1000); // until the number of viewers has been sent
  // Only a few comments are sent that the witness has not heard.
  let isOver = false;
  const talk = (async () => {
    for (let said = 0; !isOver; said++) {
      while (said - witness.comments > ahead && !isOver) await pause(1);
      witness.say(`${said}`.padStart(12, "-"));
      if (said % 20 === 0) await pause(0);
    }
  })();
  await pause(1000); // to warm up
  const count = () => ({
    bytes: counters.reduce((sum, counter) => sum + counter.bytes, 0),
    witnessed: [witness.bytes, witness.comments] as const,
    at: performance.now(),
  });
  const first = count();
  await pause(1000 * seconds);
  const last = count();
  isOver = true;
  await talk;
  const perComment = (last.witnessed[0] - first.witnessed[0]) /
    (last.witnessed[1] - first.witnessed[1]);
  for (const counter of counters) counter.close();
  await witness.ws.close();
  return (last.bytes - first.bytes) / perComment /
    ((last.at - first.at) / 1000);
}

/**
 * Comments now and then.
 *
 * @returns How long it took to come back, and to reach another process, in
 * milliseconds.
 */
async function measureLatency(
  { port, pids }: Fleet,
  comments: number,
): Promise<{ own: number[]; other: number[] }> {
  const room = "latency";
  const here = await Viewer.enter(port, room);
  let there = await Viewer.enter(port, room);
  while (pids.length > 1 && there.server === here.server) {
    await there.ws.close();
    there = await Viewer.enter(port, room);
  }
  await pause(1000);
  const said = new Map<string, number>();
  for (let i = 0; i < comments; i++) {
    said.set(`${i}`, performance.now());
    here.say(`${i}`);
    await pause(50); // so that each goes out alone
  }
  await pause(500);
  const times = (viewer: Viewer) =>
    Array.from(said).flatMap(([text, at]) => {
      const arrival = viewer.arrivals.get(text);
      return arrival === undefined ? [] : [arrival - at];
    });
  const result = { own: times(here), other: times(there) };
  await Promise.all([here.ws.close(), there.ws.close()]);
  return result;
}

/** How much memory each of many idle viewers takes, in bytes. */
async function measureMemory(fleet: Fleet, viewers: number): Promise<number> {
  const enter = async (count: number) => {
    const counters: Counter[] = [];
    while (counters.length < count) {
      counters.push(
        ...await Promise.all(
          Array.from(
            { length: Math.min(50, count - counters.length) },
            () => Counter.enter(fleet.port, "memory"),
          ),
        ),
      );
    }
    return counters;
  };
  const warm = await enter(200);
  await pause(2000);
  const before = await fleet.memory();
  const counters = await enter(viewers);
  await pause(2000);
  const after = await fleet.memory();
  for (const counter of [...warm, ...counters]) counter.close();
  return (after - before) / viewers;
}

if (import.meta.main) {
  const flags = readFlags(
    "Measures danmaku in one process and in two.",
    {
      redis: {
        type: "text",
        default: "redis://127.0.0.1:6379",
        value: "URL",
        help: "what joins the processes",
      },
      viewers: {
        type: "number",
        default: 200,
        min: 1,
        help: "how many comments are fanned out to",
      },
      seconds: {
        type: "number",
        default: 5,
        min: 1,
        help: "how long each fan-out is measured",
      },
      comments: {
        type: "number",
        default: 400,
        min: 1,
        help: "how many comments are timed",
      },
      idle: {
        type: "number",
        default: 2000,
        min: 1,
        help: "how many idle viewers are weighed",
      },
    },
  );
  try {
    const { viewers, seconds, comments, idle, redis } = flags;
    console.log(
      "| processes | messages/s | comments/s, gathered | same process | through Redis |",
    );
    console.log("| --: | --: | --: | --: | --: |");
    for (const processes of [1, 2]) {
      const rates: number[] = [];
      let times: { own: number[]; other: number[] };
      for (const [gather, ahead] of [[0, 100], [40, 2000]] as const) {
        await using fleet = await Fleet.start(processes, redis, gather);
        times = await measureLatency(fleet, gather === 0 ? 1 : comments);
        rates.push(await measureFanOut(fleet, { viewers, seconds, ahead }));
      }
      const show = (values: number[]) =>
        `${percentile(values, 0.5).toFixed(1)} / ${
          percentile(values, 0.99).toFixed(1)
        } ms`;
      const cells = [
        processes,
        ...rates.map((rate) => Math.round(rate).toLocaleString("en")),
        show(times!.own),
        processes === 1 ? "" : show(times!.other),
      ];
      console.log(`| ${cells.join(" | ")} |`);
    }
    await using fleet = await Fleet.start(1, redis);
    const bytes = await measureMemory(fleet, idle);
    console.log(
      `\nAn idle viewer takes ${(bytes / 1024).toFixed(1)} KiB of memory.`,
    );
  } catch (error) {
    exitWith(error);
  }
  Deno.exit(0);
}
