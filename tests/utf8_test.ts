/** The validator of text in parts, and its fast paths. */
import { assert, assertEquals, assertFalse } from "@std/assert";
import { nodeBuffer } from "../_platform.ts";
import {
  chooseIsUtf8,
  decodeUtf8,
  isUtf8,
  isUtf8Natively,
  isUtf8Portable,
  Utf8Validator,
} from "../_utf8.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
import { anyCharacter, fc, property } from "./_property.ts";
import { beginsUtf8Slowly, isUtf8Slowly } from "./_slow_utf8.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function isUtf8OfThePlatform(bytes: Uint8Array): boolean {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Asserts that all ways to judge the bytes agree, amidst others as well. */
function assertJudged(bytes: Uint8Array<ArrayBuffer>): boolean {
  const expected = isUtf8Slowly(bytes);
  const told = () => `${bytes}`;
  assertEquals(isUtf8OfThePlatform(bytes), expected, told());
  for (const around of [0, 1, 40]) {
    const memory = concat(
      new Uint8Array(around).fill(0xff),
      bytes,
      new Uint8Array(around).fill(0x80),
    );
    const end = around + bytes.length;
    assertEquals(isUtf8(memory, around, end), expected, told());
    assertEquals(isUtf8Portable(memory, around, end), expected, told());
    if (nodeBuffer?.isUtf8 !== undefined) {
      assertEquals(isUtf8Natively(memory, around, end), expected, told());
    }
    assertEquals(chooseIsUtf8()(memory, around, end), expected, told());
  }
  assertEquals(isUtf8(bytes), expected, told());
  assertEquals(isUtf8Portable(bytes), expected, told());
  return expected;
}

/** Asserts that the validator refuses the bytes where the slow way does. */
function assertValidates(
  bytes: Uint8Array<ArrayBuffer>,
  cuts: number[],
): void {
  const validator = new Utf8Validator();
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const isFine = beginsUtf8Slowly(bytes.subarray(0, to));
    assertEquals(validator.push(bytes, from, to), isFine, `${bytes} ${cuts}`);
    if (!isFine) return;
    const isComplete = isUtf8Slowly(bytes.subarray(0, to));
    assertEquals(validator.isComplete, isComplete, `${bytes} ${cuts}`);
    from = to;
  }
}

function assertValidatesCutAnywhere(bytes: Uint8Array<ArrayBuffer>): void {
  assertValidates(bytes, []);
  assertValidates(bytes, Array.from(bytes, (_, at) => at));
  for (let first = 0; first <= bytes.length; first++) {
    assertValidates(bytes, [first]);
    for (let second = first; second <= bytes.length; second++) {
      assertValidates(bytes, [first, second]);
    }
  }
}

// What may follow what, at both ends of each range of RFC 3629 §4
const EDGES = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf]
  .concat([0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef])
  .concat([0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff]);
const SEQUELS = [0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc3];

Deno.test("RFC 3629 §4: every first and second byte", () => {
  for (let first = 0; first < 256; first++) {
    assertJudged(Uint8Array.of(first));
    for (let second = 0; second < 256; second++) {
      const pair = Uint8Array.of(first, second);
      const expected = isUtf8Slowly(pair);
      assertEquals(isUtf8Portable(pair), expected, `${pair}`);
      const long = Uint8Array.of(first, second, 0x80, 0x80);
      for (const end of [3, 4]) {
        assertEquals(
          isUtf8Portable(long, 0, end),
          isUtf8Slowly(long.subarray(0, end)),
          `${long} ${end}`,
        );
      }
      const begins = beginsUtf8Slowly(pair);
      assertEquals(new Utf8Validator().push(pair), begins, `${pair}`);
      const validator = new Utf8Validator();
      const isFirstFine = validator.push(pair, 0, 1);
      assertEquals(isFirstFine, beginsUtf8Slowly(pair.subarray(0, 1)));
      if (isFirstFine) assertEquals(validator.push(pair, 1), begins);
    }
  }
});

Deno.test("RFC 3629 §4: the edges of each range, in any four bytes", () => {
  for (const first of EDGES) {
    for (const second of SEQUELS) {
      for (const third of SEQUELS) {
        for (const fourth of SEQUELS) {
          const bytes = Uint8Array.of(first, second, third, fourth);
          const expected = isUtf8Slowly(bytes);
          assertEquals(isUtf8Portable(bytes), expected, `${bytes}`);
          assertEquals(isUtf8OfThePlatform(bytes), expected, `${bytes}`);
          const begins = beginsUtf8Slowly(bytes);
          for (let at = 0; at <= 4; at++) {
            const validator = new Utf8Validator();
            const result = validator.push(bytes, 0, at) &&
              validator.push(bytes, at);
            assertEquals(result, begins, `${bytes} ${at}`);
            if (begins) assertEquals(validator.isComplete, expected);
          }
        }
      }
    }
  }
});

Deno.test("a character of each length between ASCII of each length", () => {
  for (const character of ["", "é", "界", "👋", "\ufeff", "\0"].map(utf8)) {
    for (let before = 0; before <= 40; before++) {
      for (const after of [0, 1, 7, 8, 9, 31, 32, 33]) {
        const bytes = concat(
          new Uint8Array(before).fill(0x61),
          character,
          new Uint8Array(after).fill(0x62),
        );
        assert(assertJudged(bytes));
        assertEquals(decodeUtf8(bytes), decoder.decode(bytes));
        if (character.length < 2) continue;
        for (let i = 0; i < character.length; i++) {
          const damaged = bytes.slice();
          damaged[before + i] = 0xff;
          assert(!assertJudged(damaged));
          assert(
            !assertJudged(bytes.slice(0, before + i + 1)) ||
              i === character.length - 1,
          );
        }
      }
    }
  }
});

