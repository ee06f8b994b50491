/**
 * A Redis of the test's own that can be killed: at a Unix socket, since it can't
 * choose a free port, and behind a bridge that has one and stays.
 */
import { Program } from "./_program.ts";
import { within } from "./_server.ts";

/** Where redis-server is, if it is installed. */
const redisPath: string | undefined = (Deno.env.get("PATH") ?? "")
  .split(":").map((folder) => `${folder}/redis-server`).find(isFile);

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/**
 * Registers a test that is given a Redis; ignored where there is none, and where
 * it `sharesPort`, but the system lets no processes do so.
 */
export function redisTest(
  name: string,
  run: (redis: TestRedis) => Promise<void>,
  { sharesPort = false } = {},
): void {
  const missing = redisPath === undefined
    ? "redis-server is not installed"
    : sharesPort && Deno.build.os !== "linux"
    ? "processes share a port on Linux alone"
    : undefined;
  if (missing !== undefined) {
    Deno.test({ name: `${name} (${missing})`, ignore: true, fn: () => {} });
    return;
  }
  Deno.test(name, async () => {
    await using redis = await TestRedis.start();
    await within(run(redis), 60_000);
  });
}

export class TestRedis implements AsyncDisposable {
  readonly #folder: string;
  #process: Deno.ChildProcess | undefined;
  #said = Promise.resolve();

  readonly #bridge: Program;
  /** The Unix socket. */
  readonly socket: string;
  /** What `--redis` takes. */
  readonly url: string;

  private constructor(folder: string, bridge: Program, port: string) {
    this.#folder = folder;
    this.socket = `${folder}/redis.sock`;
    this.#bridge = bridge;
    this.url = `redis://127.0.0.1:${port}`;
  }

  static async start(): Promise<TestRedis> {
    const folder = await Deno.makeTempDir({ prefix: "redis" });
    const bridge = new Program(Deno.execPath(), [
      "run",
      "--no-config",
      "--quiet",
      "--allow-all",
      "tests/_unix_bridge.ts",
      `${folder}/redis.sock`,
    ]);
    const [, port = ""] = await bridge.expect(/^(\d+)$/m);
    const redis = new TestRedis(folder, bridge, port);
    await redis.start();
    return redis;
  }

  /** Starts it, and waits until it can be talked to. */
  async start(): Promise<void> {
    this.#process = new Deno.Command(redisPath!, {
      args: ["--port", "0", "--unixsocket", this.socket]
        .concat(["--save", "", "--appendonly", "no", "--dir", this.#folder]),
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const ready = Promise.withResolvers<void>();
    const { stdout } = this.#process;
    this.#said = (async () => {
      let text = "";
      for await (const part of stdout.pipeThrough(new TextDecoderStream())) {
        text += part;
        if (/ready to accept connections/i.test(text)) ready.resolve();
      }
      ready.reject(new Error(text));
    })();
    ready.promise.catch(() => {});
    await within(ready.promise);
  }

  /** Ends it as a power cut does. */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.status;
    await this.#said;
    this.#process = undefined;
  }

  /** Makes it hang: its connections stay, and nothing is answered. */
  hang(): void {
    this.#process?.kill("SIGSTOP");
  }

  /** Ends the hang. */
  goOn(): void {
    this.#process?.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#bridge[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true });
  }
}
