/** The WebAssembly module: its source, and runtimes that do not compile it. */
import { assert, assertEquals } from "@std/assert";
import type { isUtf8 } from "../_utf8.ts";
import { loadUtf8Simd } from "../_utf8_simd.ts";
import { buildModule } from "../wasm/build.ts";
import { utf8 } from "./_bytes.ts";

Deno.test("the module is what wasm/utf8.wat compiles to", async () => {
  const file = new URL("../_utf8_wasm.ts", import.meta.url);
  assertEquals(await Deno.readTextFile(file), await buildModule());
});

Deno.test("where none may be compiled, text is checked without", async () => {
  const { Module } = WebAssembly;
  try {
    // As a Content Security Policy has it
    WebAssembly.Module = function () {
      throw new WebAssembly.CompileError("Refused to compile");
    } as unknown as typeof Module;
    assertEquals(loadUtf8Simd(), undefined);
    // A second instance of the module, which has not chosen yet
    const { href } = new URL("../_utf8.ts?another", import.meta.url);
    const another: { isUtf8: typeof isUtf8 } = await import(href);
    const text = utf8("界".repeat(333));
    assert(another.isUtf8(text));
    assert(!another.isUtf8(text, 1));
  } finally {
    WebAssembly.Module = Module;
  }
});
