/** One measurement of one server: what is done to it, and what it costs. */

import process from "node:process";
import { encodeClosePayload, encodeFrame, Opcode } from "../frame.ts";
import {
  dial,
  eachOf,
  type LoadConnection,
  openAll,
  type Pattern,
  Script,
  shakeHands,
  writeAll,
} from "./_load.ts";
import { randomNumbers } from "./_messages.ts";
import type { Usage } from "./_process.ts";
import { Histogram } from "./_statistics.ts";

/** How long is measured, in seconds. */
export interface Times {
  readonly warmup: number;
  readonly seconds: number;
}

/** The results, without those that do not apply or cannot be had here. */
export interface Figures {
  /** Messages, handshakes or deliveries a second. */
  readonly rate: number;
  /** CPU time of the server for each, in nanoseconds. */
  readonly cpu?: number | undefined;
  /** The median latency, in microseconds. */
  readonly p50?: number | undefined;
  /** The 99th percentile of the latency, in microseconds. */
  readonly p99?: number | undefined;
  /**
   * The messages of the connection with the fewest, as a share of the average.
   */
  readonly fairness?: number | undefined;
  /** Resident memory of the server, in bytes. */
  readonly memory?: number | undefined;
  /** The share of the time that the server could have run but did not. */
  readonly waited?: number | undefined;
  /** The share of the time that this process ran. */
  readonly load?: number | undefined;
  /** Bytes on the wire for each byte of a message. */
  readonly wire?: number | undefined;
  /** Resident memory of the server for each connection, in bytes. */
  readonly perConnection?: number | undefined;
}

/** What is measured. */
export interface Measured {
  /** What it has used so far; `undefined` where that cannot be had. */
  usage(): Promise<Usage | undefined>;
}

/** A server under load, and where it listens. */
export interface Target extends Measured {
  readonly port: number;
}

interface Snapshot {
  readonly time: number;
  readonly usage: Usage | undefined;
  readonly load: number;
  readonly counts: readonly number[];
}

async function snapshot(
  measured: Measured,
  counts: () => readonly number[],
): Promise<Snapshot> {
  const usage = await measured.usage();
  const { user, system } = process.cpuUsage();
  return {
    time: performance.now() / 1000,
    usage,
    load: (user + system) / 1e6,
    counts: counts(),
  };
}

/** The work that is measured. */
export interface Work {
  /** Rejects if it can't go on, which fails the measurement. */
  readonly going: Promise<unknown>;
  /** How much each connection has done so far. */
  readonly counts: () => readonly number[];
  /** How long it took each time. */
  readonly latencies?: Histogram;
}

/** Measures while work goes on. */
export async function observe(
  measured: Measured,
  { going, counts, latencies }: Work,
  { warmup, seconds }: Times,
): Promise<Figures> {
  const failed = new Promise<never>((_, reject) => going.catch(reject));
  failed.catch(() => {});
  await Promise.race([delay(warmup), failed]);
  const before = await snapshot(measured, counts);
  latencies?.clear();
  await Promise.race([delay(seconds), failed]);
  const after = await snapshot(measured, counts);
  const done = after.counts.map((count, i) => count - (before.counts[i] ?? 0));
  const total = done.reduce((sum, count) => sum + count, 0);
  if (total === 0) throw new Error("Nothing came back in time");
  const took = after.time - before.time;
  return {
    rate: total / took,
    p50: latencies?.quantile(0.5),
    p99: latencies?.quantile(0.99),
    load: (after.load - before.load) / took,
    fairness: Math.min(...done) * done.length / total,
    ...(before.usage && after.usage && {
      cpu: (after.usage.cpu - before.usage.cpu) / total * 1e9,
      waited: (after.usage.waited - before.usage.waited) / took,
      memory: after.usage.memory,
    }),
  };
}

