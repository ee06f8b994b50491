/** The corpus, and 10,000 cases of `deno task fuzz`, which see. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Chance, CORPUS, fromCorpus } from "./_fuzz_chance.ts";
import { fuzzCase, fuzzCorpus, TARGETS_OF_FUZZ } from "./_fuzz.ts";
import { fuzz } from "./_fuzz_watch.ts";
import { seed } from "./_property.ts";

Deno.test("fuzz: the corpus as it is", () => {
  assert(fuzzCorpus() > 500);
});

Deno.test(`fuzz: 10,000 cases from ${seed}`, async () => {
  const report = await fuzz({ cases: 10_000, seed, workers: 1 });
  assert(report.cases >= 10_000);
  assertEquals(report.targets.size, Object.keys(TARGETS_OF_FUZZ).length);
});

Deno.test("fuzz: a number is always the same case", () => {
  for (let number = 0; number < 50; number++) {
    const [a, b] = [0, 1].map(() => {
      const chance = new Chance(number);
      return fromCorpus(chance, CORPUS.requests);
    });
    assertEquals(a, b);
  }
});

Deno.test("fuzz: a case that fails, or hangs, says how to repeat it", async () => {
  const usual = TARGETS_OF_FUZZ.decodeFrame!.run;
  try {
    TARGETS_OF_FUZZ.decodeFrame!.run = () => {
      throw new Error("wrong");
    };
    await assertRejects(
      async () => await fuzzCase("decodeFrame", 7),
      Error,
      "Repeat with `deno task fuzz --target decodeFrame --case 7`\nwrong",
    );
  } finally {
    TARGETS_OF_FUZZ.decodeFrame!.run = usual;
  }
});
