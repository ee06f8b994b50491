/** Frames queued one behind the other, in as few pieces as possible. */
import { assert, assertEquals } from "@std/assert";
import { decodeFrame, encodeFrame, Opcode } from "../frame.ts";
import { giveBackBuffer, LARGEST_BUFFER, lendBuffer } from "../_buffers.ts";
import { nextMaskingKey } from "../_masking_keys.ts";
import { Output, REFERENCE_FROM } from "../_output.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";

const { Text, Binary, Ping } = Opcode;

/** Takes all pieces, as they would be written. */
function pieces(output: Output): Uint8Array<ArrayBuffer>[] {
  const found: Uint8Array<ArrayBuffer>[] = [];
  for (let bytes; (bytes = output.take()) !== undefined;) {
    found.push(bytes.slice());
    output.release();
  }
  return found;
}

function binary(payload: Uint8Array): Uint8Array<ArrayBuffer> {
  return encodeFrame({ opcode: Binary, payload });
}

Deno.test("frames are queued as encodeFrame has them, with all their fields", () => {
  const output = new Output(false);
  output.frame(Text, utf8("a"), false, 0b100);
  output.frame(0, utf8(""), true);
  output.frame(Ping, pattern(125));
  output.frame(0xb, utf8("x"), true, 0b011);
  const expected = concat(
    hex`41 01 61 80 00`,
    encodeFrame({ opcode: Ping, payload: pattern(125) }),
    hex`bb 01 78`,
  );
  assertEquals(output.byteLength, expected.length);
  assertEquals(pieces(output), [expected]);
  assertEquals(output.byteLength, 0);
});

Deno.test("many frames are one piece, up to the largest buffer", () => {
  for (const length of [1, 10, 100, 1000]) {
    const output = new Output(false);
    const frame = binary(pattern(length));
    const count = Math.floor((LARGEST_BUFFER - 14) / frame.length);
    for (let i = 0; i < count; i++) output.frame(Binary, pattern(length));
    assertEquals(output.byteLength, count * frame.length);
    const [piece, ...none] = pieces(output);
    assertEquals(none, []);
    assertEquals(piece?.length, count * frame.length);
    for (const at of [0, 1, count - 1]) {
      const start = at * frame.length;
      assertEquals(piece!.subarray(start, start + frame.length), frame);
    }
  }
});

Deno.test("more than the largest buffer is several pieces, all of them frames", () => {
  for (const masks of [false, true]) {
    for (const length of [1, 1000, 60_000, 131_071]) {
      const output = new Output(masks);
      const count = Math.ceil(700_000 / (length + 2));
      let expected = 0;
      for (let i = 0; i < Math.min(count, 70_000); i++) {
        output.frame(Binary, pattern(length));
        expected++;
      }
      const total = output.byteLength;
      const found = pieces(output);
      assert(found.length < 2 + Math.ceil(total / (LARGEST_BUFFER / 2)));
      for (const piece of found) {
        assert(piece.length <= LARGEST_BUFFER);
        for (let offset = 0; offset < piece.length;) {
          const decoded = decodeFrame(piece, { offset });
          assertEquals(decoded?.frame.payload, pattern(length));
          offset += decoded!.byteLength;
          expected--;
        }
      }
      assertEquals(expected, 0);
    }
  }
});

Deno.test("a payload is referred to from 128 KiB on, where it is not masked", () => {
  assertEquals(REFERENCE_FROM, 131072);
  const large = pattern(REFERENCE_FROM);
  for (const masks of [false, true]) {
    const output = new Output(masks);
    output.frame(Ping, utf8(""));
    output.frame(Binary, large);
    output.frame(Binary, large.subarray(1));
    const taken: Uint8Array[] = [];
    for (let bytes; (bytes = output.take());) taken.push(bytes);
    assertEquals(taken.some((bytes) => bytes === large), !masks);
    const most = masks ? LARGEST_BUFFER : REFERENCE_FROM + 20;
    assert(taken.every((bytes) => bytes.length <= most));
    const referred = taken.filter((bytes) => bytes.buffer === large.buffer);
    assertEquals(referred.length, masks ? 0 : 1);
    assertEquals(large, pattern(REFERENCE_FROM));
  }
});