Deno.test("a bad byte anywhere in a long text is seen", () => {
  const fillers = [0x61, 0x00, 0x7f];
  for (const length of [8, 31, 32, 33, 64, 100]) {
    for (let at = 0; at < length; at++) {
      for (const bad of [0x80, 0xff, 0xc3]) {
        const bytes = new Uint8Array(length).fill(fillers[(at + length) % 3]!);
        bytes[at] = bad;
        assert(!assertJudged(bytes));
        const validator = new Utf8Validator();
        const isCutOff = bad === 0xc3 && at === length - 1;
        assertEquals(validator.push(bytes), isCutOff);
      }
    }
  }
});

Deno.test("the validator, cut at every two points", () => {
  const texts = [
    utf8("a é 界 👋"),
    hex`61 c3 a9 80`,
    hex`e2 82 ac e2 82`,
    hex`f0 9f 91 8b f0 9f 91`,
    hex`f0 9f 91 41 80`,
    hex`ed 9f bf ed a0 80`,
    hex`f4 8f bf bf f4 90 80 80`,
    hex`c3 c3 a9`,
    hex`e0 a0 80 e0 9f bf`,
    hex`61 80 80 80 80 80`,
    hex`c2 80 80 80`,
    hex`f0 90 80 80 80`,
  ];
  for (const bytes of texts) assertValidatesCutAnywhere(bytes);
});

Deno.test("the validator finds a cut character behind a long text", () => {
  for (const length of [0, 1, 28, 29, 30, 31, 32, 33, 100]) {
    for (const tail of [hex`c3`, hex`e2 82`, hex`f0 9f 91`, hex`f0`, hex`e2`]) {
      const bytes = concat(new Uint8Array(length).fill(0x61), tail);
      const validator = new Utf8Validator();
      assert(validator.push(bytes));
      assert(!validator.isComplete);
      assert(!validator.push(hex`41`));
    }
  }
});

Deno.test("an empty part changes nothing", () => {
  const validator = new Utf8Validator();
  assert(validator.isComplete);
  assert(validator.push(new Uint8Array(0)) && validator.isComplete);
  assert(validator.push(hex`e2`) && !validator.isComplete);
  assert(validator.push(new Uint8Array(0)) && !validator.isComplete);
  assert(validator.push(pattern(5), 3, 3) && !validator.isComplete);
  assert(validator.push(hex`82 ac`) && validator.isComplete);
});

Deno.test("decodeUtf8 keeps byte order marks, and takes ranges", () => {
  const bytes = utf8("\ufeffa\ufeff界b");
  assertEquals(decodeUtf8(bytes), "\ufeffa\ufeff界b");
  assertEquals(decodeUtf8(bytes, 3), "a\ufeff界b");
  assertEquals(decodeUtf8(bytes, 3, 7), "a\ufeff");
  assertEquals(decodeUtf8(bytes, 4, 4), "");
  assertEquals(decodeUtf8(concat(hex`ff ff`, bytes).subarray(2), 3, 4), "a");
  for (const length of [0, 1, 255, 256, 257, 258, 5000]) {
    const text = "\ufeffé".repeat(length).slice(0, length);
    const memory = concat(hex`41 ff 80`, utf8(text), hex`80`);
    assertEquals(decodeUtf8(memory, 3, memory.length - 1), text);
  }
});

Deno.test("what is in front of a part belongs to somebody else", () => {
  const continuations = [hex`f0 90 80`, hex`e1 80`, hex`f1 80`, hex`c3 80`];
  for (const bytes of continuations) {
    for (let start = 1; start < bytes.length; start++) {
      assertFalse(new Utf8Validator().push(bytes, start), `${bytes} ${start}`);
    }
  }
  const begun = hex`f0 90 80 e0`;
  const validator = new Utf8Validator();
  assert(validator.push(begun, 3) && !validator.isComplete);
  assert(validator.push(hex`a0 80`) && validator.isComplete);
});

// Properties

const pieces = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.string({ unit: anyCharacter }).map(utf8) },
    { weight: 2, arbitrary: fc.nat(60).map((n) => utf8("a".repeat(n))) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 4 }) },
    {
      weight: 1,
      arbitrary: fc.array(fc.constantFrom(...EDGES), { maxLength: 5 })
        .map((bytes) => Uint8Array.from(bytes)),
    },
  ),
  { maxLength: 8 },
).map((parts) => concat(...parts));

property("any bytes are judged alike in every way", [pieces], (bytes) => {
  if (assertJudged(bytes)) {
    assertEquals(decodeUtf8(bytes), decoder.decode(bytes));
  }
});

property("any bytes are validated alike however they are cut", [
  pieces,
  fc.array(fc.nat(300), { maxLength: 6 }),
], (bytes, ends) => {
  const cuts = ends.filter((end) => end <= bytes.length).sort((a, b) => a - b);
  assertValidates(bytes, cuts);
  assertValidates(bytes, Array.from(bytes, (_, at) => at));
});
