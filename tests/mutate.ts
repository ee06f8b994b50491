/**
 * Changes one operator, constant or statement of a module after the other, in a
 * copy of the repository, and runs the module's tests: a mutant that passes
 * stands in `survivors.txt` with a reason, or lacks a test.
 *
 * ```sh
 * deno task mutate                          # all modules: hours
 * deno task mutate frame.ts _key.ts         # these
 * deno task mutate frame.ts --lines 100-200
 * deno task mutate --sample 40 --seed 1     # some of all modules
 * ```
 *
 * It exits with 1 if a survivor is not explained, or fewer than 95 % are killed of
 * those that make a difference (of a sample, however many).
 */
import { parseArgs } from "node:util";
import { transform } from "esbuild";
import {
  isTolerated,
  type Mutant,
  mutantsOf,
  parseSurvivors,
  type Survivor,
} from "./_mutants.ts";
import { randomNumbers } from "./_protocol.ts";

const HANDSHAKE = ["handshake_test.ts"];
const PROTOCOL = [
  "protocol_test.ts",
  "protocol_fragmentation_test.ts",
  "protocol_closing_test.ts",
  "protocol_limits_test.ts",
  "protocol_sending_test.ts",
  "protocol_chunks_test.ts",
  "protocol_utf8_test.ts",
  "protocol_extension_test.ts",
  "protocol_property_test.ts",
];
const UTF8 = ["utf8_test.ts", "utf8_simd_test.ts", "protocol_utf8_test.ts"];
const DEFLATE = ["deflate_negotiation_test.ts", "deflate_test.ts"];

/** The modules, and the tests that are theirs, quick ones first. */
const TESTS: Record<string, string[]> = {
  "frame.ts": ["frame_test.ts"],

  "handshake.ts": HANDSHAKE,
  "_base64.ts": HANDSHAKE,
  "_client_handshake.ts": HANDSHAKE,
  "_extension_list.ts": HANDSHAKE,
  "_field_lines.ts": HANDSHAKE,
  "_handshake_error.ts": HANDSHAKE,
  "_http_grammar.ts": HANDSHAKE,
  "_http_head.ts": HANDSHAKE,
  "_key.ts": HANDSHAKE,
  "_origin.ts": HANDSHAKE,
  "_quote.ts": [...HANDSHAKE, "connection_closing_test.ts"],
  "_reason_phrases.ts": [...HANDSHAKE, "serve_test.ts"],
  "_sha1.ts": [...HANDSHAKE, "sha1_test.ts"],
  "_upgrade_fields.ts": HANDSHAKE,

  "protocol.ts": PROTOCOL,
  "_at_least.ts": [...PROTOCOL, "options_test.ts"],
  "_buffers.ts": [...PROTOCOL, "output_test.ts"],
  "_bytes_of.ts": ["protocol_sending_test.ts", "prepared_test.ts"],
  "_events.ts": PROTOCOL,
  "_header_reader.ts": PROTOCOL,
  "_incoming_message.ts": PROTOCOL,
  "_joined.ts": [...PROTOCOL, ...HANDSHAKE],
  "_masking_keys.ts": PROTOCOL,
  "_outgoing_message.ts": PROTOCOL,
  "_output.ts": ["output_test.ts", ...PROTOCOL],
  "_utf8.ts": UTF8,
  "_utf8_simd.ts": UTF8,
  "prepared.ts": [...PROTOCOL, "prepared_test.ts"],

  "deflate.ts": DEFLATE,
  "_deflate_parameters.ts": DEFLATE,
  "_deflate_session.ts": DEFLATE,
  "_deflater.ts": [...DEFLATE, "deflate_interop_test.ts"],
  "_inflater.ts": DEFLATE,
  "_leases.ts": DEFLATE,
};

/** How many of the mutants that make a difference have to be killed, in percent. */
const ENOUGH = 95;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    lines: { type: "string", default: "1-1000000" },
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    jobs: { type: "string", default: "1" },
    // For machines on which others measure something.
    "pause-while": { type: "string" },
  },
});
const root = new URL("../", import.meta.url).pathname;
const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
const [first, last] = flags.lines.split("-").map(Number);

/** The mutants that were asked for, and are programs. */
async function choose(): Promise<Mutant[]> {
  const files = positionals.length > 0 ? positionals : Object.keys(TESTS);
  let mutants: Mutant[] = [];
  const sources = new Map<string, string>();
  for (const file of files) {
    if (!(file in TESTS)) throw new Error(`There are no tests of [${file}]`);
    const source = await Deno.readTextFile(root + file);
    sources.set(file, source);
    mutants.push(...mutantsOf(file, source));
  }
  mutants = mutants.filter(({ line }) => line >= first! && line <= last!);
  if (flags.sample !== undefined) {
    const random = randomNumbers(Number(flags.seed));
    const shuffled = mutants.map((mutant) => ({ mutant, at: random() }))
      .sort((a, b) => a.at - b.at);
    mutants = shuffled.slice(0, Number(flags.sample))
      .map(({ mutant }) => mutant);
  }
  const chosen: Mutant[] = [];
  for (const mutant of mutants) {
    const code = await compiled(mutant.source);
    // Mutants that do not compile do not count, and types are not code.
    if (code === undefined) continue;
    if (code !== await compiled(sources.get(mutant.file)!)) chosen.push(mutant);
  }
  return chosen;
}