Deno.test("encoded frames are queued as they are", () => {
  const output = new Output(true);
  const large = binary(pattern(REFERENCE_FROM));
  const small = binary(pattern(REFERENCE_FROM - 11));
  output.encoded(hex`81 01 61`);
  output.encoded(hex`82 00`);
  output.encoded(large);
  output.encoded(hex`8a 00`);
  output.encoded(small);
  assertEquals(output.byteLength, 5 + large.length + 2 + small.length);
  const found: Uint8Array[] = [];
  for (let bytes; (bytes = output.take());) found.push(bytes);
  assertEquals(found.length, 3);
  assertEquals(found[0], hex`81 01 61 82 00`);
  assert(found[1] === large, "it was copied");
  assertEquals(found[2], concat(hex`8a 00`, small));
  assert(found[2]?.buffer !== small.buffer);
});

Deno.test("an encoded frame of just 128 KiB is referred to", () => {
  const output = new Output(false);
  const bytes = [REFERENCE_FROM, REFERENCE_FROM - 1].map(pattern);
  for (const each of bytes) output.encoded(each);
  assert(output.take() === bytes[0]);
  const copy = output.take();
  assertEquals(copy, bytes[1]);
  assert(copy !== bytes[1]);
});

Deno.test("an encoded frame is referred to as long as it is alone", () => {
  const frame = hex`81 01 61`;
  for (const masks of [false, true]) {
    const output = new Output(masks);
    output.encoded(frame);
    assertEquals(output.byteLength, 3);
    assert(output.take() === frame, "it was copied");
    output.release();
    assertEquals(output.byteLength, 0);
    output.encoded(frame);
    output.clear();
    assertEquals(output.take(), undefined);
    output.encoded(frame);
    output.encoded(frame);
    assertEquals(pieces(output), [concat(frame, frame)]);
    output.encoded(frame);
    output.text(Text, "b");
    output.frame(Binary, hex`63`);
    const joined = concat(...pieces(output));
    assertEquals(joined.subarray(0, 3), frame);
    assertEquals(joined.length, masks ? 17 : 9);
  }
  assertEquals(frame, hex`81 01 61`);
});

Deno.test("a large payload is masked piece by piece", () => {
  for (const before of [0, 1, 7, 1000]) {
    for (const extra of [0, 1, 5, LARGEST_BUFFER, LARGEST_BUFFER * 2 + 3]) {
      const output = new Output(true);
      const payload = pattern(REFERENCE_FROM + extra);
      if (before > 0) output.frame(Binary, pattern(before));
      output.frame(Binary, payload);
      output.frame(Ping, utf8("after"));
      assertEquals(payload, pattern(payload.length));
      const total = output.byteLength;
      const found = pieces(output);
      assert(found.length <= 2 + total / LARGEST_BUFFER);
      const bytes = concat(...found);
      assertEquals(bytes.length, total);
      const offset = before === 0 ? 0 : decodeFrame(bytes)!.byteLength;
      const decoded = decodeFrame(bytes, { offset })!;
      assertEquals(decoded.frame.payload, payload);
      const next = decodeFrame(bytes, { offset: offset + decoded.byteLength });
      assertEquals(next?.frame.payload, utf8("after"));
    }
  }
});

Deno.test("an encoded frame that does not fit with the next goes before it", () => {
  const frame = binary(pattern(REFERENCE_FROM - 20));
  for (const length of [REFERENCE_FROM - 1, REFERENCE_FROM]) {
    const output = new Output(false);
    output.encoded(frame);
    output.frame(Binary, pattern(length));
    const expected = concat(frame, binary(pattern(length)));
    assertEquals(output.byteLength, expected.length);
    const first = output.take()!;
    // Next to the header of what is referred to, there is room for it.
    assertEquals(first === frame, length < REFERENCE_FROM);
    assertEquals(output.byteLength, expected.length - first.length);
    assertEquals(concat(first, ...pieces(output)), expected);
    assertEquals(output.byteLength, 0);
  }
});

