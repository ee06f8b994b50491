/**
 * Mutants of a module: one operator, constant or statement changed at a
 * time. And the list of those that are known to make no difference.
 */

/** One change of one line. */
export interface Mutant {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** What is changed, of the line. */
  readonly what: string;
  /** The line as it is, and as it becomes, without its indentation. */
  readonly before: string;
  readonly after: string;
  /** The whole source, changed. */
  readonly source: string;
}

/** Patterns and their replacements; each match is one mutant. */
const CHANGES: [RegExp, string][] = [
  [/ < /g, " <= "],
  [/ <= /g, " < "],
  [/ > /g, " >= "],
  [/ >= /g, " > "],
  [/ === /g, " !== "],
  [/ !== /g, " === "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
  [/ \?\? /g, " && "],
  [/ \+ /g, " - "],
  [/ - /g, " + "],
  [/ \* /g, " + "],
  [/ & /g, " | "],
  [/ \| /g, " & "],
  [/ \^ /g, " | "],
  [/ >>>? /g, " << "],
  [/ << /g, " >> "],
  [/ \+= /g, " -= "],
  [/ -= /g, " += "],
  [/\+\+/g, "--"],
  [/--/g, "++"],
  [/\btrue\b/g, "false"],
  [/\bfalse\b/g, "true"],
  [/(?<=[ ([-])0(?=[;,)\] ])/g, "1"],
  [/(?<=[ (\[])([1-9]\d*)(?=[;,)\] ])/g, "($1 + 1)"],
  [/\b0x[0-9a-f]+\b/g, "($& ^ 1)"],
  [/^( +)(throw|return|break|continue)\b(?=.*;$)/gm, "$1if (false) $2"],
  [/^( +)((?:this\.)?[#\w.]+\([^{]*\);)$/gm, "$1;"],
];

/** Parts of a source that are not code, and are not changed. */
function isProse(line: string): boolean {
  return /^\s*(\*|\/\/|\/\*|import |export \{|export \*|\} from )/.test(line) ||
    /\b(interface|type|declare|readonly .*;$|get \w+\(\): ) /.test(line);
}

/** Negates the condition of an `if` that begins and ends on the line. */
function* denials(line: string): Generator<[what: string, changed: string]> {
  for (const { index } of line.matchAll(/\bif \(/g)) {
    const from = index + 4;
    let depth = 1;
    let to = from;
    while (to < line.length && depth > 0) {
      if (line[to] === "(") depth++;
      if (line[to] === ")") depth--;
      to++;
    }
    if (depth > 0) continue;
    const condition = line.slice(from, to - 1);
    yield [
      "if",
      `${line.slice(0, from)}!(${condition})${line.slice(to - 1)}`,
    ];
  }
}

function* changesOf(line: string): Generator<[what: string, changed: string]> {
  for (const [pattern, replacement] of CHANGES) {
    for (const { 0: match, index } of line.matchAll(pattern)) {
      const one = new RegExp(pattern.source, pattern.flags.replace("g", "y"));
      one.lastIndex = index;
      const changed = line.replace(one, replacement);
      if (changed !== line) yield [match.trim(), changed];
    }
  }
  yield* denials(line);
}

/** All mutants of a module. Some may not compile. */
export function* mutantsOf(file: string, source: string): Generator<Mutant> {
  const lines = source.split("\n");
  for (const [index, line] of lines.entries()) {
    if (isProse(line)) continue;
    for (const [what, changed] of changesOf(line)) {
      yield {
        file,
        line: index + 1,
        what,
        before: line.trim(),
        after: changed.trim(),
        source: lines.with(index, changed).join("\n"),
      };
    }
  }
}

/** A mutant that no test kills, and why. */
export interface Survivor {
  readonly file: string;
  readonly before: string;
  readonly after: string;
  readonly reason: string;
}

/** Whether it could make a difference to somebody, though none that matters. */
export function isTolerated({ reason }: Survivor): boolean {
  return reason.startsWith("Tolerated:");
}

/**
 * Reads `survivors.txt`: groups of a file's name, lines as they are (`-`) and as
 * they become (`+`), and words that say why that makes no difference.
 */
export function parseSurvivors(text: string): Survivor[] {
  const survivors: Survivor[] = [];
  for (const group of text.split(/\n{2,}/)) {
    const [file = "", ...lines] = group.trim().split("\n")
      .filter((line) => !line.startsWith("#"));
    if (file === "") continue;
    const reason = lines.filter((line) => !/^[-+] /.test(line)).join(" ");
    if (reason === "") throw new SyntaxError(`Say why, in [${group}]`);
    let before: string | undefined;
    for (const line of lines) {
      if (line.startsWith("- ")) before = line.slice(2).trim();
      if (!line.startsWith("+ ")) continue;
      if (before === undefined) throw new SyntaxError(`Of what is [${line}]`);
      survivors.push({ file, before, after: line.slice(2).trim(), reason });
    }
  }
  return survivors;
}
