/**
 * Fuzzes whatever reads a peer's bytes: `deno task fuzz --cases 1000000`. A case
 * that fails is printed with the command that repeats it.
 */
import { parseArgs } from "node:util";
import { fuzzCase, TARGETS_OF_FUZZ } from "./_fuzz.ts";

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "1000000" },
    seed: { type: "string", default: `${Math.trunc(Math.random() * 2 ** 31)}` },
    target: { type: "string" },
    case: { type: "string" },
  },
});
const targets = Object.entries(TARGETS_OF_FUZZ)
  .filter(([name]) => values.target === undefined || values.target === name);
if (values.case !== undefined) {
  for (const [name] of targets) fuzzCase(name, Number(values.case));
  console.log("It holds");
} else {
  const seed = Number(values.seed);
  const shares = targets.reduce((sum, [, { share }]) => sum + share, 0);
  console.log(`${values.cases} cases from seed ${seed}`);
  const began = performance.now();
  let cases = 0;
  for (const [name, { share }] of targets) {
    const count = Math.ceil(Number(values.cases) * share / shares);
    const since = performance.now();
    for (let i = 0; i < count; i++) fuzzCase(name, seed + i);
    const took = performance.now() - since;
    const each = (took / count * 1000).toFixed(0);
    console.log(`${name}: ${count} cases, ${each} \u00b5s each`);
    cases += count;
  }
  const seconds = (performance.now() - began) / 1000;
  const rss = Deno.memoryUsage().rss / 1024 / 1024;
  console.log(
    `${cases} cases hold, in ${seconds.toFixed(0)} s and ${rss.toFixed(0)} MiB`,
  );
}