async function compiled(source: string): Promise<string | undefined> {
  try {
    return (await transform(source, { loader: "ts" })).code;
  } catch {
    return undefined;
  }
}

/** Runs a command; returns whether it passes. */
class Copy {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async make(): Promise<Copy> {
    const folder = await Deno.makeTempDir();
    const { stdout } = await new Deno.Command("git", {
      args: ["ls-files", "-z"],
      cwd: root,
    }).output();
    const listed = new TextDecoder().decode(stdout).split("\0");
    for (const path of new Set([...listed, config])) {
      if (path === "") continue;
      const parent = path.replace(/[^/]*$/, "");
      await Deno.mkdir(`${folder}/${parent}`, { recursive: true });
      await Deno.copyFile(root + path, `${folder}/${path}`).catch(() => {});
    }
    return new Copy(folder);
  }

  /** The result of the tests: a mutant that passes them lives. */
  async #run(tests: string[], patience: number): Promise<Fate> {
    const signal = AbortSignal.timeout(patience);
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["test", `--config=${config}`, "--no-check", "--quiet"],
        ...["--fail-fast", "--allow-all"],
        ...tests.map((test) => `tests/${test}`),
      ],
      cwd: this.#folder,
      env: { DENO_TASK_CONFIG: config, SEED: "1" },
      stdout: "null",
      stderr: "null",
      signal,
    }).output();
    return success ? "lives" : signal.aborted ? "hangs" : "killed";
  }

  /** How long the tests take without a mutant. */
  async time(tests: string[]): Promise<number> {
    const began = performance.now();
    if (await this.#run(tests, 600_000) !== "lives") {
      throw new Error(`They fail without a change: ${tests}`);
    }
    return performance.now() - began;
  }

  async try({ file, source }: Mutant, patience: number): Promise<Fate> {
    const path = `${this.#folder}/${file}`;
    await Deno.writeTextFile(path, source);
    try {
      return await this.#run(TESTS[file]!, patience);
    } finally {
      await Deno.copyFile(root + file, path);
    }
  }

  async remove(): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

type Fate = "killed" | "hangs" | "lives";

/** Waits while others measure. */
async function pause(): Promise<void> {
  const path = flags["pause-while"];
  while (path !== undefined) {
    try {
      await Deno.stat(path);
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

const explained = parseSurvivors(
  await Deno.readTextFile(new URL("survivors.txt", import.meta.url)),
);

function explanationOf(mutant: Mutant): Survivor | undefined {
  return explained.find(({ file, before, after }) =>
    file === mutant.file && before === mutant.before && after === mutant.after
  );
}

/** How many there are, and what becomes of them. */
class Score {
  all = 0;
  killed = 0;
  /** Those that live and make no difference. */
  same = 0;
  tolerated = 0;
  unexplained = 0;

  add(other: Score): void {
    this.all += other.all;
    this.killed += other.killed;
    this.same += other.same;
    this.tolerated += other.tolerated;
    this.unexplained += other.unexplained;
  }

  /** How many are killed of those that make a difference, in percent. */
  get percent(): number {
    return this.killed / (this.all - this.same) * 100;
  }

  toString(): string {
    return `${this.killed} of ${this.all} killed, ${this.same} make no difference, ${this.tolerated} are tolerated, ${this.unexplained} are not explained: ${
      this.percent.toFixed(1)
    } % of those that make a difference are killed`;
  }
}

const mutants = await choose();
console.log(`${mutants.length} mutants`);
const copies = await Promise.all(
  Array.from({ length: Number(flags.jobs) }, () => Copy.make()),
);
const usual = new Map<string[], number>();
const scores = new Map<string, Score>();
let hung = 0;
const left = mutants.values();
await Promise.all(copies.map(async (copy) => {
  for (const mutant of left) {
    const tests = TESTS[mutant.file]!;
    await pause();
    if (!usual.has(tests)) usual.set(tests, await copy.time(tests));
    const fate = await copy.try(mutant, 10_000 + 3 * usual.get(tests)!);
    const score = scores.get(mutant.file) ?? new Score();
    scores.set(mutant.file, score);
    score.all++;
    if (fate === "hangs") hung++;
    const why = explanationOf(mutant);
    if (fate !== "lives") score.killed++;
    else if (why !== undefined) {
      score[isTolerated(why) ? "tolerated" : "same"]++;
    } else {
      score.unexplained++;
      const { file, line, before, after } = mutant;
      console.log(`${file}:${line}\n- ${before}\n+ ${after}\n`);
    }
  }
}));
for (const copy of copies) await copy.remove();

const sum = new Score();
for (const [file, score] of scores) {
  sum.add(score);
  console.log(`${file}: ${score}`);
}
console.log(`All: ${sum}; ${hung} took too long`);
// In a sample, a single one would be some percent.
const isEnough = flags.sample !== undefined || sum.percent >= ENOUGH;
Deno.exit(sum.unexplained === 0 && isEnough ? 0 : 1);
