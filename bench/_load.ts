/**
 * A WebSocket client that only makes load, written on frame.ts alone so that it
 * costs little and always the same. It talks to this machine and no other.
 *
 * All requests of a connection are encoded beforehand, and so is what has to
 * come back: to check a reply is to compare bytes, and every byte is checked.
 */

import { Buffer } from "node:buffer";
import { encodeFrame, Opcode } from "../frame.ts";
import {
  buildUpgradeRequest,
  parseResponseHead,
  verifyUpgradeResponse,
} from "../handshake.ts";
import { type Content, makeMessage, randomNumbers } from "./_messages.ts";
import type { Histogram } from "./_statistics.ts";

const HOSTNAME = "127.0.0.1";
const LARGEST_READ = 256 * 1024;

/** What is sent, and by how many connections. */
export interface Pattern {
  readonly connections: number;
  readonly content: Content;
  /** The length of a message, in bytes. */
  readonly size: number;
  /** How many messages of a connection are under way at the same time. */
  readonly depth: number;
  /** Whether the server echoes bytes, and knows nothing of WebSocket. */
  readonly raw?: boolean;
}

/** Opens a TCP connection to this machine. */
export async function dial(port: number): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: HOSTNAME, port });
  conn.setNoDelay(true);
  return conn;
}

/** Writes all. */
export async function writeAll(
  conn: Deno.Conn,
  bytes: Uint8Array,
): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) rest = rest.subarray(await conn.write(rest));
}

/** Makes the opening handshake; nothing may follow the response. */
export async function shakeHands(conn: Deno.Conn, port: number): Promise<void> {
  const sent = buildUpgradeRequest(`ws://${HOSTNAME}:${port}/`);
  await writeAll(conn, sent.bytes);
  const buffer = new Uint8Array(4096);
  for (let length = 0;;) {
    const more = await conn.read(buffer.subarray(length));
    if (more === null) throw new Error("The end, within the handshake");
    length += more;
    const head = parseResponseHead(buffer.subarray(0, length));
    if (head === undefined) continue;
    verifyUpgradeResponse(head, sent);
    if (head.byteLength < length) throw new Error("Nobody has asked for that");
    return;
  }
}

/** Encodes the messages, one frame behind the other. */
function encodeAll(
  messages: readonly Uint8Array[],
  content: Content,
  nextKey: () => number | undefined,
): Uint8Array<ArrayBuffer> {
  const opcode = content === "binary" ? Opcode.Binary : Opcode.Text;
  const frames = messages.map((payload) =>
    encodeFrame({ opcode, payload, maskingKey: nextKey() })
  );
  const bytes = new Uint8Array(frames.length * frames[0]!.length);
  for (const [i, frame] of frames.entries()) bytes.set(frame, i * frame.length);
  return bytes;
}

/** Encoded messages, and the bytes that have to come back, to be repeated. */
export class Script {
  readonly depth: number;
  /** The requests twice, so that any `depth` of them are contiguous. */
  readonly requests: Uint8Array<ArrayBuffer>;
  readonly requestLength: number;
  readonly replies: Buffer;
  readonly replyLength: number;

  constructor({ content, size, depth, raw }: Pattern, seed: number) {
    const messages = Array.from(
      { length: depth },
      (_, i) => makeMessage(content, size, (seed << 10) + i + 1),
    );
    const keys = randomNumbers(seed + 1);
    const requests = encodeAll(messages, content, keys);
    const replies = raw
      ? requests
      : encodeAll(messages, content, () => undefined);
    this.depth = depth;
    this.requests = new Uint8Array(requests.length * 2);
    this.requests.set(requests);
    this.requests.set(requests, requests.length);
    this.requestLength = requests.length / depth;
    this.replies = Buffer.from(replies.buffer);
    this.replyLength = replies.length / depth;
  }
}

/** One connection: sends its script, and as much more as has come back. */
export class LoadConnection {
  /** How many messages have come back. */
  received = 0;
  readonly #conn: Deno.Conn;
  readonly #script: Script;
  readonly #buffer: Buffer;
  readonly #latencies: Histogram;
  readonly #sentAt: Float64Array;
  // In bytes, of the replies.
  #position = 0;
  #sent = 0;
  #due = 0;
  #isWriting = false;
  #isClosed = false;

  constructor(conn: Deno.Conn, script: Script, latencies: Histogram) {
    this.#conn = conn;
    this.#script = script;
    // No more than the replies can have come.
    const length = Math.min(script.replies.length, LARGEST_READ);
    this.#buffer = Buffer.alloc(length);
    this.#latencies = latencies;
    this.#sentAt = new Float64Array(script.depth);
  }

  /**
   * Sends so many messages.
   *
   * @returns Rejected if they can't be written.
   */
  async send(count: number): Promise<void> {
    this.#due += count;
    if (this.#isWriting) return;
    this.#isWriting = true;
    const { requests, requestLength, depth } = this.#script;
    try {
      while (this.#due > 0 && !this.#isClosed) {
        const begin = this.#sent % depth;
        const end = begin + this.#due;
        const now = performance.now();
        for (let i = begin; i < end; i++) this.#sentAt[i % depth] = now;
        this.#sent += this.#due;
        this.#due = 0;
        const bytes = requests.subarray(
          begin * requestLength,
          end * requestLength,
        );
        await writeAll(this.#conn, bytes);
      }
    } catch (error) {
      if (!this.#isClosed) throw error;
    }
    this.#isWriting = false;
  }

  /**
   * Receives until it is closed.
   *
   * @param onReceived Told how many more messages have come back.
   * @throws If something else comes, or the end.
   */
  async receive(onReceived: (count: number) => void): Promise<void> {
    const { replyLength, depth } = this.#script;
    try {
      for (;;) {
        const length = await this.#conn.read(this.#buffer);
        if (length === null) throw new Error("The server closed a connection");
        this.#check(length);
        const count = Math.floor(this.#position / replyLength) - this.received;
        if (count === 0) continue;
        const now = performance.now();
        for (let i = 0; i < count; i++) {
          const sentAt = this.#sentAt[(this.received + i) % depth]!;
          this.#latencies.add((now - sentAt) * 1000);
        }
        this.received += count;
        onReceived(count);
      }
    } catch (error) {
      if (!this.#isClosed) throw error;
    }
  }

  #check(length: number): void {
    const { replies } = this.#script;
    for (let at = 0; at < length;) {
      const begin = this.#position % replies.length;
      const end = Math.min(begin + length - at, replies.length);
      const next = at + end - begin;
      if (replies.compare(this.#buffer, at, next, begin, end) !== 0) {
        throw new Error(`The reply is wrong (after ${this.received} messages)`);
      }
      this.#position += end - begin;
      at = next;
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#conn.close();
  }
}

/**
 * Opens connections, a few at a time.
 *
 * @param scripts What they send, in turn.
 */
export async function openAll(
  port: number,
  pattern: Pattern,
  scripts: readonly Script[],
  latencies: Histogram,
): Promise<LoadConnection[]> {
  const connections: LoadConnection[] = [];
  await eachOf(pattern.connections, 64, async (i) => {
    const conn = await dial(port);
    if (!pattern.raw) await shakeHands(conn, port);
    const script = scripts[i % scripts.length]!;
    connections.push(new LoadConnection(conn, script, latencies));
  });
  return connections;
}

/** Does something so many times, so many at a time. */
export async function eachOf(
  count: number,
  atATime: number,
  task: (i: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < count) await task(next++);
  };
  await Promise.all(Array.from({ length: Math.min(atATime, count) }, work));
}
