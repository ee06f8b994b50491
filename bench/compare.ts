/**
 * Our echo server beside its peers.
 *
 * ```sh
 * deno task bench:compare --scenarios S1,S2 --servers ours,deno
 * ```
 *
 * @module
 */

import { barChart } from "./_chart.ts";
import type { Pattern } from "./_load.ts";
import { measureEcho, measureHandshakes } from "./_measure.ts";
import {
  CPU,
  FAIRNESS,
  LOAD,
  MEMORY,
  P50,
  P99,
  printScenarios,
  provenance,
  RATE,
  ratio,
  ratioTable,
  scenarioTable,
  toMarkdown,
  toText,
  WAITED,
  writeSection,
} from "./_report.ts";
import { SCENARIOS } from "./_scenarios.ts";
import { type ServerKind, SERVERS, startServer } from "./_servers.ts";
import { runStudy, type Study } from "./_study.ts";

type Scenario = { title: string } & (Pattern | { handshakes: number });

const study: Study<ServerKind, Scenario> = {
  about: "Our echo server beside its peers.",
  noun: "servers",
  subjects: SERVERS,
  scenarios: {
    ...SCENARIOS,
    H: { title: "handshakes: open, shake hands, close", handshakes: 32 },
  },
  baseline: "deno",
  async measure(kind, scenario, at) {
    if ("handshakes" in scenario && kind.raw) return undefined;
    const { core } = at;
    await using server = await startServer(kind, { mode: "echo", core });
    if (!("handshakes" in scenario)) {
      const { raw = false } = kind;
      return await measureEcho(server, { ...scenario, raw }, at);
    }
    return await measureHandshakes(server, scenario.handshakes, at);
  },
};

const COLUMNS = [RATE, CPU, P50, P99, FAIRNESS, MEMORY, WAITED, LOAD];

const isEcho = (scenario: string): boolean => scenario !== "H";

const { results, isWriting } = await runStudy(study);
printScenarios(results, COLUMNS);
console.log("\nCPU for each, as a multiple of the baseline's:");
console.log(toText(ratioTable(results, "cpu", isEcho)));
console.log("\nHow many a second, as a multiple of the baseline's:");
console.log(toText(ratioTable(results, "rate", isEcho)));

if (isWriting) {
  const scenarios = Object.keys(results.scenarios);
  const chart = barChart(
    "CPU time of the server for each message (Deno.upgradeWebSocket: 1)",
    scenarios.map((name) => results.scenarios[name]!.split(":")[0]!),
    Object.entries(results.subjects).map(([name, { title }]) => ({
      title,
      values: scenarios.map((it) => ratio(results, it, name, "cpu")),
    })),
  );
  const file = new URL("../docs/performance_compare.svg", import.meta.url);
  await Deno.writeTextFile(file, chart);
  await writeSection("bench:compare", [
    "![CPU time of the server for each message, by scenario and server](performance_compare.svg)",
    provenance(results),
    "CPU time for each message, as a multiple of `Deno.upgradeWebSocket`'s; less is better:",
    toMarkdown(ratioTable(results, "cpu", isEcho)),
    "Messages a second, likewise; more is better:",
    toMarkdown(ratioTable(results, "rate", isEcho)),
    ...scenarios.flatMap((name) => [
      `${name}, ${results.scenarios[name]}:`,
      toMarkdown(scenarioTable(results, name, COLUMNS)),
    ]),
  ]);
}
