/**
 * What docs/comparison.md says of our echo: checks that it still answers so,
 * that RFC 6455 allows it, and that the page says the same.
 */
import { assert, assertEquals } from "@std/assert";
import { askAll } from "../bench/_probe.ts";
import { PROBES } from "../bench/_probes.ts";
import { SERVERS } from "../bench/_servers.ts";
import { links } from "./_markdown.ts";

const page = await Deno.readTextFile(
  new URL("../docs/comparison.md", import.meta.url),
);

/** The rows of the page's tables, by their first cells. */
const rows = new Map(
  page.split("\n").filter((line) => line.startsWith("| ")).map((line) => {
    const [first, ...cells] = line.split("|").slice(1, -1)
      .map((cell) => cell.trim());
    return [first!, cells];
  }),
);

Deno.test("our echo answers as docs/comparison.md says, and RFC 6455 asks", async (t) => {
  const column = await askAll(SERVERS.ours!, PROBES);
  for (const { title, allowed = /./, ours } of PROBES) {
    await t.step(title, () => {
      const cell = column[title]!;
      assert(ours.test(cell), `it answers [${cell}], not ${ours}`);
      assert(allowed.test(cell), `RFC 6455 asks for something else: [${cell}]`);
    });
  }
});

Deno.test("docs/comparison.md has each answer, as it was asked for", () => {
  for (const { title, asks, ours } of PROBES) {
    const [section, cell = ""] = rows.get(title) ?? [];
    assertEquals(section, asks, `deno task bench:behaviour --write (${title})`);
    assert(ours.test(cell), `${title}: [${cell}], not ${ours}`);
  }
});

Deno.test("docs/comparison.md names the test of each feature of ours", () => {
  const features = page.split("\n## Features\n")[1]!.split("\n## ")[0]!
    .split("\n").filter((line) => line.startsWith("| ")).slice(2);
  assert(features.length > 10, `${features.length} features`);
  for (const feature of features) {
    const tests = links(feature).filter(({ target }) =>
      /^\.\.\/tests\/\w+_test\.ts$/.test(target)
    );
    assert(tests.length > 0, feature);
  }
});
