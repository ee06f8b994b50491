/**
 * An echo in a process of its own, under attack: what it takes of memory and
 * files, and whether somebody who was there before is still served.
 */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { connect as connectTcp, type Socket } from "node:net";
import { encodeFrame, type FrameInit, Opcode } from "../frame.ts";
import { concat, utf8 } from "./_bytes.ts";
import { Program } from "./_program.ts";
import { randomNumbers } from "./_protocol.ts";
import { seed } from "./_property.ts";
import { Client, upgrade, within } from "./_server.ts";
import { forgetPeak, type Usage, usageOf } from "./_usage.ts";
import type { Task, Testimony } from "./_witness.ts";

export const isLinux = Deno.build.os === "linux";

/**
 * How long an answer may take during an attack, in milliseconds, besides the
 * time for which this machine was busy otherwise: by how much timers of the
 * witness were late meanwhile.
 */
const ANSWER_WITHIN = 1000;
/** How many answers each witness gets at least while an attack goes on. */
const ANSWERS = 5;
/** How long it may take until all files are closed again. */
const PATIENCE = 30_000;

/** Witnesses say little, and a lot: the lengths of their messages, in bytes. */
const WITNESSES = [10, 100 * 1024];

export interface AttackOptions {
  /** How much memory may be added, in MiB, while the attack goes on. */
  growth?: number;
}

/** An answer that a witness got: after how long, and how late it was itself. */
interface Answer {
  /** In milliseconds. */
  took: number;
  /** In milliseconds. */
  late: number;
}

