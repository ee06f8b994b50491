/**
 * Messages that are encoded once; protocol_sending_test.ts has how they are
 * sent.
 */
import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { decodeFrame, Opcode, RSV2 } from "../frame.ts";
import { PreparedMessage } from "../prepared.ts";
import { inEachForm, noData, pattern, utf8 } from "./_bytes.ts";
import { flip, flipping } from "./_fake_extensions.ts";

/** What is in the frame, of which there must be one and no more. */
function contentOf(frame: Uint8Array): unknown[] {
  const decoded = decodeFrame(new Uint8Array(frame));
  assert(decoded !== undefined);
  assertEquals(decoded.byteLength, frame.length);
  const { fin, reservedBits, opcode, maskingKey, payload } = decoded.frame;
  return [fin, reservedBits, opcode, maskingKey, payload];
}

Deno.test("a string is text, and bytes are binary", () => {
  const text = new PreparedMessage("é");
  assertEquals([text.type, text.data], ["text", utf8("é")]);
  assertEquals(contentOf(text.frame()), [
    true,
    0,
    Opcode.Text,
    undefined,
    utf8("é"),
  ]);
  const bytes = pattern(5);
  const binary = new PreparedMessage(bytes);
  assertEquals(binary.type, "binary");
  assertStrictEquals(binary.data, bytes);
  assertEquals(contentOf(binary.frame()), [
    true,
    0,
    Opcode.Binary,
    undefined,
    bytes,
  ]);
});

Deno.test("bytes are bytes, whatever form they are given in", () => {
  const expected = pattern(16);
  for (const [name, bytes] of inEachForm(expected)) {
    const { type, data } = new PreparedMessage(bytes);
    assertEquals([type, data], ["binary", expected], name);
    const buffer = bytes instanceof ArrayBuffer ? bytes : bytes.buffer;
    assertStrictEquals(data.buffer, buffer, "they are where they were");
  }
});

Deno.test("what is neither text nor bytes is refused", () => {
  for (const [name, wrong] of noData()) {
    assertThrows(
      () => new PreparedMessage(wrong as string),
      TypeError,
      `A message is a string, an ArrayBuffer or a view on one (${name})`,
    );
  }
});

Deno.test("a string can be sent as binary, and bytes as text", () => {
  const text = new PreparedMessage(utf8("é"), { type: "text" });
  assertEquals(text.type, "text");
  assertEquals(contentOf(text.frame())[2], Opcode.Text);
  const binary = new PreparedMessage("é", { type: "binary" });
  assertEquals([binary.type, binary.data], ["binary", utf8("é")]);
  assertEquals(contentOf(binary.frame())[2], Opcode.Binary);
});

Deno.test("the frame is made once, and of each length that changes its header", () => {
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536]) {
    const message = new PreparedMessage(pattern(length));
    const frame = message.frame();
    assertStrictEquals(message.frame(), frame);
    assertEquals(contentOf(frame)[4], pattern(length));
  }
});

Deno.test("it is transformed once for all that share the parameters", () => {
  let count = 0;
  const sharing = (sharingKey: string) =>
    flipping({
      sharingKey,
      encode(data) {
        count++;
        return flip(data);
      },
    });
  const message = new PreparedMessage("abc");
  const frame = message.frame(sharing("a"));
  assertEquals(contentOf(frame), [
    true,
    RSV2,
    Opcode.Text,
    undefined,
    flip(utf8("abc")),
  ]);
  assertStrictEquals(message.frame(sharing("a")), frame);
  assertEquals(count, 1);
  message.frame(sharing("b"));
  assertEquals(count, 2);
  // One that is not transformed stands apart, whatever the key.
  message.frame(sharing(""));
  assertEquals(contentOf(message.frame())[1], 0);
});

Deno.test("it can't be transformed for all where that depends on earlier messages", () => {
  const message = new PreparedMessage("abc");
  const mine = flipping(); // without a sharingKey
  assertThrows(() => message.frame(mine), TypeError, "(x-flip)");
});

Deno.test("what an extension leaves alone has none of its bits", () => {
  const message = new PreparedMessage("abc");
  const leaving = flipping({ sharingKey: "a", encode: () => undefined });
  assertEquals(contentOf(message.frame(leaving)), [
    true,
    0,
    Opcode.Text,
    undefined,
    utf8("abc"),
  ]);
});

Deno.test("whether to compress is kept as it was said", () => {
  for (const compress of [true, false, undefined]) {
    assertEquals(new PreparedMessage("x", { compress }).compress, compress);
  }
  assertEquals(new PreparedMessage("x").compress, undefined);
});
