/**
 * Hundreds of clients of random behaviour, good and bad, against echo and
 * danmaku: `deno task soak --minutes 10`. Every message that comes back is
 * checked, and how long that takes. A line a minute, and a verdict at the end.
 *
 * Once a minute all of them hold their breath: with nothing under way, and after a
 * collection, memory is what a server keeps. What it takes in between goes up and
 * down by more than a leak would in ten minutes: messages under way, and what V8
 * has not given back.
 */
import { parseArgs } from "node:util";
import { connect, type WebSocketConnection } from "../mod.ts";
import { permessageDeflate } from "../deflate.ts";
import { Opcode, RSV1 } from "../frame.ts";
import { deflateRawSync } from "node:zlib";
import { masked, noise, repeat } from "./_hostile.ts";
import { randomNumbers } from "./_protocol.ts";
import { seed } from "./_property.ts";
import { upgrade } from "./_server.ts";
import type { Task, Testimony } from "./_witness.ts";
import { type Usage, usageOf } from "./_usage.ts";

const { values: flags } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    clients: { type: "string", default: "300" },
  },
});
const minutes = Number(flags.minutes);
const clients = Number(flags.clients);
const random = randomNumbers(seed);
const MIB = 1024 * 1024;

/** How much a server's memory may vary in the last five minutes, in MiB. */
const MAX_RANGE = 10;
/** How long it may take until nothing is under way, in milliseconds. */
const QUIET_WITHIN = 25_000;
/** The limit for its memory in shorter runs, in MiB. */
const MAX_MEMORY = 700;
/**
 * How long an answer may take while 300 others are served, in milliseconds; so much
 * longer as the witness was late itself.
 */
const ANSWER_WITHIN = 2000;
/** How long nineteen of twenty comments may take to come back, in milliseconds. */
const COMMENT_WITHIN = 3000;

const below = (limit: number): number => Math.floor(random() * limit);
const pick = <T>(of: readonly T[]): T => of[below(of.length)]!;
const wait = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

// --- The servers -----------------------------------------------------------

/** An example, and its memory and files. */
class Server {
  readonly name: string;
  readonly url: string;
  /** How much of its heap was in use at the last report, in bytes. */
  heap = 0;
  #onHeap: () => void = () => {};
  readonly #process: Deno.ChildProcess;
  readonly #errors: Promise<string>;

  private constructor(
    name: string,
    process: Deno.ChildProcess,
    url: string,
    errors: Promise<string>,
  ) {
    this.name = name;
    this.url = url;
    this.#process = process;
    this.#errors = errors;
  }

