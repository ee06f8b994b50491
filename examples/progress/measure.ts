/**
 * What it costs to know how far a job is, in three ways at once, without a
 * browser but with the header fields of one:
 *
 * ```sh
 * deno task progress:measure
 * ```
 *
 * @module
 */

import { connect, parseResponseHead } from "../../mod.ts";
import { permessageDeflate } from "../../deflate.ts";
import { exitWith, readFlags } from "../_command_line.ts";
import type { Tally } from "../_meter.ts";
import { serveTapped } from "../_tap.ts";
import { type State, type Way, WAYS } from "./job.ts";
import { Progress } from "./progress.ts";

// What Chromium 156 sends, from a page with the same policy as ours.
const USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 " +
  "(KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";
const ACCEPTED = {
  "Accept-Encoding": "gzip, deflate, br, zstd",
  "Accept-Language": "en-US,en;q=0.9",
};
const FETCH_FIELDS = {
  "Connection": "keep-alive",
  "sec-ch-ua-platform": '"Linux"',
  "User-Agent": USER_AGENT,
  "sec-ch-ua": '"Not:A-Brand";v="8", "Chromium";v="156"',
  "sec-ch-ua-mobile": "?0",
  "Accept": "*/*",
  "Sec-Fetch-Site": "same-origin",
  "Sec-Fetch-Mode": "cors",
  "Sec-Fetch-Dest": "empty",
  ...ACCEPTED,
};
const UPGRADE_FIELDS = {
  "Pragma": "no-cache",
  "Cache-Control": "no-cache",
  "User-Agent": USER_AGENT,
  ...ACCEPTED,
};

const NAMES: Record<Way, string> = {
  polling: "polling",
  long: "long polling",
  push: "WebSocket",
};

/** Options of {@linkcode measure}. */
export interface MeasureOptions {
  /** How long the job takes. */
  seconds: number;
  /** How many steps it has. */
  steps: number;
  /** How often it is polled, in milliseconds. */
  interval: number;
}

/** The cost and the results of one way. */
export interface Figures extends Tally {
  /** From each step to when it, or a later one, was known, in milliseconds. */
  delays: number[];
}

/** When that many steps were known to be done. */
type Sighting = [step: number, at: number];

/** Runs a job, and follows its progress in all three ways. */
export async function measure(
  { seconds, steps, interval }: MeasureOptions,
): Promise<Record<Way, Figures>> {
  const progress = new Progress(() => new Response(null, { status: 404 }));
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = serveTapped(listener, {
    ...progress.serveOptions,
    onError: () => {}, // the clients report what goes wrong
  });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => server.shutdown());
  const host = `127.0.0.1:${listener.addr.port}`;
  const id = crypto.getRandomValues(new Uint8Array(16)).toHex();
  const url = `ws://${host}/jobs/${id}`;

  const watcher = await connect(`${url}/watch`);
  await watcher.receive(); // it is ready
  // The job is the same; what is measured begins with it.
  const polling = follow(host, `/jobs/${id}/polling`, () => interval);
  const long = follow(host, `/jobs/${id}/long`, () => 0);
  const push = listen(`${url}/push`, host);
  const sightings = Promise.all([polling, long, push]);
  let isOver = false;
  const end = (): boolean => isOver = true;
  sightings.then(end, end);
  await watcher.send(JSON.stringify({ do: "start", seconds, steps }));

  const times: number[] = [];
  let tallies: Record<Way, Tally> | undefined;
  for await (const message of watcher) {
    const wasOver = isOver;
    const report = JSON.parse(`${message}`);
    times.push(...report.times);
    tallies = report.tallies;
    if (wasOver) break; // all has been counted before this was written
  }
  await watcher.close();
  const seen = await sightings;
  const figures = WAYS.map((way, i) => {
    const delays = times.map((time, step) => {
      const [, at = NaN] = seen[i]!.find(([known]) => known > step) ?? [];
      return at - time;
    });
    return [way, { ...tallies![way], delays }];
  });
  return Object.fromEntries(figures);
}

