/** The programs of examples/, each in a process of its own. */
import { utf8 } from "./_bytes.ts";
import { within } from "./_server.ts";

const ROOT = new URL("../", import.meta.url);
const CONFIG = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";

/** What a program has said, and how it ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs. It is killed when it is disposed of. */
export class Program implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array> | undefined;
  readonly #output: ReadableStreamDefaultReader<string>;
  readonly #errors: Promise<string>;
  #said = "";

  /** Whether something is to be typed is said by `stdin`. */
  constructor(
    command: string,
    args: string[],
    stdin: "null" | "piped" = "null",
  ) {
    this.#process = new Deno.Command(command, {
      args,
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdin,
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    if (stdin === "piped") this.#input = this.#process.stdin.getWriter();
    this.#output = this.#process.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    this.#errors = new Response(this.#process.stderr).text();
  }

  /** `deno run` of a file in examples/, with the permissions of its task. */
  static async example(name: string, ...args: string[]): Promise<Program> {
    return new Program(Deno.execPath(), [...await run(name), ...args]);
  }

  /** The same, and its heap can be looked at; see {@linkcode heapInUse}. */
  static async exampleWithHeap(
    name: string,
    ...args: string[]
  ): Promise<Program> {
    const [command = "", ...rest] = await run(name);
    return new Program(Deno.execPath(), [
      ...[command, "--v8-flags=--expose-gc"],
      ...["--preload=tests/_heap_on_signal.ts", ...rest, ...args],
    ]);
  }

  /** What is in use of its heap, in MiB. */
  async heapInUse(): Promise<number> {
    const told = this.#said.length;
    this.kill("SIGUSR2");
    const [, bytes] = await this.expect(/heap (\d+)\n/, told);
    return Number(bytes) / 1024 / 1024;
  }

  /** The same, to type something. */
  static async exampleWithInput(
    name: string,
    ...args: string[]
  ): Promise<Program> {
    return new Program(Deno.execPath(), [...await run(name), ...args], "piped");
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Waits until it has said a line that matches, behind what it said before. */
  async expect(line: RegExp, from = 0): Promise<RegExpMatchArray> {
    for (;;) {
      const match = this.#said.slice(from).match(line);
      if (match !== null) return match;
      const { value, done } = await within(this.#output.read(), 30_000);
      if (done) throw new Error(`It has ended: ${await this.#errors}`);
      this.#said += value;
    }
  }

  /** Types a text, or pipes bytes. */
  async type(data: string | Uint8Array): Promise<void> {
    await this.#input!.write(typeof data === "string" ? utf8(data) : data);
  }

  /** Ends what is typed. */
  async endInput(): Promise<void> {
    await this.#input?.close().catch(() => {}); // it has ended
  }

  /** Sends a signal, unless it has ended. */
  kill(signal: Deno.Signal): void {
    try {
      this.#process.kill(signal);
    } catch {
      // It has; its exit code says how.
    }
  }

  /** Waits until it has ended, so long each time that it says something. */
  async ended(patience = 30_000): Promise<Outcome> {
    for (;;) {
      const { value, done } = await within(this.#output.read(), patience);
      if (done) break;
      this.#said += value;
    }
    const { code } = await within(this.#process.status);
    await this.endInput();
    return { code, stdout: this.#said, stderr: await this.#errors };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.ended();
  }
}

/** The arguments of `deno` that run an example. */
async function run(name: string): Promise<string[]> {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const permissions = tasks[name].command.match(/ --allow-[^ ]+/g) ?? [];
  return [
    "run",
    `--config=${CONFIG}`,
    "--no-prompt",
    ...permissions.map((flag: string) => flag.trim()),
    `examples/${name}.ts`,
  ];
}
