/** The WebAssembly that checks UTF-8, against the loop and RFC 3629's grammar. */
import { assert, assertEquals } from "@std/assert";
import { isUtf8, isUtf8Portable, Utf8Validator } from "../_utf8.ts";
import { type IsUtf8, loadUtf8Simd, WINDOW } from "../_utf8_simd.ts";
import { concat, hex, utf8 } from "./_bytes.ts";
import { anyCharacter, fc, property } from "./_property.ts";
import { isUtf8Slowly } from "./_slow_utf8.ts";

const isUtf8Simd: IsUtf8 = loadUtf8Simd()!;

// The module looks at 16 bytes at a time, and at 64 for ASCII.
const BLOCK = 64;

// Each fault that there is (RFC 3629 §3 and §4), with its nearest neighbours
const VALID = [
  ...["\0", "\x7f", "\x80", "é", "\u07ff", "\u0800", "界", "\ud7ff", "\ue000"],
  ...["\uffff", "\u{10000}", "👋", "\u{40000}", "\u{fffff}", "\u{10ffff}"],
].map(utf8);
const FAULTS = {
  "a continuation with nothing to continue": [hex`80`, hex`bf`],
  "one continuation too many": [
    hex`c2 80 80`,
    hex`e1 80 80 80`,
    hex`f1 80 80 80 80`,
  ],
  "a sequence cut short": [
    hex`c2`,
    hex`df`,
    hex`e0 a0`,
    hex`e1`,
    hex`e1 80`,
    hex`ef bf`,
    hex`f0`,
    hex`f0 90`,
    hex`f0 90 80`,
    hex`f4 8f bf`,
  ],
  "a sequence within another": [hex`c2 c2 80`, hex`e1 80 e1 80 80`],
  "an overlong form": [
    hex`c0 80`,
    hex`c1 bf`,
    hex`e0 80 80`,
    hex`e0 9f bf`,
    hex`f0 80 80 80`,
    hex`f0 8f bf bf`,
  ],
  "a surrogate": [hex`ed a0 80`, hex`ed bf bf`, hex`ed a1 8c ed be b4`],
  "beyond U+10FFFF": [
    hex`f4 90 80 80`,
    hex`f5 80 80 80`,
    hex`f7 bf bf bf`,
    hex`f8 88 80 80 80`,
    hex`fc 84 80 80 80 80`,
    hex`fe`,
    hex`ff`,
  ],
};

/** `length` bytes of text, in characters of the given one and ASCII behind. */
function filled(length: number, character: string): Uint8Array<ArrayBuffer> {
  const sequence = utf8(character);
  const bytes = new Uint8Array(length).fill(0x61);
  for (let at = 0; at + sequence.length <= length; at += sequence.length) {
    bytes.set(sequence, at);
  }
  return bytes;
}

/** Asserts that all ways to judge the bytes agree on them. */
function assertJudged(
  bytes: Uint8Array<ArrayBuffer>,
  expected: boolean,
  told: string,
): void {
  assertEquals(isUtf8Portable(bytes), expected, `loop: ${told}`);
  assertEquals(isUtf8Simd(bytes, 0, bytes.length), expected, `SIMD: ${told}`);
  assertEquals(isUtf8(bytes), expected, told);
}

Deno.test("every three bytes that begin with a first byte", () => {
  const bytes = new Uint8Array(3);
  for (let first = 0xc0; first <= 0xff; first++) {
    for (let rest = 0; rest <= 0xffff; rest++) {
      bytes[0] = first;
      bytes[1] = rest >> 8;
      bytes[2] = rest;
      if (isUtf8Simd(bytes, 0, 3) !== isUtf8Portable(bytes)) {
        throw new Error(`SIMD and the loop do not agree on ${bytes}`);
      }
    }
  }
});

Deno.test("every two bytes behind each first of four", () => {
  const bytes = new Uint8Array(4);
  for (let first = 0xf0; first <= 0xff; first++) {
    for (let rest = 0; rest <= 0xffff; rest++) {
      bytes[0] = first;
      bytes[1] = rest >> 8;
      bytes[2] = rest;
      for (const last of [0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff]) {
        bytes[3] = last;
        if (isUtf8Simd(bytes, 0, 4) !== isUtf8Portable(bytes)) {
          throw new Error(`SIMD and the loop do not agree on ${bytes}`);
        }
      }
    }
  }
});

Deno.test("texts of every length, in characters of every length", () => {
  for (const character of ["a", "é", "界", "👋"]) {
    for (let length = 0; length <= 4 * BLOCK + 1; length++) {
      const bytes = filled(length, character);
      assertJudged(bytes, true, `${length} bytes of ${character}`);
    }
  }
});

