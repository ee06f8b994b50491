/** The corpus, and 10,000 cases of `deno task fuzz`. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Chance, CORPUS, fromCorpus } from "./_fuzz_chance.ts";
import { fuzzCase, fuzzCorpus, TARGETS_OF_FUZZ } from "./_fuzz.ts";
import { fuzz } from "./_fuzz_watch.ts";
import { measuredTest } from "./_measured.ts";
import { seed } from "./_property.ts";

/** What Deno may keep of a worker that has ended, for a while. */
const WORKER = { files: 12, growth: 400 };

Deno.test("fuzz: the corpus as it is", () => {
  assert(fuzzCorpus() > 500);
});

measuredTest(`fuzz: 10,000 cases from ${seed}`, async () => {
  const report = await fuzz({ cases: 10_000, seed, workers: 1 });
  assert(report.cases >= 10_000);
  assertEquals(report.targets.size, Object.keys(TARGETS_OF_FUZZ).length);
}, WORKER);

Deno.test("fuzz: a number is always the same case", () => {
  for (let number = 0; number < 50; number++) {
    const [a, b] = [0, 1].map(() => {
      const chance = new Chance(number);
      return fromCorpus(chance, CORPUS.requests);
    });
    assertEquals(a, b);
  }
});

Deno.test("fuzz: a case that fails says how to repeat it", async () => {
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

Deno.test("fuzz: an entry of the corpus that fails says so, too", () => {
  CORPUS.toServer.push(undefined as unknown as Uint8Array<ArrayBuffer>);
  try {
    assertThrows(
      () => fuzzCorpus(),
      Error,
      "Repeat with `deno task fuzz --corpus`\n",
    );
  } finally {
    CORPUS.toServer.pop();
  }
});

Deno.test("fuzz: a case that hangs is seen, the first one too", async () => {
  for (const seed of [0, 7]) {
    await assertRejects(
      () =>
        fuzz({
          ...{ cases: 10, seed, workers: 1 },
          ...{ targets: ["hangs"], longest: 3000 },
        }),
      Error,
      `It hangs: \`deno task fuzz --target hangs --case ${seed}\`\n` +
        `All of it: \`deno task fuzz --cases 10 --seed ${seed} --workers 1 --target hangs\``,
    );
  }
});

Deno.test("fuzz: a target that takes all memory is stopped", async () => {
  const most = Deno.memoryUsage().rss / 1024 / 1024 + 200;
  await assertRejects(
    () => fuzz({ cases: 500, seed: 0, workers: 1, targets: ["hoards"], most }),
    Error,
    "MiB are taken\n",
  );
});