  static async start(
    name: string,
    file: string,
    ...args: string[]
  ): Promise<Server> {
    const process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        `--config=${Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json"}`,
        "--v8-flags=--expose-gc",
        "--preload=tests/_heap_on_signal.ts",
        "--allow-net=127.0.0.1",
        "--allow-read",
        file,
        ...["--port", "0"],
        ...args,
      ],
      cwd: new URL("../", import.meta.url),
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const errors = new Response(process.stderr).text();
    const reader = process.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    let said = "";
    let url: string | undefined;
    while (url === undefined) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`${name} has ended: ${await errors}`);
      said += value;
      url = said.match(/^Listening on http(s?:\/\/.*)|^Listening on (ws.*)/m)
        ?.slice(1).find((part) => part !== undefined);
    }
    if (!url.startsWith("ws")) url = `ws${url}`;
    const server = new Server(name, process, url, errors);
    (async () => {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const heap = value.match(/heap (\d+)\n$/)?.[1];
        if (heap === undefined) continue;
        server.heap = Number(heap);
        server.#onHeap();
      }
    })();
    return server;
  }

  /** Its memory and files now. */
  usage(): Usage {
    return usageOf(this.#process.pid);
  }

  /** The same, once what is no longer in use has been collected. */
  async collected(): Promise<Usage> {
    const told = new Promise<void>((resolve) => this.#onHeap = resolve);
    this.#process.kill("SIGUSR2");
    await told;
    return this.usage();
  }

  /** Ends it; returns what is wrong with how it ended, if anything. */
  async stop(): Promise<string[]> {
    this.#process.kill("SIGTERM");
    const { code } = await this.#process.status;
    const wrong: string[] = [];
    if (code !== 0) wrong.push(`${this.name} ended with ${code}`);
    const errors = await this.#errors;
    if (errors !== "") wrong.push(`${this.name} said: ${errors}`);
    return wrong;
  }
}

// --- The clients -----------------------------------------------------------

const tally = { messages: 0, connections: 0, attacks: 0 };
/** How many messages have come back, and attacks let in, of each kind. */
const heard = new Map<string, number>();
const letIn = new Map<string, number>();
/** How long comments took to come back, in milliseconds. */
const comments: number[] = [];

function count(in_: Map<string, number>, { name }: Server): void {
  in_.set(name, (in_.get(name) ?? 0) + 1);
}
const mistakes: string[] = [];
let isOver = false;

/** Settles when the pause is over; nothing is begun before. */
let pause: Promise<void> | undefined;
let underWay = 0;

/** Runs something that must not go on during a pause. */
async function act<T>(deed: () => Promise<T>): Promise<T> {
  while (pause !== undefined) {
    await pause;
    await wait(below(3000)); // not all at once
  }
  underWay++;
  try {
    return await deed();
  } finally {
    underWay--;
  }
}

/** Memory and files of the servers while nothing goes on. */
async function restingUsages(): Promise<Usage[]> {
  const { promise, resolve } = Promise.withResolvers<void>();
  pause = promise;
  try {
    const began = performance.now();
    while (underWay > 0) {
      if (performance.now() - began > QUIET_WITHIN) {
        mistakes.push(`${underWay} clients did not come to rest`);
        break;
      }
      await wait(50);
    }
    return await Promise.all(servers.map((server) => server.collected()));
  } finally {
    pause = undefined;
    resolve();
  }
}

const compress = [permessageDeflate()];
const LETTERS = "abcdefghijklmnopqrstuvwxyz \u00e9\u4f60\u{1f30d}";

function anyMessage(): string | Uint8Array<ArrayBuffer> {
  const length = below(pick([10, 200, 5000, 5000, 200_000]));
  if (random() < 0.5) {
    const part = Array.from({ length: 50 }, () => pick([...LETTERS])).join("");
    return part.repeat(Math.ceil(length / 50)).slice(0, length).toWellFormed();
  }
  const bytes = new Uint8Array(length);
  const step = 1 + below(255);
  for (let i = 0; i < length; i++) bytes[i] = i * step >> below(2);
  return bytes;
}

function equal(a: unknown, b: string | Uint8Array): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a instanceof Uint8Array && a.length === b.length &&
    a.every((byte, i) => byte === b[i]);
}

/** Sends several messages, and expects all of them back, in order. */
async function talk(server: Server): Promise<void> {
  const { url } = server;
  const extensions = random() < 0.5 ? compress : [];
  await using ws = await act(() => connect(url, { extensions }));
  tally.connections++;
  for (let left = 1 + below(10); left > 0 && !isOver; left--) {
    await act(async () => {
      const sent = Array.from({ length: 1 + below(20) }, anyMessage);
      const sending = sendAll(ws, sent);
      sending.catch(() => {}); // told below
      for (const [i, message] of sent.entries()) {
        const answer = await ws.receive();
        // A stream cuts a pair of surrogates, and puts it together again.
        if (!equal(answer, message)) {
          throw new Error(
            `message ${i} of ${message.length} came back otherwise`,
          );
        }
        tally.messages++;
        count(heard, server);
      }
      await sending;
      if (random() < 0.3) await ws.ping();
    });
    await wait(below(pick([10, 300, 3000])));
  }
}

/** Sends each as a whole, or now and then in two parts. */
async function sendAll(
  ws: WebSocketConnection,
  messages: (string | Uint8Array<ArrayBuffer>)[],
): Promise<void> {
  for (const message of messages) {
    if (message.length > 2 && random() < 0.1) {
      const cut = 1 + below(message.length - 1);
      await ws.sendStream([message.slice(0, cut), message.slice(cut)]);
    } else {
      await ws.send(message);
    }
  }
}

/** Watches a room, and says something now and then, which has to come back. */
async function watch(server: Server): Promise<void> {
  const { url } = server;
  const room = `rooms/room${below(10)}`;
  await using ws = await act(() => connect(new URL(room, url)));
  tally.connections++;
  const waiting = new Map<string, number>();
  const reading = (async () => {
    for await (const message of ws) {
      const update = JSON.parse(String(message));
      if (update.type !== "comments") continue;
      for (const { text } of update.comments) {
        tally.messages++;
        const saidAt = waiting.get(text);
        if (saidAt === undefined) continue;
        waiting.delete(text);
        comments.push(performance.now() - saidAt);
        count(heard, server);
      }
    }
  })();
  reading.catch(() => {}); // told below
  for (let left = 1 + below(10); left > 0 && !isOver; left--) {
    const text = `${below(2 ** 31)}`;
    await act(() => {
      waiting.set(text, performance.now());
      return ws.send(JSON.stringify({ name: "Soak", color: 0, text }));
    });
    await wait(1000 + below(3000));
  }
  for (let left = 300; waiting.size > 0; left--) {
    if (left === 0) throw new Error(`${[...waiting.keys()]} never came back`);
    await wait(100);
  }
  await ws.close();
  await reading;
}

