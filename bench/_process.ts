/**
 * Processes that are measured: starts and ends them, and reads what they use.
 */

/** What a process has used so far. */
export interface Usage {
  /** CPU time of all its threads, the kernel's for it included, in seconds. */
  readonly cpu: number;
  /** How long its main thread was ready and did not run, in seconds. */
  readonly waited: number;
  /** Resident memory, in bytes. */
  readonly memory: number;
  /** The peak of its resident memory, in bytes. */
  readonly peak: number;
}

const TICKS_PER_SECOND = 100; // of /proc/PID/stat, on every Linux

const running = new Set<Child>();

// In a terminal Ctrl-C reaches them anyway; other signals do not.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  if (Deno.build.os === "windows" && signal === "SIGTERM") continue;
  Deno.addSignalListener(signal, async () => {
    await Promise.all(Array.from(running, (child) => child.stop()));
    Deno.exit(130);
  });
}

/** How a process is started. */
export interface ChildOptions {
  args: readonly string[];
  env?: Record<string, string>;
  /** The core that it is to run on, where `taskset` is installed. */
  core?: number | undefined;
}

/** A process. It is killed when it is disposed of. */
export class Child implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #errors: Promise<string>;

  constructor(command: string, { args, env = {}, core }: ChildOptions) {
    // taskset becomes the command: the process is the same.
    const [program, ...rest] = core === undefined
      ? [command, ...args]
      : ["taskset", "-c", String(core), command, ...args];
    this.#process = new Deno.Command(program!, {
      args: rest,
      env: { NO_COLOR: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    running.add(this);
    this.#lines = this.#process.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(lines()).getReader();
    this.#errors = new Response(this.#process.stderr).text();
  }

  /** The next line that it prints, which has to match. */
  async expect(pattern: RegExp, patience = 30_000): Promise<RegExpMatchArray> {
    const timer = setTimeout(() => this.#kill(), patience);
    const { value = "" } = await this.#lines.read();
    clearTimeout(timer);
    const match = value.match(pattern);
    if (match !== null) return match;
    await this.stop();
    const said = `${value}\n${await this.#errors}`.trim().slice(-500);
    throw new Error(`It did not say ${pattern}: ${said || "it said nothing"}`);
  }

  /** What it has used so far; `undefined` where that cannot be had. */
  async usage(): Promise<Usage | undefined> {
    if (Deno.build.os !== "linux") return undefined;
    const { pid } = this.#process;
    // Deno itself reads nothing below /proc unless everything is allowed.
    const text = await output("cat", [
      `/proc/${pid}/stat`,
      `/proc/${pid}/schedstat`,
      `/proc/${pid}/status`,
    ]);
    const [, fields = "", schedule = "", status = ""] =
      text?.match(/\) (.*)\n(.*)\n([^]*)/) ?? [];
    const ticks = fields.split(" ").slice(11, 13).map(Number);
    if (ticks.length < 2) return undefined;
    const bytes = (name: string): number =>
      Number(status.match(`\n${name}:\\s*(\\d+) kB`)?.[1]) * 1024;
    return {
      cpu: (ticks[0]! + ticks[1]!) / TICKS_PER_SECOND,
      waited: Number(schedule.split(" ")[1]) / 1e9,
      memory: bytes("VmRSS"),
      peak: bytes("VmHWM"),
    };
  }

  #kill(): void {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }

  /** Ends it, and waits until it has ended. */
  async stop(): Promise<void> {
    this.#kill();
    await this.#process.status;
    running.delete(this);
    await Promise.all([this.#lines.cancel(), this.#errors]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function lines(): TransformStream<string, string> {
  let rest = "";
  return new TransformStream({
    transform(text, controller) {
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      for (const part of parts) controller.enqueue(part);
    },
  });
}

/** The output of a command; `undefined` if it can't be run, or fails. */
export async function output(
  command: string,
  args: string[],
): Promise<string | undefined> {
  try {
    const { success, stdout } = await new Deno.Command(command, {
      args,
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Gives this process a core of its own.
 *
 * @returns The core that is left for what is measured, if there are two.
 */
export async function splitCores(): Promise<number | undefined> {
  if (navigator.hardwareConcurrency < 2) return undefined;
  const args = ["-a", "-c", "-p", "1", String(Deno.pid)];
  return await output("taskset", args) === undefined ? undefined : 0;
}
