/** The choice of what computes the digest of accept keys. */
import { assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { chooseSha1, type Digest, sha1, sha1Source } from "../_sha1.ts";
import { hex, utf8 } from "./_bytes.ts";

/** Gives the same bytes, whatever it digests. */
function fake(answer: Uint8Array<ArrayBuffer>): {
  std: Awaited<ReturnType<Parameters<typeof chooseSha1>[0]>>;
  node: Exclude<Parameters<typeof chooseSha1>[1], undefined>;
} {
  return {
    std: { crypto: { subtle: { digestSync: () => answer.buffer } } },
    node: { createHash: () => ({ update: () => ({ digest: () => answer }) }) },
  };
}

const { std } = fake(hex`01`);
const { node } = fake(hex`02`);
const refuse = () => Promise.reject(new Error("No WebAssembly here"));

function digestOf(digest: Digest): number[] {
  return [...digest(utf8("abc"))];
}

Deno.test("sha1: the examples of FIPS 180-4", () => {
  const examples = {
    "": hex`da39a3ee 5e6b4b0d 3255bfef 95601890 afd80709`,
    "abc": hex`a9993e36 4706816a ba3e2571 7850c26c 9cd0d89d`,
    "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq":
      hex`84983e44 1c3bd26e baae4aa1 f95129e5 e54670f1`,
  };
  for (const [text, expected] of Object.entries(examples)) {
    assertEquals([...sha1(utf8(text))], [...expected], text);
  }
});

Deno.test("sha1: @std/crypto comes first", async () => {
  const { source, digest } = await chooseSha1(() => Promise.resolve(std), node);
  assertEquals(source, "@std/crypto");
  assertEquals(digestOf(digest), [1]);
});

Deno.test("sha1: node:crypto takes the place of what cannot be imported", async () => {
  const { source, digest } = await chooseSha1(refuse, node);
  assertEquals(source, "node:crypto");
  assertEquals(digestOf(digest), [2]);
});

Deno.test("sha1: node:crypto takes the place of an empty module", async () => {
  const empty = {} as typeof std;
  const { source, digest } = await chooseSha1(
    () => Promise.resolve(empty),
    node,
  );
  assertEquals(source, "node:crypto");
  assertEquals(digestOf(digest), [2]);
});

Deno.test("sha1: where there is neither, only computing one throws", async () => {
  const { source, digest } = await chooseSha1(refuse, undefined);
  assertEquals(source, undefined);
  const error = assertThrows(
    () => digest(utf8("abc")),
    Error,
    "This platform has no synchronous SHA-1",
  );
  assertInstanceOf(error.cause, Error);
  assertEquals(error.cause.message, "No WebAssembly here");
});

Deno.test("sha1: this runtime has one", () => {
  assertEquals(
    ["@std/crypto", "node:crypto"].includes(`${sha1Source}`),
    true,
    `${sha1Source}`,
  );
});
