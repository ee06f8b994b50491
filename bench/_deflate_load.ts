/**
 * Compressed load. The bytes that come back can't be known beforehand, so that
 * it is made by our own client, and every message is compared.
 */

import { connect, type WebSocketConnection } from "../mod.ts";
import { permessageDeflate } from "../deflate.ts";
import { dial, type Pattern } from "./_load.ts";
import { type Figures, observe, type Target, type Times } from "./_measure.ts";
import { makeMessage } from "./_messages.ts";
import { Histogram } from "./_statistics.ts";

// More than any window holds.
const MESSAGES = 256;

/** Has the server echo compressed messages. */
export async function measureDeflate(
  target: Target,
  { connections, content, size, depth }: Pattern,
  times: Times,
): Promise<Figures> {
  const decoder = new TextDecoder();
  const messages = Array.from(
    { length: MESSAGES },
    (_, i) => decoder.decode(makeMessage(content, size, i + 1)),
  );
  const latencies = new Histogram();
  const counts = new Array<number>(connections).fill(0);
  let received = 0;
  const open: WebSocketConnection[] = [];
  for (let i = 0; i < connections; i++) {
    const ws = await connect(`ws://127.0.0.1:${target.port}/`, {
      extensions: [permessageDeflate()],
      dial: async ({ port }) => {
        const conn = await dial(port);
        return counting(conn, (length) => received += length);
      },
    });
    if (ws.extension === undefined) throw new Error("It does not compress");
    open.push(ws);
  }
  let isDone = false;
  const going = Promise.all(open.map(async (ws, i) => {
    const sentAt = new Array<number>(depth).fill(performance.now());
    // Each connection begins at another message.
    const message = (number: number): string =>
      messages[(number + i * 5) % MESSAGES]!;
    for (let number = 0; number < depth; number++) ws.send(message(number));
    try {
      await ws.forEach((data) => {
        const number = counts[i]!;
        if (data !== message(number)) {
          throw new Error(`The reply is wrong (after ${number} messages)`);
        }
        const now = performance.now();
        latencies.add((now - sentAt[number % depth]!) * 1000);
        sentAt[number % depth] = now;
        counts[i] = number + 1;
        return ws.send(message(number + depth));
      });
      throw new Error("The server closed a connection");
    } catch (error) {
      if (!isDone) throw error;
    }
  }));
  try {
    const begin = received;
    const work = { going, counts: () => [...counts], latencies };
    const figures = await observe(target, work, times);
    const total = counts.reduce((sum, count) => sum + count, 0);
    return { ...figures, wire: (received - begin) / (total * size) };
  } finally {
    isDone = true;
    for (const ws of open) ws.terminate();
    await going.catch(() => {});
  }
}

/** A connection that counts the bytes that come in. */
function counting(
  conn: Deno.TcpConn,
  onRead: (length: number) => void,
): Deno.TcpConn {
  const read = conn.read.bind(conn);
  conn.read = async (into) => {
    const length = await read(into);
    onRead(length ?? 0);
    return length;
  };
  return conn;
}
