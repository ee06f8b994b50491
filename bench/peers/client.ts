/**
 * A client that sends messages to an echo, and prints what that cost.
 */

import { WebSocket as WsWebSocket } from "ws";
import process from "node:process";
import { connect, type WebSocketConnection } from "../../mod.ts";
import type { Pattern } from "../_load.ts";
import { observe, type Times } from "../_measure.ts";
import { makeMessage } from "../_messages.ts";
import type { Usage } from "../_process.ts";
import { Histogram } from "../_statistics.ts";

type Data = string | Uint8Array;

/** Opens a connection, on which `reply` answers each message with the next. */
type Open = (
  url: string,
  pattern: Pattern,
  reply: (data: string | ArrayBufferView | ArrayBuffer) => Data,
) => Promise<(data: Data) => unknown>;

const CLIENTS: Record<string, Open> = {
  async ours(url, _pattern, reply) {
    const ws = await connect(url);
    ws.forEach((message) => ws.send(reply(message)), { reuseMemory: true });
    return (data) => ws.send(data);
  },

  async iterated(url, _pattern, reply) {
    const ws = await connect(url);
    iterate(ws, reply);
    return (data) => ws.send(data);
  },

  async native(url, _pattern, reply) {
    const ws = new WebSocket(url);
    ws.binaryType = "arraybuffer";
    ws.onmessage = ({ data }) => ws.send(reply(data) as string);
    await new Promise((resolve) => ws.onopen = resolve);
    return (data) => ws.send(data as string);
  },

  async ws(url, { content }, reply) {
    const ws = new WsWebSocket(url, { perMessageDeflate: false });
    const isText = content !== "binary";
    ws.on("message", (data: Uint8Array) => {
      ws.send(reply(isText ? data.toString() : data));
    });
    await new Promise((resolve) => ws.on("open", resolve));
    return (data) => ws.send(data);
  },
};

async function iterate(
  ws: WebSocketConnection,
  reply: (data: Data) => Data,
): Promise<void> {
  for await (const message of ws) await ws.send(reply(message));
}

const { name, url, pattern, times }: {
  name: string;
  url: string;
  pattern: Pattern;
  times: Times;
} = JSON.parse(Deno.args[0]!);
const { connections, content, size, depth } = pattern;

const latencies = new Histogram();
const counts = new Array<number>(connections).fill(0);
const messages = Array.from({ length: depth }, (_, i): Data => {
  const bytes = makeMessage(content, size, i + 1);
  return content === "binary" ? bytes : new TextDecoder().decode(bytes);
});

for (let i = 0; i < connections; i++) {
  const sentAt = new Array<number>(depth).fill(0);
  const next = (): Data => {
    const which = counts[i]! % depth;
    sentAt[which] = performance.now();
    return messages[which]!;
  };
  const send = await CLIENTS[name]!(url, pattern, (data) => {
    const length = typeof data === "string" ? data.length : data.byteLength;
    if (length !== size) throw new Error(`The reply is wrong (${length})`);
    latencies.add((performance.now() - sentAt[counts[i]! % depth]!) * 1000);
    const message = next();
    counts[i]!++;
    return message;
  });
  const now = performance.now();
  sentAt.fill(now);
  for (const message of messages) send(message);
}

const self = {
  usage(): Promise<Usage> {
    const { user, system } = process.cpuUsage();
    const { rss: memory } = Deno.memoryUsage();
    const cpu = (user + system) / 1e6;
    return Promise.resolve({ cpu, waited: NaN, memory, peak: NaN });
  },
};
const work = {
  going: new Promise(() => {}), // a mistake ends the process
  counts: () => [...counts],
  latencies,
};
console.log(JSON.stringify(await observe(self, work, times)));
Deno.exit();
