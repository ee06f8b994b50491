/** Makes tables of results, for the terminal and for docs/. */

import { fileURLToPath } from "node:url";
import type { Figures } from "./_measure.ts";
import { geometricMean, median } from "./_statistics.ts";
import type { Results } from "./_study.ts";

/** Rows of cells, of which the first is the heading. */
export type Table = string[][];

/** A figure that is printed. */
export interface Column {
  readonly key: keyof Figures;
  readonly heading: string;
  /** The factor by which it is multiplied. */
  readonly factor?: number;
  /** Whether its ratio to the baseline's follows. */
  readonly ratio?: boolean;
}

export const RATE: Column = { key: "rate", heading: "a second", ratio: true };
export const CPU: Column = {
  key: "cpu",
  heading: "CPU µs",
  factor: 1 / 1000,
  ratio: true,
};
export const P50: Column = { key: "p50", heading: "p50 µs" };
export const P99: Column = { key: "p99", heading: "p99 µs" };
export const FAIRNESS: Column = { key: "fairness", heading: "fairness" };
export const WIRE: Column = { key: "wire", heading: "wire" };
export const MEMORY: Column = {
  key: "memory",
  heading: "MB",
  factor: 1 / 2 ** 20,
};
export const PER_CONNECTION: Column = {
  key: "perConnection",
  heading: "KiB each",
  factor: 1 / 1024,
};
export const WAITED: Column = { key: "waited", heading: "waited" };
export const LOAD: Column = { key: "load", heading: "load" };

/** The figures of the rounds that did not fail. */
function values(
  { figures }: Results,
  scenario: string,
  subject: string,
  key: keyof Figures,
): (number | undefined)[] {
  return (figures[scenario]?.[subject] ?? []).map((found) =>
    "error" in found ? undefined : found[key]
  );
}

/** The median of the rounds. */
export function figure(
  results: Results,
  scenario: string,
  subject: string,
  key: keyof Figures,
): number | undefined {
  return median(
    values(results, scenario, subject, key).filter((it) => it !== undefined),
  );
}

/** The median of the rounds' ratios to the baseline. */
export function ratio(
  results: Results,
  scenario: string,
  subject: string,
  key: keyof Figures,
): number | undefined {
  const base = values(results, scenario, results.baseline, key);
  const own = values(results, scenario, subject, key);
  return median(
    own.flatMap((value, round) => {
      const other = base[round];
      return value === undefined || !other ? [] : [value / other];
    }),
  );
}

/** Three significant digits, or all of those before the point. */
export function format(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return "-";
  return Math.abs(value) >= 100
    ? Math.round(value).toLocaleString("en-US")
    : value.toPrecision(3).replace(/\.?0+$/, "");
}

function formatRatio(value: number | undefined): string {
  return value === undefined ? "-" : value.toFixed(2);
}

/** One scenario, a row for each subject. */
export function scenarioTable(
  results: Results,
  scenario: string,
  columns: readonly Column[],
): Table {
  const head = columns.flatMap(({ heading, ratio }) =>
    ratio ? [heading, "x"] : [heading]
  );
  const rows = Object.entries(results.subjects).map(([subject, { title }]) => [
    title,
    ...columns.flatMap(({ key, factor = 1, ratio: hasRatio }) => {
      const value = figure(results, scenario, subject, key);
      const cell = format(value === undefined ? undefined : value * factor);
      return hasRatio
        ? [cell, formatRatio(ratio(results, scenario, subject, key))]
        : [cell];
    }),
  ]);
  return [["", ...head], ...rows];
}

/**
 * The ratios of scenarios, a row for each subject, and their geometric mean.
 *
 * @param isAveraged Whether a scenario counts for the mean.
 */
export function ratioTable(
  results: Results,
  key: keyof Figures,
  isAveraged = (_scenario: string): boolean => true,
): Table {
  const scenarios = Object.keys(results.scenarios);
  const rows = Object.entries(results.subjects).map(([subject, { title }]) => {
    const ratios = scenarios.map((scenario) =>
      ratio(results, scenario, subject, key)
    );
    const averaged = ratios.filter((_, i) => isAveraged(scenarios[i]!));
    const known = averaged.filter((it) => it !== undefined);
    const isWhole = known.length === averaged.length;
    const mean = isWhole ? geometricMean(known) : undefined;
    return [title, ...ratios.map(formatRatio), formatRatio(mean)];
  });
  return [["", ...scenarios, "mean"], ...rows];
}

/** The failures, a line each. */
export function failures({ figures }: Results): string[] {
  return Object.entries(figures).flatMap(([scenario, subjects]) =>
    Object.entries(subjects).flatMap(([subject, rounds]) =>
      rounds.flatMap((found, i) =>
        "error" in found
          ? [`${scenario}, ${subject}, round ${i + 1}: ${found.error}`]
          : []
      )
    )
  );
}

/** A table for the terminal. */
export function toText(table: Table): string {
  const widths = table[0]!.map((_, i) =>
    Math.max(...table.map((row) => row[i]!.length))
  );
  return table.map((row) =>
    row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)
    ).join("  ").trimEnd()
  ).join("\n");
}

/**
 * A table for docs/, as `deno fmt` would have it; all but the first column are
 * aligned as told.
 */
export function toMarkdown(
  table: Table,
  { align = "right" }: { align?: "left" | "right" } = {},
): string {
  const isLeft = (column: number): boolean => column === 0 || align === "left";
  const widths = table[0]!.map((_, i) =>
    Math.max(3, ...table.map((row) => row[i]!.length))
  );
  const [head, ...rows] = table.map((row) =>
    `| ${
      row.map((cell, i) =>
        isLeft(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)
      ).join(" | ")
    } |`
  );
  const rule = `| ${
    widths.map((width, i) =>
      isLeft(i) ? "-".repeat(width) : `${"-".repeat(width - 1)}:`
    ).join(" | ")
  } |`;
  return [head, rule, ...rows].join("\n");
}

/** When, where and with what it was measured: a sentence. */
export function provenance(results: Results): string {
  const { date, machine, rounds, seconds } = results;
  const times = rounds === 1 ? "one round" : `${rounds} rounds`;
  const versions = new Set(
    Object.values(results.subjects).map(({ version }) => version),
  );
  return `Measured on ${date} with ${
    [...versions].join(", ")
  }, under load from ${machine}; the median of ${times} of ${seconds} s.`;
}

/** Prints all scenarios, and what failed. */
export function printScenarios(
  results: Results,
  columns: readonly Column[],
): void {
  for (const [scenario, title] of Object.entries(results.scenarios)) {
    console.log(`\n${scenario}: ${title}`);
    console.log(toText(scenarioTable(results, scenario, columns)));
  }
  for (const line of failures(results)) console.log(`! ${line}`);
}

/**
 * Replaces a section of a page in docs/, which stands between two comments, and
 * formats the page.
 */
export async function writeSection(
  name: string,
  parts: readonly string[],
  file = "performance.md",
): Promise<void> {
  const page = new URL(`../docs/${file}`, import.meta.url);
  const text = await Deno.readTextFile(page);
  const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`The page has no ${begin}`);
  const section = [begin, ...parts, end].join("\n\n");
  await Deno.writeTextFile(
    page,
    text.slice(0, from) + section + text.slice(to + end.length),
  );
  await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", fileURLToPath(page)],
  }).output();
}
