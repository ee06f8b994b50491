/** The programs of examples/, each in a process of its own. */
import { utf8 } from "./_bytes.ts";
import { within } from "./_server.ts";

const ROOT = new URL("../", import.meta.url);
const CONFIG = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";

/** The output of a program, and how it ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running program. It is killed when it is disposed of. */
export class Program implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array> | undefined;
  readonly #output: ReadableStreamDefaultReader<string>;
  readonly #errors: Promise<string>;
  #said = "";

  /** `stdin` says whether the test types something. */
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

  /** How much of its heap is in use, in MiB. */
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

  /** Waits for output that matches, behind the last match. */
  async expect(line: RegExp, from = 0): Promise<RegExpMatchArray> {
    for (;;) {
      const match = this.#said.slice(from).match(line);
      if (match !== null) return match;
      const { value, done } = await within(this.#output.read(), 30_000);
      if (done) throw new Error(`It has ended: ${await this.#errors}`);
      this.#said += value;
    }
  }

  /** Writes a text or bytes to its standard input. */
  async type(data: string | Uint8Array): Promise<void> {
    await this.#input!.write(typeof data === "string" ? utf8(data) : data);
  }

  /** Ends its standard input. */
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

  /** Waits until it has ended, for as long as it keeps printing something. */
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

/** The arguments of `deno` that run an example, by the name of its task. */
async function run(name: string): Promise<string[]> {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const { command } = tasks[name];
  const permissions = command.match(/ --allow-[^ ]+/g) ?? [];
  const [file = ""] = / examples\/[^ ]+\.ts$/.exec(command) ?? [];
  return [
    "run",
    `--config=${CONFIG}`,
    "--no-prompt",
    ...permissions.map((flag: string) => flag.trim()),
    file.trim(),
  ];
}