/** Asks until the job is over: after some time, or as soon as there is an answer. */
async function follow(
  host: string,
  path: string,
  interval: () => number,
): Promise<Sighting[]> {
  const [hostname = "", port] = host.split(":");
  using conn = await Deno.connect({ hostname, port: Number(port) });
  conn.setNoDelay(true);
  const sightings: Sighting[] = [];
  let isOver = false;
  let due = performance.now();
  for (let since = 0; !isOver;) {
    const query = path.endsWith("/long") ? `?since=${since}` : "";
    const { step, of } = await fetchState(conn, host, path + query);
    sightings.push([step, performance.now()]);
    since = step;
    isOver = of > 0 && step === of;
    due = Math.max(due + interval(), performance.now());
    const pause = isOver ? 0 : due - performance.now();
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return sightings;
}

/** A request as a browser sends it, and its answer. */
async function fetchState(
  conn: Deno.TcpConn,
  host: string,
  target: string,
): Promise<State> {
  const lines = Object.entries({ Host: host, ...FETCH_FIELDS })
    .map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const request = `GET ${target} HTTP/1.1\r\n${lines}\r\n`;
  let rest: Uint8Array = new TextEncoder().encode(request);
  while (rest.length > 0) rest = rest.subarray(await conn.write(rest));
  const buffer = new Uint8Array(4096);
  for (let length = 0;;) {
    const got = await conn.read(buffer.subarray(length));
    if (got === null) throw new Error("The server closed the connection");
    length += got;
    const head = parseResponseHead(buffer.subarray(0, length));
    if (head === undefined) continue;
    const end = head.byteLength + Number(head.headers.get("content-length"));
    if (length < end) continue;
    const body = buffer.subarray(head.byteLength, end);
    return JSON.parse(new TextDecoder().decode(body));
  }
}

/** Receives steps by WebSocket. */
async function listen(url: string, host: string): Promise<Sighting[]> {
  const ws = await connect(url, {
    headers: UPGRADE_FIELDS,
    origin: `http://${host}`,
    extensions: [permessageDeflate()], // browsers offer it; this server has none
  });
  const sightings: Sighting[] = [];
  for await (const message of ws) {
    const { step, of } = JSON.parse(`${message}`) as State;
    sightings.push([step, performance.now()]);
    if (of > 0 && step === of) break;
  }
  await ws.close();
  return sightings;
}

/** The figures as a table. */
export function tableOf(figures: Record<Way, Figures>): string {
  const count = (number: number) => number.toLocaleString("en");
  const rows = WAYS.map((way) => {
    const { requests, up, down, delays } = figures[way];
    const mean = delays.reduce((sum, it) => sum + it, 0) / delays.length;
    const times = [mean, Math.max(...delays)].map((it) =>
      `${it < 10 ? it.toFixed(1) : count(Math.round(it))} ms`
    );
    return [NAMES[way], ...[requests, up, down].map(count), ...times];
  });
  const table = [
    ["", "requests", "bytes up", "bytes down", "mean delay", "longest delay"],
    ...rows,
  ];
  const widths = table[0]!.map((_, i) =>
    Math.max(...table.map((row) => row[i]!.length))
  );
  const lines = table.map((row) => {
    const cells = row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)
    );
    return `| ${cells.join(" | ")} |`;
  });
  const rule = widths.map((width, i) =>
    i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`
  );
  lines.splice(1, 0, `| ${rule.join(" | ")} |`);
  return lines.join("\n");
}

if (import.meta.main) {
  const flags = readFlags("Measures three ways to learn how far a job is.", {
    seconds: {
      type: "number",
      default: 60,
      min: 1,
      max: 600,
      help: "how long the job takes",
    },
    steps: {
      type: "number",
      default: undefined,
      min: 1,
      max: 1000,
      help: "how many steps it has (one a second)",
    },
    interval: {
      type: "number",
      default: 1000,
      min: 10,
      max: 600_000,
      help: "how often it is polled, in ms",
    },
  });
  const { seconds, interval } = flags;
  const steps = flags.steps ?? seconds;
  try {
    const figures = await measure({ seconds, steps, interval });
    console.log(
      `A job of ${seconds} s in ${steps} steps, polled every ${interval} ms\n`,
    );
    console.log(tableOf(figures));
  } catch (error) {
    exitWith(error);
  }
}
