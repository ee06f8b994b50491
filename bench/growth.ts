/**
 * How cost grows: with connections, with the size of messages, and with
 * processes that share a port.
 *
 * ```sh
 * deno task bench:growth --servers ours --scenarios C10,C100
 * ```
 *
 * @module
 */

import { lineChart } from "./_chart.ts";
import type { Pattern } from "./_load.ts";
import { type Figures, measureEcho } from "./_measure.ts";
import {
  CPU,
  FAIRNESS,
  figure,
  format,
  LOAD,
  MEMORY,
  P50,
  P99,
  PER_CONNECTION,
  printScenarios,
  provenance,
  RATE,
  toMarkdown,
  WAITED,
  writeSection,
} from "./_report.ts";
import { echoScenario, formatSize } from "./_scenarios.ts";
import { type ServerKind, SERVERS, startServer } from "./_servers.ts";
import { type Results, runStudy, type Study } from "./_study.ts";

type Scenario = Pattern & { title: string; processes?: number };

const CONNECTIONS = [10, 100, 1000, 10_000];
const SIZES = [16, 256, 4096, 65_536, 2 ** 20, 2 ** 24];
const PROCESSES = [1, 2, 3, 4];

const scenarios: Record<string, Scenario> = {};
for (const count of CONNECTIONS) {
  scenarios[`C${count}`] = echoScenario("connections", count, "text", 16, 1);
}
for (const size of SIZES) {
  scenarios[`B${size}`] = echoScenario("size", 1, "binary", size, 1);
}
for (const processes of PROCESSES) {
  const pattern = echoScenario("processes", 64, "json", 4096, 2);
  const title = `${pattern.title}, parsed by ${processes} of them`;
  scenarios[`P${processes}`] = { ...pattern, title, processes };
}

const { ours, deno } = SERVERS;

const study: Study<ServerKind, Scenario> = {
  about: "How cost grows with connections, sizes, and processes on one port.",
  noun: "servers",
  subjects: { ours: ours!, deno: deno! },
  scenarios,
  baseline: "deno",
  async measure(kind, scenario, at) {
    const { processes } = scenario;
    // Several processes take what cores there are.
    const options = processes === undefined
      ? { mode: "echo" as const, core: at.core }
      : { mode: "json" as const, processes };
    await using server = await startServer(kind, options);
    return await measureEcho(server, scenario, at);
  },
};

/** A chart, and its caption. */
interface Growth {
  readonly file: string;
  readonly title: string;
  readonly key: keyof Figures;
  readonly factor: number;
  readonly unit: string;
  readonly isLog: boolean;
  /** The scenarios, and their labels. */
  readonly steps: Record<string, string>;
  /** The figure of a server. */
  sentence(title: string, of: Found): string;
}

/** The figures of one server, in the order of the steps. */
type Found = (key: keyof Figures) => number[];

const GROWTH: Growth[] = [
  {
    file: "performance_connections.svg",
    title: "CPU time for each message of 16 B, by connections",
    key: "cpu",
    factor: 1 / 1000,
    unit: "µs",
    isLog: false,
    steps: stepsOf(CONNECTIONS, "C", (count) => count.toLocaleString("en-US")),
    sentence(title, of) {
      const cpu = of("cpu");
      const memory = of("perConnection").at(-1);
      return `${title}: with ${
        format(CONNECTIONS.at(-1)! / CONNECTIONS[0]!)
      } times the connections, a message takes ${
        format(cpu.at(-1)! / cpu[0]!)
      } times the CPU, and each connection ${format(memory)} bytes of memory.`;
    },
  },
  {
    file: "performance_sizes.svg",
    title: "CPU time for each message, by its size",
    key: "cpu",
    factor: 1 / 1000,
    unit: "µs",
    isLog: true,
    steps: stepsOf(SIZES, "B", formatSize),
    sentence(title, of) {
      const cpu = of("cpu");
      const large = SIZES.at(-1)! / cpu.at(-1)!;
      return `${title}: 16 B take ${format(cpu[0]! / 1000)} µs and 4 KiB ${
        format(cpu[2]! / 1000)
      }, so that messages count up to there; then bytes do, ${
        format(large)
      } GB for each second of CPU.`;
    },
  },
  {
    file: "performance_processes.svg",
    title: "Messages of 4 KiB of JSON a second, parsed, by processes",
    key: "rate",
    factor: 1,
    unit: "a second",
    isLog: false,
    steps: stepsOf(PROCESSES, "P", String),
    sentence(title, of) {
      const rates = of("rate");
      const gains = rates.slice(1).map((rate, i) =>
        `${PROCESSES[i + 1]} do ${format(rate / rates[0]!)} times`
      );
      return `${title}: ${gains.join(", ")} as much as one process.`;
    },
  },
];

function stepsOf(
  values: readonly number[],
  prefix: string,
  format: (value: number) => string,
): Record<string, string> {
  return Object.fromEntries(
    values.map((value) => [`${prefix}${value}`, format(value)]),
  );
}

const COLUMNS = [RATE, CPU, P50, P99, FAIRNESS, MEMORY, PER_CONNECTION];

/** A row for each step. */
function stepTable({ steps }: Growth, results: Results): string[][] {
  const servers = Object.entries(results.subjects);
  const columns = [CPU, RATE, PER_CONNECTION];
  const head = servers.flatMap(([, { title }]) =>
    columns.map(({ heading }) => `${title}: ${heading}`)
  );
  const rows = Object.entries(steps).map(([name, step]) => [
    step,
    ...servers.flatMap(([server]) =>
      columns.map(({ key, factor = 1 }) => {
        const value = figure(results, name, server, key);
        return format(value === undefined ? undefined : value * factor);
      })
    ),
  ]);
  return [["", ...head], ...rows];
}

/** One chart, its caption, and a table of its steps. */
async function write(growth: Growth, results: Results): Promise<string[]> {
  const { file, title, key, factor, steps } = growth;
  const names = Object.keys(steps);
  const servers = Object.entries(results.subjects);
  const series = servers.map(([server, { title }]) => ({
    title,
    values: names.map((name) => {
      const value = figure(results, name, server, key);
      return value === undefined ? undefined : value * factor;
    }),
  }));
  const chart = lineChart(title, Object.values(steps), series, growth);
  const to = new URL(`../docs/${file}`, import.meta.url);
  await Deno.writeTextFile(to, chart);
  const sentences = servers.map(([server, { title }]) =>
    growth.sentence(
      title,
      (key) => names.map((name) => figure(results, name, server, key) ?? NaN),
    )
  );
  return [
    `![${title}](${file})`,
    sentences.join(" "),
    toMarkdown(stepTable(growth, results)),
  ];
}

const { results, isWriting } = await runStudy(study);
printScenarios(results, [...COLUMNS, WAITED, LOAD]);

if (isWriting) {
  const parts = [provenance(results)];
  for (const growth of GROWTH) {
    if (!Object.keys(growth.steps).every((it) => it in results.scenarios)) {
      continue;
    }
    parts.push(...await write(growth, results));
  }
  await writeSection("bench:growth", parts);
}