function delay(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

/** Has the server echo messages, each connection `depth` of them at a time. */
export async function measureEcho(
  target: Target,
  pattern: Pattern,
  times: Times,
): Promise<Figures> {
  const latencies = new Histogram();
  // Thousands of scripts would take too much memory.
  const scripts = Array.from(
    { length: Math.min(32, pattern.connections) },
    (_, i) => new Script(pattern, i + 1),
  );
  const idle = await target.usage();
  const connections = await openAll(target.port, pattern, scripts, latencies);
  const going = Promise.all(connections.flatMap((connection) => [
    connection.send(pattern.depth),
    connection.receive((count) => connection.send(count)),
  ]));
  try {
    const counts = () => connections.map(({ received }) => received);
    const work = { going, counts, latencies };
    const figures = await observe(target, work, times);
    const { memory } = figures;
    return {
      ...figures,
      perConnection: idle && memory &&
        (memory - idle.memory) / pattern.connections,
    };
  } finally {
    await closeAll(connections, going);
  }
}

async function closeAll(
  connections: readonly LoadConnection[],
  going: Promise<unknown>,
): Promise<void> {
  for (const connection of connections) connection.close();
  await going.catch(() => {});
}

/**
 * Has the server send each message of the first connection to all of them. The
 * next `depth` follow when all have them.
 */
export async function measureBroadcast(
  target: Target,
  pattern: Pattern,
  times: Times,
): Promise<Figures> {
  const latencies = new Histogram();
  const script = new Script(pattern, 1);
  const [publisher] = await openAll(
    target.port,
    { ...pattern, connections: 1 },
    [script],
    latencies,
  );
  const others = await openAll(
    target.port,
    { ...pattern, connections: pattern.connections - 1 },
    [script],
    new Histogram(),
  );
  const connections = [publisher!, ...others];
  const { depth } = pattern;
  let missing = depth * connections.length;
  const onReceived = (count: number): Promise<void> | undefined => {
    missing -= count;
    if (missing > 0) return undefined;
    missing += depth * connections.length;
    return publisher!.send(depth);
  };
  const going = Promise.all([
    ...connections.map((connection) => connection.receive(onReceived)),
    publisher!.send(depth),
  ]);
  try {
    const counts = () => connections.map(({ received }) => received);
    return await observe(target, { going, counts, latencies }, times);
  } finally {
    await closeAll(connections, going);
  }
}

/** Opens and closes connections, so many at a time. */
export async function measureHandshakes(
  target: Target,
  atATime: number,
  times: Times,
): Promise<Figures> {
  const latencies = new Histogram();
  const counts = new Array<number>(atATime).fill(0);
  const keys = randomNumbers(1);
  let isDone = false;
  const going = eachOf(atATime, atATime, async (i) => {
    while (!isDone) {
      const began = performance.now();
      using conn = await dial(target.port);
      await shakeHands(conn, target.port);
      latencies.add((performance.now() - began) * 1000);
      await closeWell(conn, keys());
      counts[i]!++;
    }
  });
  try {
    const work = { going, counts: () => [...counts], latencies };
    return await observe(target, work, times);
  } finally {
    isDone = true;
    await going.catch(() => {});
  }
}

const closeReply = encodeFrame({
  opcode: Opcode.Close,
  payload: encodeClosePayload(1000),
});

/** Sends a Close frame, and waits for its echo and the end (RFC 6455 §7.1.1). */
async function closeWell(
  conn: Deno.Conn,
  maskingKey: number,
): Promise<void> {
  const payload = encodeClosePayload(1000);
  const frame = { opcode: Opcode.Close, payload, maskingKey };
  await writeAll(conn, encodeFrame(frame));
  const buffer = new Uint8Array(16);
  let length = 0;
  for (let more; (more = await conn.read(buffer.subarray(length))) !== null;) {
    length += more;
  }
  if (
    length === closeReply.length && closeReply.every((b, i) => b === buffer[i])
  ) {
    return;
  }
  throw new Error(
    `The Close frame is answered by ${buffer.subarray(0, length)}`,
  );
}
