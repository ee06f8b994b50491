/**
 * Fuzzes whatever reads a peer's bytes: `deno task fuzz --cases 1000000`. A case
 * that fails, or hangs, is printed with the command that repeats it. With
 * `--within 120` it has to be over in so many seconds.
 */
import { parseArgs } from "node:util";
import { fuzzCase, fuzzCorpus, TARGETS_OF_FUZZ } from "./_fuzz.ts";
import { fuzz } from "./_fuzz_watch.ts";

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "1000000" },
    seed: { type: "string", default: `${Math.trunc(Math.random() * 2 ** 30)}` },
    workers: { type: "string", default: `${navigator.hardwareConcurrency}` },
    target: { type: "string" },
    case: { type: "string" },
    corpus: { type: "boolean", default: false },
    within: { type: "string", default: "Infinity" },
  },
});
const targets = values.target === undefined
  ? Object.keys(TARGETS_OF_FUZZ)
  : [values.target];
if (values.corpus) {
  console.log(`${fuzzCorpus()} entries hold`);
  Deno.exit(0);
}
if (values.case !== undefined) {
  for (const name of targets) await fuzzCase(name, Number(values.case));
  console.log("It holds");
  Deno.exit(0);
}
console.log(`${values.cases} cases from seed ${values.seed}`);
const began = performance.now();
try {
  const report = await fuzz({
    cases: Number(values.cases),
    seed: Number(values.seed),
    workers: Number(values.workers),
    targets,
  });
  for (const [name, { count, milliseconds }] of report.targets) {
    const each = (milliseconds / count * 1000).toFixed(0);
    console.log(`${name}: ${count} cases, ${each} \u00b5s each`);
  }
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `${report.cases} cases hold, in ${seconds.toFixed(0)} s and ${
      report.rss.toFixed(0)
    } MiB`,
  );
  if (seconds > Number(values.within)) {
    throw new Error(`That is more than ${values.within} s`);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(1);
}