function bomb(): Uint8Array<ArrayBuffer> {
  const deflated = deflateRawSync(new Uint8Array(4 * MIB), { finishFlush: 2 });
  return masked({
    opcode: Opcode.Binary,
    reservedBits: RSV1,
    payload: new Uint8Array(deflated.subarray(0, -4)),
  });
}

const BOMB = bomb();
const NOISE = noise(3000);
const BAD: (() => Uint8Array<ArrayBuffer>)[] = [
  () => NOISE.slice(below(2000)),
  () =>
    repeat(masked({ opcode: Opcode.Ping, payload: NOISE.slice(0, 9) }), 2000),
  () => repeat(masked({ opcode: Opcode.Text, fin: false }), 2),
  () => masked({ opcode: Opcode.Text, payload: NOISE.slice(0, 50) }),
  () => masked({ opcode: Opcode.Binary, payload: new Uint8Array(MIB) }),
  () => Uint8Array.of(0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  () => Uint8Array.of(0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 1),
  () => masked({ opcode: Opcode.Close, payload: Uint8Array.of(3) }),
  () => BOMB,
  () => repeat(masked({ opcode: Opcode.Continuation, fin: false }), 10_000),
];

/** Makes an attack; some of them read. */
async function attack(server: Server): Promise<void> {
  const { name, url } = server;
  const port = Number(new URL(url).port);
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  tally.connections++;
  tally.attacks++;
  const head = upgrade(
    name === "danmaku" ? `/rooms/room${below(10)}` : "/",
    ...(random() < 0.5 ? ["Sec-WebSocket-Extensions: permessage-deflate"] : []),
  );
  const bytes = new TextEncoder().encode(head);
  const timer = setTimeout(() => close(conn), below(pick([50, 2000, 15_000])));
  try {
    const length = random() < 0.2 ? below(bytes.length) : bytes.length;
    await conn.write(bytes.subarray(0, length));
    const reading = random() < 0.5
      ? swallow(conn, () => count(letIn, server))
      : undefined;
    reading?.catch(() => {}); // told by `await`, unless it is too late
    for (let left = below(8); left > 0; left--) {
      let rest = pick(BAD)();
      while (rest.length > 0) rest = rest.subarray(await conn.write(rest));
      await wait(below(pick([2, 500])));
    }
    if (random() < 0.3) await conn.closeWrite();
    await reading;
    await wait(below(pick([1, 3000])));
  } catch {
    // The server has had enough of it.
  } finally {
    clearTimeout(timer);
    close(conn);
  }
}

/** Reads to the end, and says whether it began with 101. */
async function swallow(conn: Deno.Conn, onOpen: () => void): Promise<void> {
  const buffer = new Uint8Array(65536);
  const length = await conn.read(buffer);
  const first = new TextDecoder().decode(buffer.subarray(0, length ?? 0));
  if (first.startsWith("HTTP/1.1 101 ")) onOpen();
  while (await conn.read(buffer) !== null);
}

/** The worst answer of a witness in a thread of its own. */
let worst = { took: 0, late: 0 };
let answers = 0;

function startWitness(task: Task): Worker {
  const witness = new Worker(new URL("_witness.ts", import.meta.url), {
    type: "module",
  });
  witness.onmessage = ({ data }: MessageEvent<Testimony>) => {
    if (data.type === "let down") {
      if (!isOver) mistakes.push(`the witness: ${data.reason}`);
      return;
    }
    answers++;
    if (data.took - data.late > worst.took - worst.late) worst = data;
  };
  witness.postMessage(task);
  return witness;
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It is closed.
  }
}

/** Runs clients of one kind, one after the other. */
async function behave(
  play: (server: Server) => Promise<void>,
  server: Server,
): Promise<void> {
  while (!isOver) {
    try {
      if (play === attack) await act(() => attack(server));
      else await play(server);
    } catch (error) {
      if (play !== attack) {
        mistakes.push(`${play.name}, ${server.name}: ${error}`);
        await wait(1000);
      }
    }
    await wait(below(200));
  }
}

// --- The time in between ---------------------------------------------------

