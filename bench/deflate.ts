/**
 * An echo of compressed JSON.
 *
 * ```sh
 * deno task bench:deflate --servers ours,ws
 * ```
 *
 * @module
 */

import { measureDeflate } from "./_deflate_load.ts";
import {
  CPU,
  LOAD,
  MEMORY,
  P50,
  P99,
  printScenarios,
  provenance,
  RATE,
  scenarioTable,
  toMarkdown,
  WAITED,
  WIRE,
  writeSection,
} from "./_report.ts";
import { type EchoScenario, echoScenario } from "./_scenarios.ts";
import { type ServerKind, SERVERS, startServer } from "./_servers.ts";
import { runStudy, type Study } from "./_study.ts";

const { ours, ws, bun } = SERVERS;

const study: Study<ServerKind, EchoScenario> = {
  about: "An echo of compressed JSON.",
  noun: "servers",
  subjects: { ours: ours!, ws: ws!, bun: bun! },
  scenarios: {
    D1: echoScenario("short", 16, "json", 400, 4),
    D2: echoScenario("long", 16, "json", 4096, 4),
  },
  baseline: "ws",
  async measure(kind, scenario, at) {
    const { core } = at;
    await using server = await startServer(kind, { mode: "compress", core });
    return await measureDeflate(server, scenario, at);
  },
};

const COLUMNS = [RATE, CPU, WIRE, P50, P99, MEMORY, WAITED, LOAD];

const { results, isWriting } = await runStudy(study);
printScenarios(results, COLUMNS);

if (isWriting) {
  await writeSection("bench:deflate", [
    provenance(results),
    ...Object.entries(results.scenarios).flatMap(([name, title]) => [
      `${name}, ${title}:`,
      toMarkdown(scenarioTable(results, name, COLUMNS)),
    ]),
  ]);
}
