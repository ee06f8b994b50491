/** Whether the benchmarks still run. No test is about speed. */
import { assert, assertEquals } from "@std/assert";
import { barChart, lineChart } from "../bench/_chart.ts";
import { makeMessage } from "../bench/_messages.ts";
import { ratio, toMarkdown, toText } from "../bench/_report.ts";
import { geometricMean, Histogram, median } from "../bench/_statistics.ts";
import type { Results } from "../bench/_study.ts";
import { WEIGHED, WITH_STD } from "../bench/weigh.ts";
import { isUtf8 } from "../_utf8.ts";
import { tableRows } from "./_markdown.ts";
import { Program } from "./_program.ts";
import { startTask } from "./_task.ts";

const ROOT = new URL("../", import.meta.url);

/** Runs `bench/NAME.ts` for a moment, with the permissions of its task. */
async function study(name: string, ...args: string[]): Promise<Results> {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const permissions = tasks[`bench:${name}`].command.match(/--allow-[^ ]+/g);
  const file = await Deno.makeTempFile();
  try {
    await using program = new Program(Deno.execPath(), [
      "run",
      `--config=${Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json"}`,
      "--no-prompt",
      ...permissions,
      `bench/${name}.ts`,
      ...["--rounds=1", "--seconds=0.2", "--warmup=0.1", `--json=${file}`],
      ...args,
    ]);
    const { code, stderr } = await program.ended();
    assertEquals(code, 0, stderr);
    return JSON.parse(await Deno.readTextFile(file));
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("bench:compare measures our server", async () => {
  const results = await study(
    "compare",
    "--servers=ours",
    "--scenarios=S3,H",
  );
  assertEquals(Object.keys(results.subjects), ["ours"]);
  assertEquals(Object.keys(results.scenarios), ["S3", "H"]);
  for (const { ours } of Object.values(results.figures)) {
    const [figures] = ours!;
    assert(figures !== undefined && !("error" in figures));
    assert(figures.rate > 0);
    assert(figures.p50! <= figures.p99!);
    assert(figures.fairness! >= 0 && figures.fairness! <= 1);
    if (Deno.build.os !== "linux") continue;
    assert(figures.cpu! >= 0);
    assert(figures.memory! > 1e6);
  }
});

Deno.test("weigh prints how large each module is, minified and compressed", async () => {
  await using program = await startTask("weigh");
  const { code, stdout, stderr } = await program.ended();
  assertEquals([code, stderr], [0, ""]);
  const sizes = new Map(
    Array.from(
      stdout.matchAll(/^(\..*?) +([\d,]+) +([\d,]+)$/gm),
      ([, name, ...cells]) => [
        name,
        cells.map((cell) => Number(cell.replaceAll(",", ""))),
      ],
    ),
  );
  const [frame, all] = [sizes.get("./frame")!, sizes.get(".")!];
  for (const [minified, gzipped] of [frame, all]) {
    assert(minified! > 2 * gzipped! && gzipped! > 1000, stdout);
  }
  assert(all[0]! > 5 * frame[0]!, stdout);

  // docs/runtimes.md has rounded figures, which need not follow each line of
  // code.
  const page = await Deno.readTextFile(new URL("docs/runtimes.md", ROOT));
  const told = tableRows(page, ["bytes", "minified", "gzipped"]);
  assertEquals(
    told.map((row) => row["bytes"]!.replaceAll("`", "")),
    [...WEIGHED.map(([name]) => name), WITH_STD],
  );
  for (const row of told) {
    const weighed = sizes.get(row["bytes"]!.replaceAll("`", ""));
    if (weighed === undefined) continue; // with @std, where JSR is out of reach
    [row["minified"]!, row["gzipped"]!].forEach((cell, column) => {
      const ratio = Number(cell.replaceAll(",", "")) / weighed[column]!;
      assert(ratio > 0.95 && ratio < 1.05, `${row["bytes"]}: ${cell}`);
    });
  }
});

Deno.test("the median, the geometric mean, and the share below", () => {
  assertEquals(median([]), undefined);
  assertEquals(median([3, 1, 2]), 2);
  assertEquals(median([4, 1, 2, 3]), 2.5);
  assertEquals(geometricMean([1, 100])?.toFixed(6), "10.000000");
  const histogram = new Histogram();
  for (let i = 1; i <= 1000; i++) histogram.add(i);
  assert(Math.abs(histogram.quantile(0.5)! - 500) < 25);
  assert(Math.abs(histogram.quantile(0.99)! - 990) < 50);
});

Deno.test("ratios are those of the same round", () => {
  const of = (rate: number) => ({ rate });
  const results: Results = {
    date: "2025-01-01",
    machine: "",
    rounds: 3,
    seconds: 1,
    baseline: "a",
    subjects: {},
    scenarios: {},
    figures: {
      S1: { a: [of(1), of(2), of(4)], b: [of(2), { error: "" }, of(4)] },
    },
  };
  assertEquals(ratio(results, "S1", "b", "rate"), 1.5);
  assertEquals(ratio(results, "S2", "b", "rate"), undefined);
});

Deno.test("messages have the length that was asked for, and are what they say", () => {
  for (const size of [64, 400, 4096]) {
    for (const content of ["text", "wide", "json", "binary"] as const) {
      const message = makeMessage(content, size, 7);
      assertEquals(message.length, size);
      assertEquals(message, makeMessage(content, size, 7));
      assert(content === "binary" || isUtf8(message));
    }
    const json = new TextDecoder().decode(makeMessage("json", size, 7));
    assertEquals(JSON.stringify(JSON.parse(json)), json);
  }
});

Deno.test("tables and charts show what there is", () => {
  const table = [["", "CPU"], ["ours", "0.35"], ["ws", "-"]];
  assertEquals(toText(table), "       CPU\nours  0.35\nws       -");
  assertEquals(
    toMarkdown(table),
    "|      |  CPU |\n| ---- | ---: |\n| ours | 0.35 |\n| ws   |    - |",
  );
  assertEquals(
    toMarkdown([["a", "b"], ["c", "long"]], { align: "left" }),
    "| a   | b    |\n| --- | ---- |\n| c   | long |",
  );
  const series = [{ title: "a < b", values: [0.5, undefined] }];
  const bars = barChart("Bars", ["one", "two"], series);
  const lines = lineChart("Lines", ["1", "2"], series, { unit: "µs" });
  for (const chart of [bars, lines]) {
    assert(
      chart.includes("a &lt; b") && chart.includes("prefers-color-scheme"),
    );
    assert(!/NaN|undefined|Infinity/.test(chart));
  }
});
