/** Runs probes against a server, and reports how it answers. */

import { Buffer } from "node:buffer";
import { decodeFrame, type Frame, Opcode } from "../frame.ts";
import { parseResponseHead, type ResponseHead } from "../handshake.ts";
import { concat, utf8 } from "../tests/_bytes.ts";
import { dial, openAll, type Pattern, Script, writeAll } from "./_load.ts";
import {
  type Mode,
  type RunningServer,
  type ServerKind,
  startServer,
} from "./_servers.ts";
import { Histogram } from "./_statistics.ts";

/** Something that a client does to a server: a row of the table in docs/. */
export interface Probe {
  /** What is done. */
  readonly title: string;
  /** What RFC 6455 requires, and where. */
  readonly asks: string;
  /** The answers that agree with that; left out where the server is free. */
  readonly allowed?: RegExp;
  /** What ours answers. */
  readonly ours: RegExp;
  /** @default {"plain"} */
  readonly mode?: Mode;
  /** The head of the request; by default a correct one. */
  readonly head?: string;
  /** What is sent behind the handshake, as hex digits if it is a text. */
  readonly send?: string | (() => Uint8Array[]);
  /** What the client does besides. */
  readonly and?:
    | "sends a byte each second"
    | "ends its half of the stream"
    | "ignores Close"
    | "reads nothing"
    | "opens 2,000 connections";
  /**
   * What the table says of the answer; by default the status, or the frames.
   */
  readonly tell?: (seen: Seen) => string;
  /** Whether it needs the server for itself. */
  readonly isAlone?: boolean;
}

/** What came back. */
export interface Seen {
  /** `undefined` if the request was not answered. */
  readonly head: ResponseHead | undefined;
  /** Such as `echo "Hello"`, `pong ""` or a close code; `nothing` if none. */
  readonly frames: readonly string[];
  /** Whether the stream has ended. */
  readonly isOver: boolean;
  /** How long the server took, in seconds. */
  readonly seconds: number;
  /** The peak of its memory, in MiB; `undefined` where that cannot be had. */
  readonly growth: number | undefined;
}

/** A correct request. */
export const REQUEST = [
  "GET / HTTP/1.1",
  "Host: 127.0.0.1",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "\r\n",
].join("\r\n");

/** How long to wait for an answer: some servers take 30 s. */
const PATIENCE = 32_000;

/** A Close with 1000, which makes a server that says nothing say something. */
const GOODBYE = bytesOf("88 82 00000000 03e8");

/** Reads pairs of hex digits, spaces between them as one likes. */
export function bytesOf(digits: string): Uint8Array {
  return Buffer.from(digits.replaceAll(" ", ""), "hex");
}

/** What a server answers, by the titles of the probes. */
export type Column = Record<string, string>;

/**
 * Runs the probes; those that need a server for themselves get a fresh one
 * each.
 */
export async function askAll(
  kind: ServerKind,
  probes: readonly Probe[],
): Promise<Column> {
  const column: Column = {};
  const ask = async (group: readonly Probe[]): Promise<void> => {
    const { mode = "plain" } = group[0]!;
    await using server = await startServer(kind, { mode });
    await Promise.all(group.map(async (probe) => {
      const { title, tell = answer } = probe;
      column[title] = tell(await observe(server, probe));
    }));
  };
  const askAlone = async (): Promise<void> => {
    for (const probe of probes) if (probe.isAlone) await ask([probe]);
  };
  const together = probes.filter(({ isAlone }) => !isAlone);
  const groups = Map.groupBy(together, ({ mode }) => mode);
  await Promise.all([...Array.from(groups.values(), ask), askAlone()]);
  return column;
}

/** The status of a refusal, or the frames that came. */
export function answer({ head, frames, isOver }: Seen): string {
  if (head === undefined) return isOver ? "cut off" : "nothing";
  if (frames.length > 0) return frames.join(", ");
  const version = head.headers.get("Sec-WebSocket-Version");
  return `${head.status}${version === null ? "" : `, version ${version}`}`;
}