/** A well-behaved client in a thread of its own, and what it has told. */
class Witness {
  answers: Answer[] = [];
  readonly #worker = new Worker(new URL("_witness.ts", import.meta.url), {
    type: "module",
  });
  #failure: string | undefined;
  #heard = Promise.withResolvers<void>();

  constructor(task: Task) {
    this.#worker.onmessage = ({ data }: MessageEvent<Testimony>) => {
      if (data.type === "let down") this.#failure = data.reason;
      else this.answers.push(data);
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
    };
    this.#worker.postMessage(task);
  }

  check(): void {
    if (this.#failure === undefined) return;
    throw new Error(`The witness was let down: ${this.#failure}`);
  }

  /** Waits until it has got so many answers. */
  async hears(count: number): Promise<void> {
    for (;;) {
      this.check();
      if (this.answers.length >= count) return;
      await within(this.#heard.promise, 60_000);
    }
  }

  end(): void {
    this.#worker.terminate();
  }
}

export interface TargetOptions {
  /** The task that runs the program, which has to echo at `/`. */
  task?: string;
  flags?: string[];
  /** Certificates of authorities to trust if it speaks TLS, in PEM format. */
  caCerts?: string[];
}

/** `deno task echo`, or another echo, and its witnesses. */
export class Target implements AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly caCerts: string[];
  readonly #program: Program;
  readonly #witnesses: Witness[];

  private constructor(
    program: Program,
    url: string,
    { flags = [], caCerts = [] }: TargetOptions,
  ) {
    this.#program = program;
    this.url = url;
    this.port = Number(new URL(url).port);
    this.caCerts = caCerts;
    const compress = flags.includes("--compress");
    this.#witnesses = WITNESSES.map((length) =>
      new Witness({ url, length, compress, caCerts })
    );
  }

  /** With `--compress`, the witnesses compress, too. */
  static start(...flags: string[]): Promise<Target> {
    return Target.of({ flags });
  }

  /** Starts the program of a task and its witnesses. */
  static async of(options: TargetOptions): Promise<Target> {
    const { task = "echo", flags = [] } = options;
    const program = await Program.exampleWithHeap(
      ...[task, "--port", "0", ...flags] as const,
    );
    const [, said = ""] = await program.expect(/^Listening on (.*)\n$/);
    const url = said.replace(/^http/, "ws");
    const target = new Target(program, url, options);
    await target.#hear(3);
    return target;
  }

  /** What the process of the echo holds now. */
  usage(): Usage {
    return usageOf(this.#program.pid);
  }

  /** How much of its heap is in use, in MiB. */
  heapInUse(): Promise<number> {
    return this.#program.heapInUse();
  }

  /** Waits until each witness has got so many answers, or so many more. */
  async #hear(count: number, { more = false } = {}): Promise<void> {
    await Promise.all(
      this.#witnesses.map((witness) =>
        witness.hears(count + (more ? witness.answers.length : 0))
      ),
    );
  }

  /** The slowest answer, less the lateness of its witness. */
  #worst(): Answer {
    return this.#witnesses.flatMap(({ answers }) => answers)
      .reduce((a, b) => a.took - a.late > b.took - b.late ? a : b);
  }

  #haveHeard(): boolean {
    return this.#witnesses.every(({ answers }) => answers.length >= ANSWERS);
  }

  /**
   * Attacks, and judges what comes of it. An attack that ends by itself is made
   * until each witness has got some answers meanwhile. Others go on, until what
   * `act` has returned is called, and waited for.
   */
  async attack(
    name: string,
    { growth = 64 }: AttackOptions,
    act: () => Promise<void | (() => void | Promise<void>)>,
  ): Promise<void> {
    forgetPeak(this.#program.pid);
    const before = this.usage();
    for (const witness of this.#witnesses) witness.answers = [];
    let stop = await act();
    while (stop === undefined && !this.#haveHeard()) stop = await act();
    await this.#hear(ANSWERS);
    await stop?.();
    // The answers that are pending count as well, and some that come
    // afterwards.
    await this.#hear(ANSWERS, { more: true });
    const { took, late } = this.#worst();
    let last = this.usage();
    const began = performance.now();
    while (last.files > before.files) {
      assert(
        performance.now() - began < PATIENCE,
        `${last.files} files are open, ${before.files} were`,
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
      last = this.usage();
    }
    const memory = [before.rss, last.peak, last.rss].map((size) =>
      size.toFixed(0)
    );
    console.log(
      `${name}: RSS ${
        memory.join(" -> ")
      } MiB, files ${before.files} -> ${last.files}, answers within ${
        took.toFixed(0)
      } ms, the witness late by ${late.toFixed(0)} ms`,
    );
    assert(
      took - late < ANSWER_WITHIN,
      `an answer took ${took} ms, while its witness was late by ${late} ms`,
    );
    const grown = last.peak - before.rss;
    assert(grown < growth, `memory has grown by ${grown.toFixed(0)} MiB`);
  }

  /** By TLS, if it speaks that. */
  async dial(): Promise<Client> {
    if (this.caCerts.length === 0) return await this.dialTcp();
    const { port, caCerts } = this;
    return new Client(
      await Deno.connectTls({ hostname: "127.0.0.1", port, caCerts }),
    );
  }

  async dialTcp(): Promise<Client> {
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

  /**
   * Waits until the echo has come round once more: what was written to it before
   * is read then.
   */
  async comesRound(): Promise<void> {
    using client = await this.open();
    for (let i = 0; i < 2; i++) {
      await client.write(masked({ opcode: Opcode.Ping }));
      await client.read(2);
    }
  }

  /** A connection that can be reset. */
  async dialToReset(): Promise<Socket> {
    const socket = connectTcp(this.port, "127.0.0.1");
    socket.on("error", () => {});
    await new Promise((resolve) => socket.once("connect", resolve));
    return socket;
  }

  /** Ends it with SIGTERM; it must have printed nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    await using program = this.#program;
    for (const witness of this.#witnesses) witness.end();
    for (const witness of this.#witnesses) witness.check();
    program.kill("SIGTERM");
    const { code, stderr } = await program.ended();
    assertEquals([code, stderr], [0, ""]);
  }
}

/** Attacks by their names, in the order in which they are made. */
export type Attacks = Record<
  string,
  AttackOptions & {
    act(target: Target): Promise<void | (() => void | Promise<void>)>;
  }
>;

/** Makes each attack in a step of its own. */
export async function attackEach(
  t: Deno.TestContext,
  target: Target,
  attacks: Attacks,
): Promise<void> {
  for (const [name, { act, ...options }] of Object.entries(attacks)) {
    await t.step(name, () => target.attack(name, options, () => act(target)));
  }
}

/**
 * Writes until it fails or is done; resolves with the error, if there is one.
 */
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

/** Reads to the end, and discards all. */
export async function swallow({ conn }: Client): Promise<void> {
  const buffer = new Uint8Array(65536);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // A reset is an end, too.
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

/** The same bytes, repeated that many times. */
export function repeat(
  bytes: Uint8Array,
  times: number,
): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) whole.set(bytes, i * bytes.length);
  return whole;
}

/** Runs something that many times concurrently. */
export function times<T>(
  count: number,
  act: (i: number) => Promise<T>,
): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => act(i)));
}

export const random: () => number = randomNumbers(seed);

export function noise(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = random() * 256;
  return bytes;
}

/** Writes all, and resolves when the system has taken it. */
export function writeAll(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (bytes.length === 0) resolve();
    else socket.write(Buffer.from(bytes), () => resolve());
  });
}

/** Writes and resets at once: the server may see it while it accepts. */
export async function writeAndReset(
  socket: Socket,
  bytes: Uint8Array,
): Promise<void> {
  await writeAll(socket, bytes);
  socket.resetAndDestroy();
}

/** The bytes of a request for an upgrade. */
export function upgradeBytes(...fields: string[]): Uint8Array<ArrayBuffer> {
  return utf8(upgrade("/", ...fields));
}

export function closeAll(clients: Client[]): void {
  for (const client of clients) client[Symbol.dispose]();
}
