/**
 * Jobs, and three ways to learn how far one is:
 *
 * - `GET /jobs/ID/polling` answers at once;
 * - `GET /jobs/ID/long?since=N` answers when the job is further than step N;
 * - a WebSocket at `/jobs/ID/push` is sent each step.
 *
 * A WebSocket at `/jobs/ID/watch` begins the job, and tells what the three have
 * cost, and when each step was done; its own traffic is not counted.
 *
 * @module
 */

import {
  CloseCode,
  HandshakeError,
  type WebSocketConnection,
} from "../../mod.ts";
import { Meter } from "../_meter.ts";
import type { TappedOptions } from "../_tap.ts";
import { Job, type State, type Way, WAYS } from "./job.ts";

// 128 bits that the page makes up.
const PATH = /^\/jobs\/([0-9a-f]{32})\/(watch|polling|long|push)(?:\?|$)/;

/** How often a watcher gets a report, in milliseconds. */
const REPORT_INTERVAL = 200;
/** A page has four connections for each job. */
const MAX_JOBS = 250;
/** How many connections one address may have: it can't take all jobs. */
const MAX_PER_ADDRESS = 100;

/** Options of {@linkcode Progress}. */
export interface ProgressOptions {
  /**
   * After how long a long poll is answered without news, in milliseconds:
   * sooner than proxies in between give it up.
   *
   * @default {25000}
   */
  longestPoll?: number;
}

/** The application. */
export class Progress {
  readonly #page: (request: Request) => Response;
  readonly #longestPoll: number;
  readonly #jobs = new Map<string, Job>();

  /** @param page Answers requests for anything but jobs. */
  constructor(
    page: (request: Request) => Response,
    { longestPoll = 25_000 }: ProgressOptions = {},
  ) {
    this.#page = page;
    this.#longestPoll = longestPoll;
  }

  /** The options for `serveTapped()`. */
  get serveOptions(): TappedOptions {
    return {
      maxMessageSize: 1024,
      maxConnections: 4 * MAX_JOBS,
      maxConnectionsPerAddress: MAX_PER_ADDRESS,
      handler: (request) => this.#answer(request),
      tap: (conn) =>
        new Meter(conn, (target) => {
          const [id, way] = read(target);
          const isWay = WAYS.some((it) => it === way);
          return isWay ? this.#jobs.get(id)?.tallies[way as Way] : undefined;
        }),
      onRequest: ({ target }) => this.#check(target),
      onConnection: async (ws) => {
        const [id, way] = read(ws.request!.target);
        if (way === "watch") await this.#watch(id, ws);
        else await push(this.#jobs.get(id), ws);
      },
    };
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const [id, way] = read(pathname);
    if (way === "") return this.#page(request);
    const job = this.#jobs.get(id);
    if (job === undefined || way !== "polling" && way !== "long") {
      return new Response("Not found\n", { status: 404 });
    }
    if (way === "long") {
      const since = Number(searchParams.get("since"));
      await isFurther(job, since, this.#longestPoll);
    }
    const body = JSON.stringify(job.state);
    // Few header fields, for a fair comparison.
    return new Response(body, {
      headers: {
        "cache-control": "no-store",
        "content-length": `${body.length}`,
        "content-type": "application/json",
      },
    });
  }

  #check(target: string): void {
    const [id, way] = read(target);
    if (way === "watch" && this.#jobs.size < MAX_JOBS) return;
    if (way === "watch") {
      throw new HandshakeError("There are as many jobs as there may be", {
        status: 503,
      });
    }
    if (way === "push" && this.#jobs.has(id)) return;
    throw new HandshakeError("Not found", { status: 404 });
  }

  async #watch(id: string, ws: WebSocketConnection): Promise<void> {
    if (this.#jobs.has(id)) {
      return void await ws.close(CloseCode.PolicyViolation, "This id is taken");
    }
    const job = new Job();
    this.#jobs.set(id, job);
    let told = 0;
    const report = (): void => {
      // No report is sent while the last one has not been read.
      if (!ws.isOpen || ws.bufferedAmount > 65536) return;
      const { tallies, times } = job;
      tell(ws, { type: "report", tallies, times: times.slice(told) });
      told = times.length;
    };
    tell(ws, { type: "ready" });
    const timer = setInterval(report, REPORT_INTERVAL);
    try {
      for await (const message of ws) {
        const order = readOrder(message);
        if (order === undefined) {
          await ws.close(CloseCode.UnsupportedData, "Not an order");
        } else if (order.do === "start") {
          job.start(order.seconds, order.steps);
        } else {
          await tell(ws, { type: "time", now: performance.now() });
        }
      }
    } finally {
      clearInterval(timer);
      job.cancel();
      this.#jobs.delete(id);
    }
  }
}

function tell(ws: WebSocketConnection, what: unknown): Promise<void> {
  const sent = ws.send(JSON.stringify(what));
  sent.catch(() => {}); // its iteration ends as well
  return sent;
}

/** The job that a path names, and what is asked of it. */
function read(target: string): [id: string, way: string] {
  const [, id = "", way = ""] = PATH.exec(target) ?? [];
  return [id, way];
}

/** Waits until a job is further, or over, or the time is up. */
async function isFurther(
  job: Job,
  since: number,
  longest: number,
): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLong = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, longest, true);
  });
  while (job.state.step <= since && !job.isOver) {
    if (await Promise.race([job.change, tooLong])) break;
  }
  clearTimeout(timer);
}

/** Sends each step; a slow client gets fewer. */
async function push(
  job: Job | undefined,
  ws: WebSocketConnection,
): Promise<void> {
  let isClosed = false;
  ws.closed.then(() => isClosed = true);
  ws.forEach(() => {}).catch(() => {}); // there is nothing to say to this
  let last: State | undefined;
  while (job !== undefined && !isClosed) {
    const { state } = job;
    if (state.step !== last?.step) {
      await ws.send(JSON.stringify(state));
      last = state;
    } else if (job.isOver) break;
    else await Promise.race([job.change, ws.closed]);
  }
}

/** The orders of a watcher. */
type Order =
  | { do: "time" }
  | { do: "start"; seconds: number; steps: number };

function readOrder(message: unknown): Order | undefined {
  let order: Record<string, unknown> | null;
  try {
    order = JSON.parse(`${message}`);
  } catch {
    return undefined;
  }
  if (order?.["do"] === "time") return { do: "time" };
  const { seconds, steps } = order ?? {};
  const isFit = order?.["do"] === "start" &&
    typeof seconds === "number" && seconds > 0 && seconds <= 600 &&
    Number.isInteger(steps) && steps as number >= 1 && steps as number <= 1000;
  return isFit ? { do: "start", seconds, steps: steps as number } : undefined;
}
