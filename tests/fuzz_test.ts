/** 10,000 cases of `deno task fuzz`, which see. */
import { fuzzCase, TARGETS_OF_FUZZ } from "./_fuzz.ts";
import { seed } from "./_property.ts";

for (const [name, { share }] of Object.entries(TARGETS_OF_FUZZ)) {
  Deno.test(`fuzz: ${name}, ${share * 100} cases from ${seed}`, () => {
    for (let i = 0; i < share * 100; i++) fuzzCase(name, seed + i);
  });
}
