/**
 * Prints how many bytes of JavaScript the modules are, with all that they import,
 * bundled and minified by esbuild, and compressed as a web server would.
 *
 * ```sh
 * deno task weigh
 * ```
 *
 * `@std` is left out but for the last line: bundlers may leave it out as well
 * (`_sha1.ts`). Where JSR is out of reach that line is missing, since what stands
 * in for `@std` there weighs something else. What `./deflate` brings is mostly npm
 * `pako`.
 *
 * @module
 */
import { gzipSync } from "node:zlib";
import { bundle, TemporaryFolder } from "../tests/_runtimes.ts";

const ROOT = new URL("../", import.meta.url);

/** The bundles to weigh, and the files of each. */
export const WEIGHED: [name: string, files: string[]][] = [
  ["./frame", ["frame.ts"]],
  ["./handshake", ["handshake.ts"]],
  ["./protocol", ["protocol.ts"]],
  ["./connect", ["connect.ts"]],
  ["./serve", ["serve.ts"]],
  ["./deflate", ["deflate.ts"]],
  [".", ["mod.ts"]],
  [". and ./deflate", ["mod.ts", "deflate.ts"]],
];

/** The last line: with `@std`, which a bundler may leave out. */
export const WITH_STD = ". and @std";
const STD = ["@std/crypto", "@std/encoding/base64"];

function row(name: string, ...columns: (string | number)[]): string {
  const cells = columns.map((it) => it.toLocaleString("en").padStart(9));
  return name.padEnd(18) + cells.join("");
}

/**
 * Weighs some modules, with all that they import.
 *
 * @param files Where they are.
 * @param external What is left out.
 * @returns Bytes, minified and compressed.
 */
export async function weigh(
  files: string[],
  external = STD,
): Promise<[minified: number, gzipped: number]> {
  await using folder = await TemporaryFolder.create({
    "entry.ts": files.map((file) =>
      `export * from ${JSON.stringify(new URL(file, ROOT).href)};\n`
    ).join(""),
  });
  const entry = `${folder.path}/entry.ts`;
  const code = await bundle(entry, { external, minify: true });
  const bytes = new TextEncoder().encode(code);
  return [bytes.length, gzipSync(bytes).length];
}

if (import.meta.main) {
  console.log(row("bytes", "minified", "gzipped"));
  for (const [name, files] of WEIGHED) {
    console.log(row(name, ...await weigh(files)));
  }
  if (Deno.env.get("DENO_TASK_CONFIG") !== "deno.offline.json") {
    console.log(row(WITH_STD, ...await weigh(["mod.ts"], [])));
  }
}
