/** The mutants of `deno task mutate`, and its list of survivors. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { mutantsOf, parseSurvivors } from "./_mutants.ts";

const root = new URL("../", import.meta.url);

function changesOf(source: string): string[] {
  return Array.from(mutantsOf("x.ts", source), ({ after }) => after).sort();
}

Deno.test("mutants: each operator, constant and statement of its own", () => {
  assertEquals(changesOf("  if (a < 10 && !b) return c + 1;"), [
    "if (!(a < 10 && !b)) return c + 1;",
    "if (a < (10 + 1) && !b) return c + 1;",
    "if (a < 10 && !b) return c + (1 + 1);",
    "if (a < 10 && !b) return c - 1;",
    "if (a < 10 || !b) return c + 1;",
    "if (a <= 10 && !b) return c + 1;",
  ]);
  assertEquals(changesOf("    throw malformed(0x0a);"), [
    "if (false) throw malformed(0x0a);",
    "throw malformed((0x0a ^ 1));",
  ]);
  assertEquals(changesOf("    this.#drop(it);\n    i++;"), [";", "i--;"]);
});

Deno.test("mutants: comments, imports and types are left alone", () => {
  const prose = [
    "// a < b",
    "/** a < b */",
    " * a < b",
    'import { a } from "./a.ts"; // 0',
    "export interface A { a: true }",
  ];
  assertEquals(changesOf(prose.join("\n")), []);
});

Deno.test("mutants: where they are, and what becomes of the source", () => {
  const [mutant] = mutantsOf("x.ts", "a();\nconst b = c - d;\n");
  assertEquals(mutant, {
    file: "x.ts",
    line: 2,
    what: "-",
    before: "const b = c - d;",
    after: "const b = c + d;",
    source: "a();\nconst b = c + d;\n",
  });
});

Deno.test("survivors: what the list says, each with a reason", () => {
  const text = `# A comment

x.ts
- a < b
+ a <= b
+ a > b
Neither is
of importance.
`;
  const reason = "Neither is of importance.";
  const before = "a < b";
  assertEquals(parseSurvivors(text), [
    { file: "x.ts", before, after: "a <= b", reason },
    { file: "x.ts", before, after: "a > b", reason },
  ]);
  assertThrows(() => parseSurvivors("x.ts\n- a\n+ b\n"), SyntaxError, "why");
  assertThrows(() => parseSurvivors("x.ts\n+ b\nc\n"), SyntaxError, "Of what");
});

Deno.test("survivors: all of the list are still changes that are made", async () => {
  const list = parseSurvivors(
    await Deno.readTextFile(new URL("survivors.txt", import.meta.url)),
  );
  const possible = new Map<string, Set<string>>();
  for (const { file, before, after } of list) {
    let changes = possible.get(file);
    if (changes === undefined) {
      const source = await Deno.readTextFile(new URL(file, root));
      changes = new Set(
        mutantsOf(file, source).map(({ before, after }) => before + after),
      );
      possible.set(file, changes);
    }
    assert(changes.has(before + after), `${file}: ${before}`);
  }
});
