/** How `deno task coverage` reads V8's counts, and our list. */
import { assertEquals, assertThrows } from "@std/assert";
import { isStale, linesOf, parseLcov, parseUncovered } from "./_coverage.ts";

Deno.test("coverage: what was not run, and branches that were not taken", () => {
  const report = `SF:/a/frame.ts
FN:1,mask
FNDA:0,mask
BRDA:2,0,0,-
BRDA:2,0,1,7
BRF:2
DA:1,3
DA:2,12
DA:3,0
LH:2
LF:3
end_of_record
SF:/a/hub.ts
DA:1,1
end_of_record
`;
  assertEquals([...parseLcov(report)], [
    { path: "/a/frame.ts", missed: [2, 3], all: 5, covered: 3 },
    { path: "/a/hub.ts", missed: [], all: 1, covered: 1 },
  ]);
});

Deno.test("coverage: lines are explained where they stand together", () => {
  const groups = parseUncovered(
    "# A list\n\na.ts\n- f();\n- }\nNobody\ncalls it.\n\nb.ts\nTypes only.\n",
  );
  assertEquals(groups, [
    { file: "a.ts", lines: ["f();", "}"], reason: "Nobody calls it." },
    { file: "b.ts", lines: [], reason: "Types only." },
  ]);
  const source = "if (x) {\n  f();\n}\nif (y) {\n  g();\n}\n";
  assertEquals(linesOf(groups[0]!, source), [2, 3]);
  assertEquals(isStale(groups[0]!, source), false);
  assertEquals(isStale(groups[0]!, source.replace("f()", "h()")), true);
  assertEquals(groups.map((group) => isStale(group, "")), [true, false]);
  assertEquals(isStale(groups[1]!, undefined), true);
  assertThrows(() => parseUncovered("a.ts\n- f();\n"), SyntaxError, "why");
});

Deno.test("coverage: what is explained is there", async () => {
  const read = (path: string) =>
    Deno.readTextFile(new URL(path, import.meta.url));
  for (const group of parseUncovered(await read("uncovered.txt"))) {
    const source = await read(`../${group.file}`);
    assertEquals(isStale(group, source), false, group.file);
  }
});
