/** The programs of examples/, each in a process of its own. */
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
  readonly #output: ReadableStreamDefaultReader<string>;
  readonly #errors: Promise<string>;
  #said = "";

  constructor(command: string, args: string[]) {
    this.#process = new Deno.Command(command, {
      args,
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#output = this.#process.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    this.#errors = new Response(this.#process.stderr).text();
  }

  /** `deno run` of a file in examples/, with the permissions of its task. */
  static async example(name: string, ...args: string[]): Promise<Program> {
    const { tasks } = JSON.parse(
      await Deno.readTextFile(new URL("deno.json", ROOT)),
    );
    const permissions = tasks[name].command.match(/ --allow-[^ ]+/g) ?? [];
    return new Program(Deno.execPath(), [
      "run",
      `--config=${CONFIG}`,
      "--no-prompt",
      ...permissions.map((flag: string) => flag.trim()),
      `examples/${name}.ts`,
      ...args,
    ]);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Waits until it has said a line that matches. */
  async expect(line: RegExp): Promise<RegExpMatchArray> {
    for (;;) {
      const match = this.#said.match(line);
      if (match !== null) return match;
      const { value, done } = await within(this.#output.read(), 30_000);
      if (done) throw new Error(`It has ended: ${await this.#errors}`);
      this.#said += value;
    }
  }

  kill(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Waits until it has ended. */
  async ended(): Promise<Outcome> {
    for (;;) {
      const { value, done } = await within(this.#output.read(), 30_000);
      if (done) break;
      this.#said += value;
    }
    const { code } = await within(this.#process.status);
    return { code, stdout: this.#said, stderr: await this.#errors };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.ended();
  }
}
