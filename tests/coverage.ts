/**
 * Runs the tests of the library's own modules, and tells which lines and branches
 * they miss: `deno task coverage`. Those that need no test stand in
 * `uncovered.txt`, with the reason. It exits with 1 if there are others, if the
 * list names lines that are not there, and if nothing was measured.
 */
import { isStale, linesOf, parseLcov, parseUncovered } from "./_coverage.ts";

const root = import.meta.dirname!.replace(/tests$/, "");
const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";

/** Tests of the modules themselves; the others are about programs and peers. */
const OWN =
  /^(connection|deflate|frame|handshake|hub|joined_parts|options|output|prepared|protocol|serve|sha1|testing|turns|utf8)_.*test\.ts$/;

async function deno(...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    // The cases must not depend on chance.
    env: { NO_COLOR: "1", SEED: "1" },
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout);
}

const sources = new Map<string, string>();
for (const { name } of Deno.readDirSync(root)) {
  if (name.endsWith(".ts")) {
    sources.set(name, Deno.readTextFileSync(root + name));
  }
}
const groups = parseUncovered(
  Deno.readTextFileSync(`${root}tests/uncovered.txt`),
);

const tests = [...Deno.readDirSync(`${root}tests`)]
  .filter(({ name }) => OWN.test(name))
  .map(({ name }) => `tests/${name}`);
const folder = await Deno.makeTempDir();
console.error(`${tests.length} files of tests are run: a minute or two ...`);
const told = await deno(
  ...["test", `--config=${config}`, "--no-check", "--allow-all", "--parallel"],
  ...[`--coverage=${folder}`, "--coverage-raw-data-only"],
  ...["--preload=tests/_briefly.ts", ...tests],
);
const report = await deno("coverage", "--lcov", folder);
await Deno.remove(folder, { recursive: true });

const problems: string[] = [];
const unmeasured = new Set(sources.keys());
let all = 0;
let covered = 0;
for (const module of parseLcov(report)) {
  const file = module.path.slice(root.length);
  if (!module.path.startsWith(root) || !unmeasured.delete(file)) continue;
  all += module.all;
  covered += module.covered;
  const source = sources.get(file)!;
  const explained = groups.filter((group) => group.file === file)
    .flatMap((group) => linesOf(group, source));
  const lines = source.split("\n");
  for (const line of module.missed) {
    if (explained.includes(line)) continue;
    problems.push(`${file}:${line}: ${lines[line - 1]!.trim()}`);
  }
}
if (all === 0) {
  console.log("Nothing was measured: what does `deno task test` say?");
  Deno.exit(1);
}
for (const file of [...unmeasured].sort()) {
  const isKnown = groups.some((group) =>
    group.file === file && group.lines.length === 0
  );
  if (!isKnown) problems.push(`${file}: nothing of it was measured`);
}
for (const group of groups) {
  if (!isStale(group, sources.get(group.file))) continue;
  const first = group.lines[0] ?? "the module";
  problems.push(`uncovered.txt: ${group.file} has not got [${first}]`);
}

for (const problem of problems) console.log(problem);
// That a test fails is for `deno task test` to say: some are too slow here. But
// it may be why a line was missed.
const failed = told.match(/^.* \.\.\. FAILED.*$/gm) ?? [];
if (problems.length > 0) { for (const line of failed) console.log(line); }
const percent = (covered / all * 100).toFixed(1);
console.log(
  `${covered} of ${all} lines and branches are covered (${percent} %); ${problems.length} problems`,
);
Deno.exit(problems.length === 0 ? 0 : 1);
