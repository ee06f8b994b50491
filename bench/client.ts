/**
 * Our client on Deno beside the native one and that of ws.
 *
 * ```sh
 * deno task bench:client --scenarios S1,S2
 * ```
 *
 * @module
 */

import type { Figures } from "./_measure.ts";
import { Child } from "./_process.ts";
import {
  CPU,
  FAIRNESS,
  MEMORY,
  P50,
  P99,
  printScenarios,
  provenance,
  RATE,
  ratioTable,
  scenarioTable,
  toMarkdown,
  toText,
  writeSection,
} from "./_report.ts";
import { type EchoScenario, SCENARIOS } from "./_scenarios.ts";
import { deno, denoVersion, SERVERS, startServer } from "./_servers.ts";
import { runStudy, type Study, type Subject } from "./_study.ts";
import config from "../deno.json" with { type: "json" };

/** A kind of client, as peers/client.ts knows it. */
interface ClientKind extends Subject {
  readonly name: string;
}

const ownVersion = () => Promise.resolve(`${config.name} ${config.version}`);
const { S6: _wide, ...scenarios } = SCENARIOS;

const study: Study<ClientKind, EchoScenario> = {
  about: "Our client on Deno beside the native one and that of ws.",
  noun: "clients",
  subjects: {
    ours: { name: "ours", title: "ours", version: ownVersion },
    iterated: {
      name: "iterated",
      title: "ours, iterated",
      version: ownVersion,
    },
    native: { name: "native", title: "new WebSocket()", version: denoVersion },
    ws: {
      name: "ws",
      title: "ws on Deno",
      version: () => Promise.resolve(config.imports.ws.replace("npm:", "")),
    },
  },
  scenarios,
  baseline: "native",
  async measure({ name }, scenario, at) {
    const { core, warmup, seconds } = at;
    const { connections, content, size, depth } = scenario;
    // The server shares the core of this program, which has little to do
    // meanwhile.
    await using server = await startServer(SERVERS.ours!, { mode: "echo" });
    const { program, args } = deno(
      "--allow-net=127.0.0.1",
      "--allow-env", // which ws reads
      "bench/peers/client.ts",
      JSON.stringify({
        name,
        url: `ws://127.0.0.1:${server.port}/`,
        pattern: { connections, content, size, depth },
        times: { warmup, seconds },
      }),
    );
    await using client = new Child(program, { args, core });
    const [line] = await client.expect(/^\{.*\}$/);
    return JSON.parse(line) satisfies Figures;
  },
};

const COLUMNS = [RATE, CPU, P50, P99, FAIRNESS, MEMORY];

const { results, isWriting } = await runStudy(study);
printScenarios(results, COLUMNS);
console.log("\nCPU for each message, as a multiple of the baseline's:");
console.log(toText(ratioTable(results, "cpu")));

if (isWriting) {
  await writeSection("bench:client", [
    provenance(results),
    "CPU time of the client for each message, as a multiple of `new WebSocket()`'s; less is better:",
    toMarkdown(ratioTable(results, "cpu")),
    ...Object.entries(results.scenarios).flatMap(([name, title]) => [
      `${name}, ${title}:`,
      toMarkdown(scenarioTable(results, name, COLUMNS)),
    ]),
  ]);
}
