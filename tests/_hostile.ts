/**
 * An echo in a process of its own, under attack: what it takes of memory and
 * files, and whether somebody who was there before is still served.
 */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { connect as connectTcp, type Socket } from "node:net";
import { encodeFrame, type FrameInit } from "../frame.ts";
import { concat, utf8 } from "./_bytes.ts";
import { Program } from "./_program.ts";
import { randomNumbers } from "./_protocol.ts";
import { seed } from "./_property.ts";
import { Client, upgrade, within } from "./_server.ts";
import { type Usage, usageOf } from "./_usage.ts";

export const isLinux = Deno.build.os === "linux";

/** How long an answer may take while an attack goes on, in milliseconds. */
const ANSWER_WITHIN = 1000;
/** How long it may take until all files are closed again. */
const PATIENCE = 30_000;

export interface AttackOptions {
  /** How much memory may be added, in MiB, while the attack goes on. */
  growth?: number;
}

/** `deno task echo`, and a witness. */
export class Target implements AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly #program: Program;
  readonly #witness: Worker;
  #answers: number[] = [];
  #failure: string | undefined;
  #heard = Promise.withResolvers<void>();

  private constructor(program: Program, url: string) {
    this.#program = program;
    this.url = url;
    this.port = Number(new URL(url).port);
    this.#witness = new Worker(new URL("_witness.ts", import.meta.url), {
      type: "module",
    });
    this.#witness.onmessage = ({ data }: MessageEvent<number | string>) => {
      if (typeof data === "number") this.#answers.push(data);
      else if (data !== "open") this.#failure = data;
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
    };
    this.#witness.postMessage(url);
  }

  static async start(...flags: string[]): Promise<Target> {
    const echo = await Program.example("echo", "--port", "0", ...flags);
    const [, url = ""] = await echo.expect(/^Listening on (.*)\n$/);
    const target = new Target(echo, url);
    await target.answers(3);
    return target;
  }

  /** What the echo holds now. */
  usage(): Usage {
    return usageOf(this.#program.pid);
  }

  /** Waits for so many answers to the witness, and how long they took. */
  async answers(count: number): Promise<number[]> {
    this.#answers = [];
    while (this.#answers.length < count) {
      if (this.#failure !== undefined) throw new Error(this.#failure);
      await within(this.#heard.promise, 60_000);
    }
    return this.#answers;
  }

  /**
   * Attacks, and judges what comes of it. What `act` returns is called, and waited
   * for, to end the attack once the witness has been asked.
   */
  async attack(
    name: string,
    { growth = 64 }: AttackOptions,
    act: () => Promise<void | (() => void | Promise<void>)>,
  ): Promise<void> {
    const before = this.usage();
    this.#answers = [];
    const stop = await act();
    const during = this.#answers;
    const after = (await this.answers(5)).toSorted((a, b) => a - b);
    const peak = this.usage();
    await stop?.();
    let last = this.usage();
    const began = performance.now();
    while (last.files > before.files + 2) {
      assert(
        performance.now() - began < PATIENCE,
        `${last.files} files are open, ${before.files} were`,
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
      last = this.usage();
    }
    const memory = [before, peak, last].map(({ rss }) => rss.toFixed(0));
    const files = [before, peak, last].map(({ files }) => files);
    const slowest = Math.max(...during, ...after).toFixed(0);
    console.log(
      `${name}: RSS ${memory.join(" -> ")} MiB, files ${
        files.join(" -> ")
      }, answers ${after[2]!.toFixed(0)} ms, at most ${slowest} ms`,
    );
    assert(after[2]! < ANSWER_WITHIN, `answers took ${after} ms`);
    const grown = peak.rss - before.rss;
    assert(grown < growth, `memory has grown by ${grown.toFixed(0)} MiB`);
  }

  async dial(): Promise<Client> {
    return new Client(
      await Deno.connect({ hostname: "127.0.0.1", port: this.port }),
    );
  }

  /** Shakes hands, and ignores what is answered. */
  async open(...fields: string[]): Promise<Client> {
    const client = await this.dial();
    await client.write(upgrade("/", ...fields));
    await client.readHead();
    return client;
  }

  /** Shakes hands for permessage-deflate. */
  openCompressed(): Promise<Client> {
    return this.open("Sec-WebSocket-Extensions: permessage-deflate");
  }

  /** A connection that can be reset. */
  async dialToReset(): Promise<Socket> {
    const socket = connectTcp(this.port, "127.0.0.1");
    socket.on("error", () => {});
    await new Promise((resolve) => socket.once("connect", resolve));
    return socket;
  }

  /** Ends it with SIGTERM; nothing of all that may have been worth a word. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#witness.terminate();
    if (this.#failure !== undefined) throw new Error(this.#failure);
    await using program = this.#program;
    program.kill("SIGTERM");
    const { code, stderr } = await program.ended();
    assertEquals([code, stderr], [0, ""]);
  }
}

/** Writes, whoever reads; resolved with what is wrong at the end, if anything. */
export async function pour(
  { conn }: Client,
  bytes: Uint8Array,
): Promise<unknown> {
  try {
    for (let rest = bytes; rest.length > 0;) {
      rest = rest.subarray(await conn.write(rest));
    }
  } catch (error) {
    return error;
  }
}

/** Reads up to the end, and keeps nothing. */
export async function swallow({ conn }: Client): Promise<void> {
  const buffer = new Uint8Array(65536);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // That is an end, too.
  }
}

/** Reads up to the end; the close code, or 0 if there is none. */
export async function closeCode({ conn }: Client): Promise<number> {
  const buffer = new Uint8Array(65536);
  let tail: Uint8Array = new Uint8Array(0);
  try {
    for (;;) {
      const length = await within(conn.read(buffer), PATIENCE);
      if (length === null) break;
      tail = concat(tail, buffer.subarray(0, length)).slice(-127);
    }
  } catch {
    // A reset: what was there before counts.
  }
  // The last frame, which is short.
  for (let i = 0; i < tail.length - 3; i++) {
    if (tail[i] === 0x88 && tail[i + 1] === tail.length - i - 2) {
      return tail[i + 2]! << 8 | tail[i + 3]!;
    }
  }
  return 0;
}

/** A frame as a client sends it. */
export function masked(frame: FrameInit): Uint8Array<ArrayBuffer> {
  return encodeFrame({ maskingKey: 0x01020304, ...frame });
}

/** So many times the same bytes. */
export function repeat(
  bytes: Uint8Array,
  times: number,
): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) whole.set(bytes, i * bytes.length);
  return whole;
}

/** Does something so many times at once. */
export function times<T>(
  count: number,
  act: (i: number) => Promise<T>,
): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => act(i)));
}

export const random: () => number = randomNumbers(seed);

export function noise(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => random() * 256);
}

/** Writes and resets, so that nothing of it is lost. */
export function writeAndReset(
  socket: Socket,
  bytes: Uint8Array,
): Promise<void> {
  return new Promise((resolve) => {
    const reset = () => {
      socket.resetAndDestroy();
      resolve();
    };
    if (bytes.length === 0) reset();
    else socket.write(Buffer.from(bytes), reset);
  });
}

/** The bytes of a request for an upgrade. */
export function upgradeBytes(...fields: string[]): Uint8Array<ArrayBuffer> {
  return utf8(upgrade("/", ...fields));
}

export function closeAll(clients: Client[]): void {
  for (const client of clients) client[Symbol.dispose]();
}