async function observe(server: RunningServer, probe: Probe): Promise<Seen> {
  const { head = REQUEST, send, and } = probe;
  const before = probe.isAlone ? await server.usage() : undefined;
  const grown = async (): Promise<number | undefined> => {
    const now = before && await server.usage();
    return now && (now.peak - before!.memory) / 2 ** 20;
  };
  let growth: number | undefined;
  using client = new Client(await dial(server.port));
  client.write([utf8(head)]);
  if (and === "sends a byte each second") {
    client.later(1000, function again() {
      client.write([utf8("a")]);
      client.later(1000, again);
    });
  }
  await client.readHead();
  if (and === "opens 2,000 connections") {
    const pattern: Pattern = {
      connections: 2000,
      content: "text",
      size: 1,
      depth: 1,
    };
    const script = new Script(pattern, 1);
    const all = await openAll(server.port, pattern, [script], new Histogram());
    growth = await grown();
    for (const connection of all) connection.close();
  }
  if (send !== undefined && client.head?.status === 101) {
    const sent = client.write(
      typeof send === "string" ? [bytesOf(send)] : send(),
    );
    if (and === "ends its half of the stream") sent.then(() => client.end());
    else if (and !== "ignores Close") {
      sent.then(() => client.later(1000, () => client.sayGoodbye()));
    }
    if (and === "reads nothing") {
      await client.stall();
      growth = await grown();
    }
    await client.readFrames(and === "ignores Close");
  }
  growth ??= await grown();
  const { frames, isOver, seconds } = client;
  return { head: client.head, frames, isOver, seconds, growth };
}

/** A client that keeps no rule. */
class Client implements Disposable {
  head: ResponseHead | undefined;
  readonly frames: string[] = [];
  isOver = false;
  readonly #conn: Deno.Conn;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  readonly #buffer = new Uint8Array(256 * 1024);
  #began = performance.now();
  #received = new Uint8Array(0);
  #written = 0;
  #hasSaidGoodbye = false;
  #isClosed = false;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
    this.later(PATIENCE, () => this[Symbol.dispose]());
  }

  /** How long ago it began, or got the head of the response. */
  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  /** Does something after a delay in milliseconds, unless the probe is over. */
  later(milliseconds: number, act: () => void): void {
    if (!this.#isClosed) this.#timers.add(setTimeout(act, milliseconds));
  }

  /** Writes, whether the server wants it or not. */
  async write(parts: Uint8Array[]): Promise<void> {
    try {
      for (const part of parts) {
        await writeAll(this.#conn, part);
        this.#written++;
      }
    } catch {
      // Its answer to that is read.
    }
  }

  sayGoodbye(): void {
    this.#hasSaidGoodbye = true;
    this.write([GOODBYE]);
  }

  end(): void {
    this.#conn.closeWrite().catch(() => {}); // it has ended by itself
  }

  /** Waits until all is written, or the server takes no more. */
  async stall(): Promise<void> {
    for (let before = -1; before !== this.#written;) {
      before = this.#written;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }

  async readHead(): Promise<void> {
    while (await this.#more()) {
      this.head = parseResponseHead(this.#received);
      if (this.head === undefined) continue;
      this.#received = this.#received.slice(this.head.byteLength);
      return;
    }
  }

  /** Reads frames up to a Close, or up to the end of the stream. */
  async readFrames(toTheEnd: boolean): Promise<void> {
    this.#began = performance.now();
    let isClosing = false;
    do {
      for (
        let decoded;
        (decoded = decodeFrame(this.#received)) !== undefined;
      ) {
        this.#received = this.#received.slice(decoded.byteLength);
        const { frame } = decoded;
        isClosing ||= frame.opcode === Opcode.Close;
        if (frame.opcode !== Opcode.Ping) this.frames.push(nameOf(frame));
      }
    } while ((!isClosing || toTheEnd) && await this.#more());
    const isAnswer = this.#hasSaidGoodbye && this.frames.at(-1) === "1000";
    if (isAnswer) this.frames.pop();
    if (this.isOver && !isClosing) this.frames.push("cut off");
    if (this.frames.length === 0) this.frames.push("nothing");
  }

  /** Reads more; `false` at the end, or when the time is over. */
  async #more(): Promise<boolean> {
    let length: number | null = null;
    try {
      length = await this.#conn.read(this.#buffer);
    } catch {
      // Reset by the server, or closed by this side.
    }
    this.isOver = length === null && !this.#isClosed;
    const more = this.#buffer.subarray(0, length ?? 0);
    this.#received = concat(this.#received, more);
    return length !== null;
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#conn.close();
  }
}

function nameOf({ opcode, payload }: Frame): string {
  if (opcode === Opcode.Close) {
    const [high, low] = payload;
    return low === undefined ? "Close" : String(high! << 8 | low);
  }
  const what = opcode === Opcode.Pong ? "pong" : "echo";
  return payload.length > 10
    ? `${what} of ${payload.length} bytes`
    : `${what} "${new TextDecoder().decode(payload)}"`;
}
