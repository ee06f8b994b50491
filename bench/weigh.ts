/**
 * Prints how many bytes of JavaScript the modules are, with all that they import,
 * bundled and minified by esbuild, and compressed as a web server would.
 *
 * ```sh
 * deno task weigh
 * ```
 *
 * `@std` is left out: what stands in for it where JSR is out of reach weighs
 * something else, and workers and bundlers may leave it out as well (`_sha1.ts`).
 * What `./deflate` brings is mostly npm `pako`.
 *
 * @module
 */
import { gzipSync } from "node:zlib";
import { bundle, TemporaryFolder } from "../tests/_runtimes.ts";

const ROOT = new URL("../", import.meta.url);

const WEIGHED: [name: string, files: string[]][] = [
  ["./frame", ["frame.ts"]],
  ["./handshake", ["handshake.ts"]],
  ["./protocol", ["protocol.ts"]],
  ["./connect", ["connect.ts"]],
  ["./deflate", ["deflate.ts"]],
  [".", ["mod.ts"]],
  [". and ./deflate", ["mod.ts", "deflate.ts"]],
];

function row(name: string, ...columns: (string | number)[]): string {
  const cells = columns.map((it) => it.toLocaleString("en").padStart(9));
  return name.padEnd(18) + cells.join("");
}

console.log(row("bytes", "minified", "gzipped"));
for (const [name, files] of WEIGHED) {
  await using folder = await TemporaryFolder.create({
    "entry.ts": files.map((file) =>
      `export * from ${JSON.stringify(new URL(file, ROOT).href)};\n`
    ).join(""),
  });
  const code = await bundle(`${folder.path}/entry.ts`, {
    external: ["@std/crypto", "@std/encoding/base64"],
    minify: true,
  });
  const bytes = new TextEncoder().encode(code);
  console.log(row(name, bytes.length, gzipSync(bytes).length));
}
