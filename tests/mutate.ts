/**
 * Changes one operator or constant of a module after the other, in a copy of the
 * repository, and runs the module's tests: those that pass all the same lack a
 * test, or the change makes no difference.
 *
 * ```sh
 * deno task mutate frame.ts             # all of it
 * deno task mutate frame.ts 100 200     # these lines of it
 * deno task mutate _key.ts 1 60 handshake_test.ts
 * ```
 */
const [file = "frame.ts", first = "1", last = "Infinity", ...given] = Deno.args;
const root = new URL("../", import.meta.url).pathname;
const name = file.replace(/^_|\.ts$/g, "");

/** What becomes of what; each match is one mutant. */
const CHANGES: [RegExp, string][] = [
  [/ < /g, " <= "],
  [/ <= /g, " < "],
  [/ > /g, " >= "],
  [/ >= /g, " > "],
  [/ === /g, " !== "],
  [/ !== /g, " === "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
  [/ \+ /g, " - "],
  [/ - /g, " + "],
  [/ \* /g, " + "],
  [/ & /g, " | "],
  [/ >> /g, " << "],
  [/ << /g, " >> "],
  [/ \+= /g, " -= "],
  [/\+\+/g, "--"],
  [/\btrue\b/g, "false"],
  [/\bfalse\b/g, "true"],
  [/\bif \((?!!)/g, "if (!"],
  [/(?<=[ ([-])0(?=[;,)\] ])/g, "1"],
  [/(?<=[ (\[])([1-9]\d*)(?=[;,)\] ])/g, "($1 + 1)"],
  [/\b0x[0-9a-f]+\b/g, "($& ^ 1)"],
  [/^( +)(throw|return|break|continue)\b(?=.*;$)/gm, "$1if (false) $2"],
  [/^( +)((?:this\.)?[#\w.]+\([^{]*\);)$/gm, "$1;"],
];

/** The parts of the source that are no code stay as they are. */
function isProse(line: string): boolean {
  return /^\s*(\*|\/\/|\/\*|import |export \{|export \*)/.test(line) ||
    / (interface|type) /.test(line);
}

const copy = await Deno.makeTempDir();
const listed = await new Deno.Command("git", {
  args: ["ls-files", "-z"],
  cwd: root,
}).output();
const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
const paths = new TextDecoder().decode(listed.stdout).split("\0");
for (const path of new Set([...paths, config])) {
  if (path === "") continue;
  const folder = path.replace(/[^/]*$/, "");
  await Deno.mkdir(`${copy}/${folder}`, { recursive: true });
  await Deno.copyFile(`${root}/${path}`, `${copy}/${path}`).catch(() => {});
}
const own = new RegExp(`^${name}(_.*)?_test\\.ts$`);
const tests = [...Deno.readDirSync(`${copy}/tests`)].map(({ name }) => name)
  .filter((test) => given.length > 0 ? given.includes(test) : own.test(test))
  .map((test) => `tests/${test}`);
if (tests.length === 0) throw new Error(`${file} has no tests of its own`);

/** Whether the tests pass, in no more than so many milliseconds. */
async function passes(milliseconds: number): Promise<boolean> {
  const signal = AbortSignal.timeout(milliseconds);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", `--config=${config}`, "--no-check", "--quiet", "--fail-fast"],
      ...["--allow-all", ...tests],
    ],
    cwd: copy,
    env: { DENO_TASK_CONFIG: config, SEED: "1" },
    stdout: "null",
    stderr: "null",
    signal,
  }).output();
  return success;
}

const source = await Deno.readTextFile(`${copy}/${file}`);
const began = performance.now();
if (!await passes(600_000)) throw new Error("The tests fail without a change");
const patience = 10_000 + 5 * (performance.now() - began);

let killed = 0;
const survivors: string[] = [];
const lines = source.split("\n");
for (const [index, line] of lines.entries()) {
  if (index + 1 < Number(first) || index + 1 > Number(last)) continue;
  if (isProse(line)) continue;
  for (const [pattern, replacement] of CHANGES) {
    for (const { 0: match, index: at } of line.matchAll(pattern)) {
      const one = new RegExp(pattern.source, pattern.flags.replace("g", "y"));
      one.lastIndex = at;
      const changed = line.replace(one, replacement);
      if (changed === line) continue;
      await Deno.writeTextFile(
        `${copy}/${file}`,
        lines.with(index, changed).join("\n"),
      );
      if (await passes(patience)) {
        survivors.push(`${file}:${index + 1}: [${match}]  ${changed.trim()}`);
        console.log(survivors.at(-1));
      } else {
        killed++;
      }
    }
  }
}
await Deno.remove(copy, { recursive: true });
const all = killed + survivors.length;
console.log(
  `${killed} of ${all} mutants killed, ${(killed / all * 100).toFixed(1)} %`,
);
