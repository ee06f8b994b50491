/** Finds lines that no test runs, except those listed in `uncovered.txt`. */

/** The report of `deno coverage --lcov` on one module. */
export interface ModuleCoverage {
  /** Its path in the file system. */
  readonly path: string;
  /** The lines that were not run, or only in part, in order; counted from 1. */
  readonly missed: readonly number[];
  /** How many lines and branches there are. */
  readonly all: number;
  /** How many of them were run. */
  readonly covered: number;
}

/** Reads the report of `deno coverage --lcov`. */
export function* parseLcov(report: string): Generator<ModuleCoverage> {
  for (const record of report.split(/^end_of_record$/m)) {
    const path = /^SF:(.*)$/m.exec(record)?.[1];
    if (path === undefined) continue;
    const missed = new Set<number>();
    let all = 0;
    let covered = 0;
    // "DA:line,count" of a line, "BRDA:line,block,branch,count" of a branch
    for (const [, numbers = ""] of record.matchAll(/^(?:DA|BRDA):(.*)$/gm)) {
      const [line, ...rest] = numbers.split(",");
      all++;
      if (Number(rest.at(-1)) > 0) covered++;
      else missed.add(Number(line)); // 0, or "-" where the whole is not run
    }
    yield { path, missed: [...missed].sort((a, b) => a - b), all, covered };
  }
}

/** Lines of a module that need no test, and why. */
export interface Uncovered {
  readonly file: string;
  /**
   * As they follow each other there, without indentation; none where the
   * module as a whole needs no test.
   */
  readonly lines: readonly string[];
  readonly reason: string;
}

/**
 * Reads `uncovered.txt`: groups of a file's name, lines that begin with "- ", and
 * words that say why these need no test.
 */
export function parseUncovered(text: string): Uncovered[] {
  const groups: Uncovered[] = [];
  for (const group of text.split(/\n{2,}/)) {
    const [file = "", ...rest] = group.trim().split("\n")
      .filter((line) => !line.startsWith("#"));
    if (file === "") continue;
    const lines = rest.filter((line) => line.startsWith("- "))
      .map((line) => line.slice(2).trim());
    const reason = rest.filter((line) => !line.startsWith("- ")).join(" ");
    if (reason === "") throw new SyntaxError(`Say why, in [${group}]`);
    groups.push({ file, lines, reason });
  }
  return groups;
}

/** Where the lines of a group stand in its module, counted from 1. */
export function linesOf({ lines }: Uncovered, source: string): number[] {
  const all = source.split("\n").map((line) => line.trim());
  return all.flatMap((_, at) =>
    lines.every((line, i) => all[at + i] === line)
      ? lines.map((_, i) => at + i + 1)
      : []
  );
}

/** Whether the module is not there, or what the group says of it. */
export function isStale(group: Uncovered, source: string | undefined): boolean {
  if (source === undefined) return true;
  return group.lines.length > 0 && linesOf(group, source).length === 0;
}