Deno.test("an encoded frame that is alone is referred to, until others join it", () => {
  for (const length of [0, 1, 1000, 120_000]) {
    const encoded = binary(pattern(length));
    const copy = encoded.slice();
    const output = new Output(false);
    output.encoded(encoded);
    assertEquals(output.byteLength, encoded.length);
    assert(output.take() === encoded);
    assertEquals(output.byteLength, 0);
    output.release();
    const joining: [Uint8Array, () => void][] = [
      [encoded, () => output.encoded(encoded)],
      [hex`81 01 61`, () => output.text(Text, "a")],
      [binary(pattern(200)), () => output.frame(Binary, pattern(200))],
      [
        binary(pattern(REFERENCE_FROM)),
        () => output.frame(Binary, pattern(REFERENCE_FROM)),
      ],
      [
        binary(pattern(131_071)),
        () => output.frame(Binary, pattern(131_071)),
      ],
      [
        binary(pattern(REFERENCE_FROM)),
        () => output.encoded(binary(pattern(REFERENCE_FROM))),
      ],
    ];
    for (const [bytes, queue] of joining) {
      output.encoded(encoded);
      queue();
      output.text(Text, "end");
      const total = encoded.length + bytes.length + 5;
      assertEquals(output.byteLength, total);
      const found = pieces(output);
      assertEquals(
        concat(...found),
        concat(encoded, bytes, hex`81 03 65 6e 64`),
      );
      if (total < 1000) assertEquals(found.length, 1);
      assertEquals(output.byteLength, 0);
    }
    output.encoded(encoded);
    output.clear();
    assertEquals([output.byteLength, output.take()], [0, undefined]);
    assertEquals(encoded, copy);
  }
});

Deno.test("texts are encoded behind their header, whatever its length", () => {
  for (const masks of [false, true]) {
    for (
      const unit of [
        "a",
        "\x7f",
        "\x80",
        "\xff",
        "é",
        "界",
        "👋",
        "a界",
        "\ud800",
      ]
    ) {
      for (
        const count of [0, 1, 16, 31, 32, 33, 41, 42, 62, 63, 64, 124, 125, 126]
          .concat([5461, 5462, 8192, 16383, 16384, 16385, 21845, 21846, 65536])
      ) {
        const output = new Output(masks);
        const data = unit.repeat(count);
        output.frame(Ping, utf8("before"));
        output.text(Text, data);
        output.text(Text, "after");
        const total = output.byteLength;
        const bytes = concat(...pieces(output));
        assertEquals(bytes.length, total);
        const overhead = masks ? 4 : 0;
        const first = decodeFrame(bytes, { offset: 8 + overhead })!;
        assertEquals(first.frame.payload, utf8(data), `${unit} ${count}`);
        const second = decodeFrame(bytes, {
          offset: 8 + overhead + first.byteLength,
        })!;
        assertEquals(second.frame.payload, utf8("after"));
        assertEquals(second.frame.maskingKey !== undefined, masks);
        assertEquals(second.byteLength, 7 + overhead);
      }
    }
  }
});

Deno.test("a text's buffer is as large as it may become, and no larger", () => {
  // 16 Ki units of three bytes each do not fit 49,152 bytes with their header.
  const output = new Output(false);
  output.text(Text, "界".repeat(16 * 1024));
  const [piece] = [output.take()];
  assertEquals(piece?.length, 4 + 3 * 16 * 1024);
  assertEquals(piece?.buffer.byteLength, 65536);
  output.text(Text, "a".repeat(16 * 1024 + 1));
  assertEquals(output.take()?.buffer.byteLength, 65536);
  // What comes next is likely to be as long, up to a limit.
  output.text(Text, "a");
  assertEquals(output.take()?.buffer.byteLength, 16384);
  let size = 0;
  for (let i = 0; i < 3; i++) {
    output.text(Text, "a");
    size = output.take()!.buffer.byteLength;
  }
  assertEquals(size, 1024, "small again after a while");
});

Deno.test("small frames take small buffers, which grow", () => {
  const output = new Output(false);
  const sizes = new Set<number>();
  for (let i = 0; i < 300; i++) {
    output.frame(Binary, pattern(1000));
    if (i % 50 === 0) {
      const size = output.take()!.buffer.byteLength;
      sizes.add(size);
    }
  }
  assertEquals([...sizes].sort((a, b) => a - b), [1024, 65536]);
});