const echo = await Server.start("echo", "examples/echo.ts", "--compress");
const danmaku = await Server.start("danmaku", "examples/danmaku/main.ts");
const servers = [echo, danmaku];
const usages = (): Usage[] => servers.map((server) => server.usage());
console.log(`${clients} clients for ${minutes} minutes, seed ${seed}`);
const before = usages();
const witness = startWitness({ url: echo.url, length: 100, compress: true });
const running = Array.from({ length: clients }, (_, i) => {
  const server = i % 3 === 0 ? danmaku : echo;
  const play = i % 5 === 0 ? attack : server === echo ? talk : watch;
  return behave(play, server);
});

/** RSS while nothing is under way, and at any time, in MiB. */
const resting = servers.map((): number[] => []);
const samples = servers.map((): number[] => []);
const rounds = Math.max(3, Math.round(minutes));
const began = performance.now();
for (let round = 0; round < rounds; round++) {
  const end = performance.now() + minutes * 60_000 / rounds;
  while (performance.now() < end) {
    await wait(Math.min(2000, Math.max(0, end - performance.now())));
    usages().forEach(({ rss }, i) => samples[i]!.push(rss));
  }
  const now = await restingUsages();
  now.forEach(({ rss }, i) => resting[i]!.push(rss));
  const states = servers.map(({ name, heap }, i) =>
    `${name}: RSS ${samples[i]!.at(-1)!.toFixed(0)} MiB, at rest ${
      now[i]!.rss.toFixed(0)
    } MiB, heap in use ${(heap / MIB).toFixed(1)} MiB, ${now[i]!.files} files`
  );
  const elapsed = ((performance.now() - began) / 60_000).toFixed(1);
  console.log(
    `${elapsed} min: ${tally.messages} messages, ${tally.connections} connections, ${tally.attacks} attacks; ${
      states.join("; ")
    }`,
  );
}

/** How far apart the last part of some samples is. */
function rangeOf(of: number[], part: number): number {
  const last = of.slice(-Math.ceil(of.length * part));
  return Math.max(...last) - Math.min(...last);
}

// --- The verdict -----------------------------------------------------------

isOver = true;
const late = setTimeout(() => {
  console.error("clients do not come to an end");
  Deno.exit(1);
}, 60_000);
await Promise.all(running);
clearTimeout(late);
witness.terminate();
await wait(12_000); // those are let go that were half open
const after = usages();
servers.forEach(({ name }, i) => {
  const [had, has] = [before[i]!.files, after[i]!.files];
  if (has > had + 2) mistakes.push(`${name} has ${has} files open, had ${had}`);
  // The last five minutes, or half of what was shorter.
  const part = Math.min(0.5, 5 / minutes);
  const range = rangeOf(resting[i]!, part);
  console.log(
    `${name}: in the last minutes RSS at rest within ${
      range.toFixed(1)
    } MiB, at any time within ${rangeOf(samples[i]!, part).toFixed(1)} MiB`,
  );
  if (minutes >= 10 && range > MAX_RANGE) {
    mistakes.push(`${name} has not stayed within ${MAX_RANGE} MiB`);
  }
  const most = Math.max(...samples[i]!);
  if (most > MAX_MEMORY) mistakes.push(`${name} took ${most.toFixed(0)} MiB`);
  if (!heard.has(name)) mistakes.push(`no message came back from ${name}`);
  if (!letIn.has(name)) mistakes.push(`${name} has let no attacker in`);
  console.log(`${name}: ${letIn.get(name)} attackers were seen to be let in`);
});
comments.sort((a, b) => a - b);
const slow = comments[Math.floor(comments.length * 0.95)] ?? Infinity;
console.log(
  `${answers} answers within ${
    worst.took.toFixed(0)
  } ms, while the witness was late by ${
    worst.late.toFixed(0)
  } ms; 95 % of ${comments.length} comments within ${slow.toFixed(0)} ms`,
);
if (answers === 0) mistakes.push("the witness got no answer");
if (worst.took - worst.late > ANSWER_WITHIN) {
  mistakes.push(`an answer took ${worst.took} ms`);
}
if (slow > COMMENT_WITHIN) mistakes.push(`comments took ${slow} ms`);
for (const server of servers) mistakes.push(...await server.stop());
for (const mistake of mistakes.slice(0, 20)) console.error(mistake);
console.log(
  mistakes.length === 0
    ? `All ${tally.messages} messages were right, and nothing is left behind`
    : `${mistakes.length} mistakes`,
);
Deno.exit(mistakes.length === 0 ? 0 : 1);
