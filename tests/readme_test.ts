/**
 * README.md's tables of figures are copies: of docs/comparison.md and of
 * docs/performance.md, to which `deno task bench:behaviour --write` and
 * `deno task bench:compare --write` write. They say the same.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(`../${path}`, import.meta.url));
}

const [readme, comparison, performance] = await Promise.all([
  read("README.md"),
  read("docs/comparison.md"),
  read("docs/performance.md"),
]);

type Table = string[][];

/** The first table behind a text, without its rule. */
function tableAfter(text: string, page: string): Table {
  const at = page.indexOf(text);
  assert(at >= 0, `The page has no [${text}]`);
  const lines = page.slice(at).split("\n");
  const begin = lines.findIndex((line) => line.startsWith("|"));
  const rows = lines.slice(begin);
  const end = rows.findIndex((line) => !line.startsWith("|"));
  return rows.slice(0, end).filter((line) => !/^[-: |]+$/.test(line))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

/** The cell of a row and a column, by their names. */
function cellOf(table: Table, row: string, column: string): string {
  const at = table[0]!.indexOf(column);
  assert(at > 0, `There is no column [${column}]`);
  const cells = table.find(([name]) => name === row);
  assert(cells !== undefined, `There is no row [${row}]`);
  return cells[at]!;
}

// --- What servers answer ---------------------------------------------------

/** How README.md puts an answer, without bold. */
type Wording = (answer: string, server: string) => string;

const asItIs: Wording = (answer) => answer.replace(/, version .*/, "");

/** The rows of README.md, with those of comparison.md, and how they are put. */
const ANSWERS: Record<string, [title: string, wording: Wording]> = {
  "asks for another version of the protocol": [
    "`Sec-WebSocket-Version: 12`",
    asItIs,
  ],
  "sends a key of 15 bytes": ["A key of 15 bytes", asItIs],
  "is a page of another site": [
    "The `Origin` of another site, default options",
    asItIs,
  ],
  "sends a head of a byte a second, without end": [
    "A head without end, a byte a second",
    (answer) => answer.replace(/^not in/, "not cut off in"),
  ],
  "does not mask": [
    "A frame without a mask",
    (answer) => answer.replace(/^echo .*/, "takes it"),
  ],
  "sets a reserved bit": [
    "A reserved bit",
    (answer) => answer.replace(/^cut off$/, "cut off, no Close"),
  ],
  "sends a text that is not UTF-8": [
    "A text that is not UTF-8",
    (answer) => answer.replace(/^cut off$/, "cut off, no Close"),
  ],
  "the same, and does not end the text": [
    "The same, as long as the text is unfinished",
    (answer) =>
      answer.replace(/^cut off$/, "cut off, no Close")
        .replace(/^nothing$/, "waits for the end")
        .replace(/^1007$/, "1007 at once"),
  ],
  "sends 128 MiB in fragments, without end": [
    "128 MiB in fragments, and no end of them",
    (answer) => answer.replace(/^taken/, "takes it"),
  ],
  "ignores a Close": [
    "A client that ignores Close is cut off",
    (answer) =>
      answer.replace(/^not in/, "not cut off in")
        .replace(/^(after|at once)/, "cut off $1"),
  ],
  "sends 256 MiB to an echo, and does not read": [
    "256 messages of 1 MiB from one that reads nothing",
    (answer, server) => {
      const [, count = "", memory = ""] =
        /^(\d+) come back(, \d+ MiB)$/.exec(answer) ?? [];
      if (count !== "256") return `${256 - Number(count)} of 256 are lost`;
      return (server === "ours" ? "waits" : "all is kept") + memory;
    },
  ],
  "says nothing: memory for each of 2,000": [
    "2,000 connections that say nothing",
    (answer) => answer.replace(/ each$/, ""),
  ],
};

Deno.test("README.md says what servers answer as docs/comparison.md does", () => {
  const answers = tableAfter("<!-- bench:behaviour -->", comparison);
  const copy = tableAfter("## Why not what already exists", readme);
  assertEquals(copy.slice(1).map(([row]) => row), Object.keys(ANSWERS));
  const servers = copy[0]!.slice(1);
  for (const [row, [title, wording]] of Object.entries(ANSWERS)) {
    for (const server of servers) {
      const answer = cellOf(answers, title, server.replaceAll("`", ""));
      const isBold = answer.startsWith("**");
      const put = wording(answer.replaceAll("**", ""), server);
      assertEquals(
        cellOf(copy, row, server),
        isBold ? `**${put}**` : put,
        `${row}, ${server}`,
      );
    }
  }
});

Deno.test("README.md says when, and of what, as docs/comparison.md does", () => {
  const [, date, rest] = /\nAsked on ([\d-]+): ([^|]*?)\.\n\n/.exec(
    comparison,
  )!;
  const [, copiedDate, copied] = /\nAsked on ([\d-]+): ([^|]*?)\.\n/.exec(
    readme,
  )!;
  assertEquals(copiedDate, date);
  for (const version of rest!.match(/(Deno|ws|Node|Bun) [\d.]+\d/g)!) {
    assert(copied!.includes(version), `${version}: [${copied}]`);
  }
});

// --- What it costs ---------------------------------------------------------

/** The scenario of each row of README.md. */
const LOADS: Record<string, string> = {
  "16 B text, 1 at a time": "S1",
  "64 B binary, 32 at a time": "S2",
  "1 KiB text, 8 at a time": "S3",
  "64 KiB binary, 4 at a time": "S4",
  "1 MiB binary, 2 at a time": "S5",
  "64 KiB Chinese and ASCII, 4": "S6",
  "a handshake, opened and closed": "H",
};

const costs = tableAfter(
  "CPU time for each message, as a multiple",
  performance,
);

Deno.test("README.md says what a message costs as docs/performance.md does", () => {
  const copy = tableAfter("\n## Performance\n", readme);
  assertEquals(copy.slice(1).map(([row]) => row), Object.keys(LOADS));
  for (const [row, scenario] of Object.entries(LOADS)) {
    for (const server of copy[0]!.slice(1)) {
      assertEquals(
        cellOf(copy, row, server),
        cellOf(costs, server, scenario),
        `${row}, ${server}`,
      );
    }
  }
});

Deno.test("on average ours costs less than the others, as README.md says", () => {
  assert(
    readme.replaceAll("\n", " ").includes("ours takes less than the other"),
  );
  const ours = Number(cellOf(costs, "ours", "mean"));
  for (const [server] of costs.slice(1)) {
    if (server === "ours" || server === "raw TCP on Deno") continue;
    const theirs = Number(cellOf(costs, server!, "mean"));
    assert(ours < theirs, `${ours}, and ${theirs} for ${server}`);
  }
});
