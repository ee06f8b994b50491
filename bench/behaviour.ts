/**
 * How servers answer clients that break rules, and some that do not.
 *
 * ```sh
 * deno task bench:behaviour --servers ours,deno
 * ```
 *
 * @module
 */

import { parseArgs } from "node:util";
import { askAll, type Probe } from "./_probe.ts";
import { PROBES } from "./_probes.ts";
import { toMarkdown, writeSection } from "./_report.ts";
import { type ServerKind, SERVERS } from "./_servers.ts";

const HELP = `What servers answer to clients that do not behave.

  --servers LIST  of ours,deno,ws,bun (all)
  --write         write the table to docs/comparison.md
  --help          print this`;

const { values } = parseArgs({
  args: Deno.args,
  options: {
    servers: { type: "string", default: "ours,deno,ws,bun" },
    write: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  Deno.exit(0);
}

/** Bold where the RFC requires something else. */
function emphasize({ allowed }: Probe, cell: string): string {
  return allowed === undefined || allowed.test(cell) ? cell : `**${cell}**`;
}

const kinds: ServerKind[] = [];
const versions = new Set<string>();
for (const name of values.servers.split(",")) {
  const kind = SERVERS[name];
  if (kind === undefined) throw new RangeError(`No such server [${name}]`);
  const version = await kind.version();
  if (version === undefined) {
    console.error(`${kind.title} is not there (see deno task bench:peers)`);
    continue;
  }
  kinds.push(kind);
  versions.add(version);
}

const columns = await Promise.all(
  kinds.map((kind) => askAll(kind, PROBES)),
);
const table = toMarkdown([
  ["What the client does", "RFC 6455", ...kinds.map(({ title }) => title)],
  ...PROBES.map((probe) => [
    probe.title,
    probe.asks,
    ...columns.map((column) => emphasize(probe, column[probe.title]!)),
  ]),
], { align: "left" });
console.log(table);

if (values.write) {
  const date = new Date().toISOString().slice(0, 10);
  await writeSection("bench:behaviour", [
    `Asked on ${date}: ${[...versions].join(", ")}.`,
    table,
  ], "comparison.md");
}
