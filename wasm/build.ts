/**
 * Compiles utf8.wat into `_utf8_wasm.ts`: `deno task wasm`.
 *
 * @module
 */

import { encodeBase64 } from "@std/encoding";
import initializeWabt from "wabt";

const SOURCE = new URL("./utf8.wat", import.meta.url);
const RESULT = new URL("../_utf8_wasm.ts", import.meta.url);

/** The module `_utf8_wasm.ts` as it has to be. */
export async function buildModule(): Promise<string> {
  const wabt = await initializeWabt();
  const source = await Deno.readTextFile(SOURCE);
  const { buffer } = wabt
    .parseWat("utf8.wat", source, { simd: true })
    .toBinary({});
  const lines = encodeBase64(buffer).match(/.{1,72}/g) ?? [];
  return `/**
 * What \`deno task wasm\` has made of wasm/utf8.wat.
 *
 * @module
 */

/** A WebAssembly module of ${buffer.length} bytes, in Base64. */
export const UTF8_WASM: string = [
${lines.map((line) => `  "${line}",`).join("\n")}
].join("");
`;
}

if (import.meta.main) await Deno.writeTextFile(RESULT, await buildModule());
