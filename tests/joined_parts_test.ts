/** Joining parts of messages. */
import { assert, assertEquals } from "@std/assert";
import type { MessageChunk } from "../protocol.ts";
import { JoinedParts } from "../_joined_parts.ts";
import { pattern } from "./_bytes.ts";

function join(of: "text" | "binary", parts: MessageChunk["data"][]) {
  const first: MessageChunk = {
    type: "chunk",
    of,
    data: parts[0]!,
    fin: false,
  };
  const joined = new JoinedParts(first);
  for (const part of parts) joined.add(part);
  assertEquals(
    joined.length,
    parts.reduce((length, part) => length + part.length, 0),
  );
  return joined.join();
}

Deno.test("parts of any size are joined to what they were cut from", () => {
  const whole = pattern(5000);
  const text = String.fromCharCode(...whole);
  for (const size of [1, 2, 7, 999, 1000, 1001, 4999, 5000, 6000]) {
    const bytes = [];
    const strings = [];
    for (let at = 0; at < whole.length; at += size) {
      bytes.push(whole.slice(at, at + size));
      strings.push(text.slice(at, at + size));
    }
    assertEquals(join("binary", bytes).data, whole);
    assertEquals(join("text", bytes).data, whole);
    assertEquals(join("text", strings).data, text);
  }
});

Deno.test("a part that is changed afterwards has been copied", () => {
  const part = pattern(10);
  const joined = new JoinedParts({
    type: "chunk",
    of: "binary",
    data: part,
    fin: false,
  });
  joined.add(part);
  part.fill(0);
  assertEquals(joined.join().data, pattern(10));
});

Deno.test("single bytes take no more than twice their memory", () => {
  const one = new Uint8Array(1);
  const joined = new JoinedParts({
    type: "chunk",
    of: "binary",
    data: one,
    fin: false,
  });
  for (let i = 0; i < 100_000; i++) joined.add(one);
  const { data } = joined.join();
  assert((data as Uint8Array).buffer.byteLength <= 200_000);
});
