/**
 * A study: subjects side by side in several scenarios, in interleaved rounds,
 * so that other load of the machine affects all of them alike.
 */

import { parseArgs } from "node:util";
import type { Figures, Times } from "./_measure.ts";
import { output, splitCores } from "./_process.ts";

/** A subject of the study. */
export interface Subject {
  readonly title: string;
  /** Its software, with versions; `undefined` if it is not installed. */
  version(): Promise<string | undefined>;
}

/** Subjects, scenarios, and how to measure them. */
export interface Study<S extends Subject, Scenario extends { title: string }> {
  /** Its description, in the help. */
  readonly about: string;
  /** What its subjects are called on the command line. */
  readonly noun: "servers" | "clients";
  readonly subjects: Record<string, S>;
  readonly scenarios: Record<string, Scenario>;
  /** Which subject the others are compared with. */
  readonly baseline: string;
  /**
   * One measurement, with a fresh instance of the subject; `undefined` if the
   * scenario does not apply to it.
   */
  measure(
    subject: S,
    scenario: Scenario,
    at: Conditions,
  ): Promise<Figures | undefined>;
}

/** The conditions of a measurement. */
export interface Conditions extends Times {
  /** The core for what is measured, if there is one to spare. */
  readonly core: number | undefined;
}

/** A measurement that failed. */
export interface Failure {
  readonly error: string;
}

/** All results, as `--json` writes them. */
export interface Results {
  readonly date: string;
  readonly machine: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly baseline: string;
  /** Title and version of each subject that was measured. */
  readonly subjects: Record<string, { title: string; version: string }>;
  /** The title of each scenario. */
  readonly scenarios: Record<string, string>;
  /** By scenario and subject, one of each round. */
  readonly figures: Record<string, Record<string, (Figures | Failure)[]>>;
}

/** The flags besides those that select subjects and scenarios. */
export interface Run {
  readonly results: Results;
  /** Whether to write to docs/. */
  readonly isWriting: boolean;
}

const OPTIONS = {
  rounds: { type: "string", default: "3" },
  seconds: { type: "string", default: "3" },
  warmup: { type: "string", default: "1" },
  scenarios: { type: "string" },
  json: { type: "string" },
  from: { type: "string" },
  write: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

/** Runs a study as the command line says. */
export async function runStudy<
  S extends Subject,
  Scenario extends { title: string },
>(study: Study<S, Scenario>): Promise<Run> {
  const { values } = parseArgs({
    args: Deno.args,
    options: { ...OPTIONS, [study.noun]: { type: "string" } },
  });
  if (values.help) {
    console.log(helpOf(study));
    Deno.exit(0);
  }
  const isWriting = values.write;
  if (values.from !== undefined) {
    const results = JSON.parse(await Deno.readTextFile(values.from));
    return { results, isWriting };
  }
  const scenarios = choose(study.scenarios, "scenarios", values.scenarios);
  const asked = (values as Record<string, unknown>)[study.noun];
  const chosen = choose(study.subjects, study.noun, asked as string);
  const rounds = Math.max(1, Math.floor(positive("rounds", values.rounds)));
  const seconds = positive("seconds", values.seconds);
  const warmup = positive("warmup", values.warmup);
  const present: Record<string, S> = {};
  const subjects: Results["subjects"] = {};
  for (const [name, subject] of Object.entries(chosen)) {
    const version = await subject.version();
    if (version === undefined) {
      console.error(
        `${subject.title} is not there (see deno task bench:peers)`,
      );
      continue;
    }
    present[name] = subject;
    subjects[name] = { title: subject.title, version };
  }
  const results: Results = {
    date: new Date().toISOString().slice(0, 10),
    machine: await describeMachine(),
    rounds,
    seconds,
    baseline: study.baseline,
    subjects,
    scenarios: Object.fromEntries(
      Object.entries(scenarios).map(([name, { title }]) => [name, title]),
    ),
    figures: {},
  };
  const conditions = { warmup, seconds, core: await splitCores() };
  const total = rounds * Object.keys(scenarios).length *
    Object.keys(present).length;
  let done = 0;
  for (let round = 1; round <= rounds; round++) {
    for (const [name, scenario] of Object.entries(scenarios)) {
      for (const [who, subject] of Object.entries(present)) {
        const found = await attempt(() =>
          study.measure(subject, scenario, conditions)
        );
        done++;
        if (found === undefined) continue;
        ((results.figures[name] ??= {})[who] ??= []).push(found);
        const said = "error" in found
          ? `FAILED: ${found.error}`
          : `${Math.round(found.rate)}/s`;
        console.error(
          `[${done}/${total}] round ${round} ${name} ${who} ${said}`,
        );
        if ("error" in found) Deno.exitCode = 1;
        if (values.json !== undefined) {
          const text = `${JSON.stringify(results, undefined, 1)}\n`;
          await Deno.writeTextFile(values.json, text);
        }
      }
    }
  }
  return { results, isWriting };
}

async function attempt(
  measure: () => Promise<Figures | undefined>,
): Promise<Figures | Failure | undefined> {
  try {
    return await measure();
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function choose<T>(
  all: Record<string, T>,
  option: string,
  list: string | undefined,
): Record<string, T> {
  if (list === undefined) return all;
  return Object.fromEntries(
    list.split(",").map((name) => {
      if (name in all) return [name, all[name]!];
      return fail(`--${option} are ${Object.keys(all)}, not [${name}]`);
    }),
  );
}

function positive(option: string, value: string): number {
  const number = Number(value);
  if (number > 0 && number < 86_400) return number;
  return fail(`--${option} is a number above 0, not [${value}]`);
}

function fail(message: string): never {
  console.error(`error: ${message}`);
  Deno.exit(1);
}

function helpOf({ about, noun, subjects, scenarios }: {
  about: string;
  noun: string;
  subjects: Record<string, { title: string }>;
  scenarios: Record<string, { title: string }>;
}): string {
  const list = (of: Record<string, { title: string }>) =>
    Object.entries(of).map(([name, { title }]) =>
      `    ${name.padEnd(8)}  ${title}`
    ).join("\n");
  return `${about}

  --rounds N        how often each is measured; the median counts (3)
  --seconds S       how long each time (3)
  --warmup S        how long it is under load before that (1)
  --scenarios LIST  some of these, separated by commas:
${list(scenarios)}
  --${`${noun} LIST`.padEnd(14)}  some of these:
${list(subjects)}
  --json FILE       write all figures of all rounds there
  --from FILE       measure nothing: take what --json has written
  --write           write the results to docs/
  --help            print this`;
}

async function describeMachine(): Promise<string> {
  const cores = navigator.hardwareConcurrency;
  const name = Deno.build.os === "linux"
    ? (await output("cat", ["/proc/cpuinfo"]))?.match(
      /^model name\s*: (.*)$/m,
    )?.[1]
    : undefined;
  const load = Deno.loadavg()[0]!.toFixed(1);
  return `Deno ${Deno.version.deno} on ${cores} cores of ${
    name ?? Deno.build.arch
  }, ${Deno.build.os} ${Deno.osRelease()}, whose load average was ${load} before`;
}
