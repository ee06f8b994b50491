/**
 * One message to many connections.
 *
 * ```sh
 * deno task bench:broadcast --servers ours,ws
 * ```
 *
 * @module
 */

import type { Pattern } from "./_load.ts";
import { measureBroadcast } from "./_measure.ts";
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
  writeSection,
} from "./_report.ts";
import { type ServerKind, SERVERS, startServer } from "./_servers.ts";
import { runStudy, type Study } from "./_study.ts";

const { ours, deno, ws, bun } = SERVERS;

function toAll(size: number, depth = 1): Pattern & { title: string } {
  const connections = 1000;
  const count = depth === 1 ? "" : `${depth} messages at once, each `;
  const title = `${count}${size} B of text to ${connections} connections`;
  return { title, connections, content: "text", size, depth };
}

const study: Study<ServerKind, Pattern & { title: string }> = {
  about: "One message to many connections.",
  noun: "servers",
  subjects: { ours: ours!, deno: deno!, ws: ws!, bun: bun! },
  scenarios: { B1: toAll(128), B2: toAll(4096), B3: toAll(128, 8) },
  baseline: "ws",
  async measure(kind, scenario, at) {
    const { core } = at;
    await using server = await startServer(kind, { mode: "broadcast", core });
    return await measureBroadcast(server, scenario, at);
  },
};

const COLUMNS = [RATE, CPU, P50, P99, MEMORY, WAITED, LOAD];

const { results, isWriting } = await runStudy(study);
printScenarios(results, COLUMNS);

if (isWriting) {
  await writeSection("bench:broadcast", [
    provenance(results),
    ...Object.entries(results.scenarios).flatMap(([name, title]) => [
      `${name}, ${title}; \`p50\` and \`p99\` are until the sender has it:`,
      toMarkdown(scenarioTable(results, name, COLUMNS)),
    ]),
  ]);
}