Deno.test("clear forgets all, and the queue goes on", () => {
  const output = new Output(false);
  output.frame(Binary, new Uint8Array(REFERENCE_FROM));
  output.frame(Text, utf8("a"));
  output.clear();
  assertEquals(output.byteLength, 0);
  assertEquals(output.take(), undefined);
  output.frame(Text, utf8("b"));
  assertEquals(output.byteLength, 3);
  assertEquals(pieces(output), [hex`81 01 62`]);
});

Deno.test("take and release without need do nothing", () => {
  const output = new Output(false);
  output.release();
  assertEquals(output.take(), undefined);
  output.release();
  output.frame(Text, utf8("a"));
  assertEquals(output.take(), hex`81 01 61`);
  output.release();
  output.release();
  const [first, second] = [lendBuffer(1), lendBuffer(1)];
  assert(first !== second, "a buffer was given back twice");
});

Deno.test("a released buffer is used again, one that is not is left alone", () => {
  const output = new Output(false);
  output.frame(Text, utf8("a"));
  const first = output.take()!;
  output.frame(Text, utf8("b"));
  const second = output.take()!;
  assert(first.buffer !== second.buffer);
  output.release();
  output.frame(Text, utf8("c"));
  const third = output.take()!;
  assert(third.buffer === second.buffer);
  assertEquals(first, hex`81 01 61`);
});

Deno.test("a buffer that is outgrown goes back, and keeps nobody's bytes", () => {
  const output = new Output(false);
  output.frame(Binary, pattern(900));
  output.frame(Binary, pattern(3000));
  const piece = output.take()!;
  assertEquals(piece.buffer.byteLength, 4096);
  assertEquals(
    piece,
    concat(binary(pattern(900)), binary(pattern(3000))),
  );
});

// Buffers

Deno.test("lendBuffer: at least as much as is asked for, in a few sizes", () => {
  const sizes = [
    [0, 1024],
    [1, 1024],
    [1024, 1024],
    [1025, 4096],
    [4096, 4096],
    [4097, 16384],
    [16385, 65536],
    [65537, 262144],
    [262144, 262144],
    [262145, 1_048_576],
    [1_048_576, 1_048_576],
    [1_048_577, 1_048_577],
    [3_000_000, 3_000_000],
  ] as const;
  for (const [asked, length] of sizes) {
    assertEquals(lendBuffer(asked).length, length);
  }
  assertEquals(LARGEST_BUFFER, 262144);
});

Deno.test("lendBuffer: what was given back is lent again, to one user at a time", () => {
  for (const length of [1024, 4096, 16384, 65536, 262144, 1_048_576]) {
    const mine = lendBuffer(length);
    giveBackBuffer(mine);
    assert(lendBuffer(length) === mine);
    assert(lendBuffer(length) !== mine);
  }
  const odd = lendBuffer(2_000_000);
  giveBackBuffer(odd);
  assert(lendBuffer(2_000_000) !== odd);
});

Deno.test("giveBackBuffer keeps a bounded number of each size", () => {
  const kept = [[1_048_576, 8], [262144, 16], [65536, 64]]
    .concat([[16384, 128], [4096, 256], [1024, 1024]]) as [number, number][];
  for (const [length, most] of kept) {
    const lent = Array.from({ length: most + 5 }, () => lendBuffer(length));
    const owned = new Set(lent);
    assertEquals(owned.size, lent.length);
    lent.forEach(giveBackBuffer);
    const again = lent.map(() => lendBuffer(length));
    assertEquals(again.filter((buffer) => owned.has(buffer)).length, most);
  }
});

// Masking keys

Deno.test("nextMaskingKey: unsigned 32-bit numbers, all of them in use", () => {
  const keys = Array.from({ length: 5000 }, nextMaskingKey);
  assert(keys.every((key) => Number.isInteger(key) && key >= 0));
  assert(keys.every((key) => key < 2 ** 32));
  assert(keys.some((key) => key >= 2 ** 31));
  for (let bit = 0; bit < 32; bit++) {
    const count = keys.filter((key) => key / 2 ** bit & 1).length;
    // 2,500 of 5,000, with a standard deviation of 35.
    assert(Math.abs(count - 2500) < 350, `bit ${bit}: ${count}`);
  }
  assert(new Set(keys).size > 4990);
});