Deno.test("every character that is an edge, at every alignment", () => {
  for (const sequence of VALID) {
    for (const around of ["a", "é", "界", "👋"]) {
      for (let at = 0; at <= BLOCK + 16; at++) {
        const bytes = concat(filled(at, around), sequence, filled(70, around));
        assertJudged(bytes, true, `${sequence} at ${at} in ${around}`);
        const end = concat(filled(at, around), sequence);
        assertJudged(end, true, `${sequence} at ${at} behind ${around}`);
      }
    }
  }
});

for (const [fault, sequences] of Object.entries(FAULTS)) {
  Deno.test(`${fault} is seen at every alignment`, () => {
    for (const sequence of sequences) {
      assert(!isUtf8Slowly(sequence));
      for (const around of ["a", "é", "界", "👋"]) {
        for (let at = 0; at <= BLOCK + 16; at++) {
          const before = filled(at, around);
          for (const length of [0, 1, 15, 70]) {
            const bytes = concat(before, sequence, filled(length, around));
            const told = `${sequence} at ${at} in ${around}, then ${length}`;
            assertJudged(bytes, false, told);
          }
        }
      }
    }
  });

  Deno.test(`${fault} is seen where windows meet, and at the end`, () => {
    for (const sequence of sequences) {
      for (const around of ["a", "界"]) {
        for (const border of [WINDOW, 2 * WINDOW]) {
          for (let at = border - 6; at <= border + 2; at++) {
            const before = filled(at, around);
            const bytes = concat(before, sequence, filled(200, around));
            assertJudged(bytes, false, `${sequence} at ${at} in ${around}`);
            const cut = concat(before, sequence);
            assertJudged(cut, false, `${sequence} at ${at}, and the end`);
          }
        }
      }
    }
  });
}

Deno.test("characters across the border of two windows are valid", () => {
  for (const sequence of VALID) {
    for (const around of ["a", "é", "界", "👋"]) {
      for (let at = WINDOW - 8; at <= WINDOW + 2; at++) {
        const bytes = filled(2 * WINDOW + 100, around);
        // The first window then ends in any place of a character.
        const shifted = concat(filled(at, around), sequence, bytes);
        assertJudged(shifted, true, `${sequence} at ${at} in ${around}`);
      }
    }
  }
});

Deno.test("what was checked before leaves no trace behind a shorter text", () => {
  for (let length = 32; length <= 3 * BLOCK; length++) {
    for (const tail of [hex`c2`, hex`e1 80`, hex`f1 80 80`]) {
      assert(isUtf8Simd(filled(WINDOW, "é"), 0, WINDOW));
      assert(!isUtf8Simd(new Uint8Array(WINDOW).fill(0x80), 0, WINDOW));
      const bytes = concat(filled(length, "界"), tail);
      assertJudged(bytes, false, `${tail} behind ${length} bytes`);
      assertJudged(filled(length, "界"), true, `${length} bytes`);
    }
  }
});

Deno.test("a range is judged by itself", () => {
  const bytes = filled(WINDOW + 1000, "界");
  for (let start = 0; start < 4; start++) {
    for (const end of [100, 101, 102, WINDOW + 50, WINDOW + 51, WINDOW + 52]) {
      const range = bytes.slice(start, end);
      const expected = isUtf8Portable(range);
      assertEquals(expected, start % 3 === 0 && (end % 3 === 0));
      assertEquals(isUtf8Simd(bytes, start, end), expected);
      assertEquals(isUtf8(bytes, start, end), expected);
    }
  }
});

Deno.test("the validator takes large parts, cut anywhere", () => {
  const text = filled(3 * WINDOW, "👋");
  for (let cut = WINDOW - 5; cut <= WINDOW + 5; cut++) {
    const validator = new Utf8Validator();
    assert(validator.push(text, 0, cut));
    assertEquals(validator.isComplete, cut % 4 === 0);
    assert(validator.push(text, cut) && validator.isComplete);
  }
});

// Properties

const pieces = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.string({ unit: anyCharacter }).map(utf8) },
    { weight: 2, arbitrary: fc.nat(90).map((n) => filled(n, "a")) },
    { weight: 2, arbitrary: fc.nat(90).map((n) => filled(3 * n, "界")) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 3 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(...Object.values(FAULTS).flat()),
    },
  ),
  { maxLength: 10 },
).map((parts) => concat(...parts));

property("any bytes are judged as the grammar has it", [pieces], (bytes) => {
  assertJudged(bytes, isUtf8Slowly(bytes), `${bytes}`);
});

property(
  "any bytes are judged alike at the border of windows",
  [pieces, fc.nat(300), fc.constantFrom("a", "é", "界")],
  (bytes, back, around) => {
    const before = filled(Math.max(0, WINDOW - back), around);
    const whole = concat(before, bytes, filled(400, around));
    assertJudged(whole, isUtf8Slowly(bytes), `${back} ${around} ${bytes}`);
  },
);
