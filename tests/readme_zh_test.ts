/**
 * README.zh-CN.md keeps in step with README.md: the same headings, code, links
 * and tables, in the same order, and in each cell the same numbers.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { codeBlocks, links } from "./_markdown.ts";

const ENGLISH = "README.md";
const CHINESE = "README.zh-CN.md";

/** Something that both have to have, as it is compared, and where it is. */
interface Part {
  readonly line: number;
  readonly text: string;
}

/** The lines that are no code, numbered from 1. */
function prose(text: string): Part[] {
  const code = new Set<number>();
  for (const block of codeBlocks("", text)) {
    const { length } = block.code.split("\n");
    for (let i = 0; i < length; i++) code.add(block.line + i - 1);
  }
  return text.split("\n").map((text, index) => ({ line: index + 1, text }))
    .filter(({ line }) => !code.has(line));
}

/** What a cell has in common with its translation: numbers, and what is bold. */
function figures(cell: string): string {
  const numbers =
    cell.match(/\d[\d,.]*/g)?.map((it) => it.replace(/[,.]+$/, "")) ?? [];
  return [...numbers.sort(), ...cell.match(/\*\*/g) ?? []].join(" ");
}

/** What is compared, by its name. */
const KINDS: Record<string, (text: string) => Part[]> = {
  heading: (text) =>
    prose(text).flatMap(({ line, text }) => {
      const [, marks] = /^(#{1,6}) /.exec(text) ?? [];
      return marks === undefined ? [] : [{ line, text: marks }];
    }),
  "code block": (text) =>
    codeBlocks("", text).map(({ line, words, code }) => ({
      line,
      text: `${words.join(" ")}\n${code}`,
    })),
  link: (text) =>
    links(text).map(({ line, target }) => ({
      line,
      // The two link to each other.
      text: target === ENGLISH || target === CHINESE ? "the other" : target,
    })),
  picture: (text) =>
    prose(text).flatMap(({ line, text }) =>
      Array.from(
        text.matchAll(/!\[[^\]]*\]\(([^()\s]+)\)|<img[^>]* src="([^"]+)"/g),
        ([, markdown, html]) => ({ line, text: (markdown ?? html)! }),
      )
    ),
  "table row": (text) =>
    prose(text).filter(({ text }) => text.startsWith("|")).map((
      { line, text },
    ) => ({
      line,
      text: /^[-: |]+$/.test(text)
        ? text.replaceAll(/-+| /g, (it) => it === " " ? "" : "-")
        : text.split(/(?<!\\)\|/).slice(1, -1).map(figures).join(" | "),
    })),
};

/** The first difference of two texts, for a person. */
function difference(
  kind: string,
  english: string,
  chinese: string,
): string | undefined {
  const ours = KINDS[kind]!(english);
  const theirs = KINDS[kind]!(chinese);
  for (let i = 0; i < Math.max(ours.length, theirs.length); i++) {
    const [a, b] = [ours[i], theirs[i]];
    if (a?.text === b?.text) continue;
    const show = (file: string, part?: Part) =>
      part === undefined
        ? `${file} has none`
        : `${file}:${part.line} has ${JSON.stringify(part.text)}`;
    return `${kind} ${i + 1}: ${show(ENGLISH, a)}, ${show(CHINESE, b)}`;
  }
}

const [english, chinese] = await Promise.all(
  [ENGLISH, CHINESE].map((file) =>
    Deno.readTextFile(new URL(`../${file}`, import.meta.url))
  ),
) as [string, string];

for (const kind of Object.keys(KINDS)) {
  Deno.test(`${CHINESE}: each ${kind} is that of ${ENGLISH}`, () => {
    assert(KINDS[kind]!(english).length > 1, `${ENGLISH} has no ${kind}`);
    const wrong = difference(kind, english, chinese);
    assert(wrong === undefined, wrong);
  });
}

Deno.test("the two READMEs link to each other below the title", () => {
  const below = (text: string) => text.split("\n").slice(1, 4);
  assertEquals(below(english), ["", `[中文](${CHINESE})`, ""]);
  assertEquals(below(chinese), ["", `[English](${ENGLISH})`, ""]);
});

Deno.test("the first difference of two READMEs is named", () => {
  assertEquals(
    difference("heading", "# a\n## b\n", "# a\n### b\n"),
    'heading 2: README.md:2 has "##", README.zh-CN.md:2 has "###"',
  );
  assertEquals(
    difference("code block", "```ts\n# a\n```\n", "```ts server\n# a\n```\n"),
    'code block 1: README.md:2 has "ts\\n# a\\n", ' +
      'README.zh-CN.md:2 has "ts server\\n# a\\n"',
  );
  assertEquals(
    difference("link", "[a](b)\n[c](d)\n", "[a](b)\n"),
    'link 2: README.md:2 has "d", README.zh-CN.md has none',
  );
  assertEquals(
    difference("picture", "![a](b.png)\n", "![a](c.png)\n"),
    'picture 1: README.md:1 has "b.png", README.zh-CN.md:1 has "c.png"',
  );
  assertEquals(
    difference("table row", "| a |\n| - |\n", "| a |\n| --- |\n| b |\n"),
    'table row 3: README.md has none, README.zh-CN.md:3 has ""',
  );
  assertEquals(
    difference("table row", "| a | **5 of 12** |\n", "| 一 | **12 的 7** |\n"),
    'table row 1: README.md:1 has " | 12 5 ** **", ' +
      'README.zh-CN.md:1 has " | 12 7 ** **"',
  );
  assertEquals(
    difference("heading", "# a\n", "# 一\n```\n# b\n```\n"),
    undefined,
  );
});
