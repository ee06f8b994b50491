/**
 * The invariants of docs/architecture.md, checked in the source of the modules.
 */
import { assert, assertEquals } from "@std/assert";
import { isLocal, type ModuleText, parseModule } from "./_imports.ts";

const root = new URL("../", import.meta.url);

/**
 * Modules that each one must not import, however indirectly; see
 * CONTRIBUTING.md.
 */
const ABOVE: Record<string, string[]> = {
  "handshake.ts": ["frame.ts", "protocol.ts", "deflate.ts", "connection.ts"],
  "protocol.ts": ["handshake.ts", "deflate.ts", "connection.ts"],
  "deflate.ts": ["connection.ts"],
  "connection.ts": ["hub.ts", "accept.ts", "connect.ts", "serve.ts"],
  "serve.ts": ["connect.ts", "hub.ts", "deflate.ts"],
  "hub.ts": ["deflate.ts"],
  "testing.ts": ["protocol.ts", "handshake.ts", "connection.ts", "deflate.ts"],
};

/** Modules that run wherever JavaScript does, with all that they import. */
const ANYWHERE = [
  "accept.ts",
  "connection.ts",
  "deflate.ts",
  "extension.ts",
  "frame.ts",
  "handshake.ts",
  "hub.ts",
  "prepared.ts",
  "protocol.ts",
  "serve.ts",
  "testing.ts",
];

/** What may be imported from outside, and by which modules. */
const PACKAGES = /^@std\/(crypto|encoding)(\/|$)/;
const COMPRESSORS = /^(npm:)?pako(\/|$)|^node:zlib$/;

const modules = new Map<string, ModuleText>();
for await (const { name, isFile } of Deno.readDir(root)) {
  if (!isFile || !name.endsWith(".ts")) continue;
  const source = await Deno.readTextFile(new URL(name, root));
  modules.set(name, parseModule(source));
}

/** The modules of this package that `start` runs, itself included; not those behind `wall`. */
function reach(start: string, wall?: string): Set<string> {
  const found = new Set<string>([start]);
  for (const name of found) {
    if (name === wall) continue;
    for (const specifier of modules.get(name)?.values ?? []) {
      if (isLocal(specifier)) found.add(specifier.slice(2));
    }
  }
  return found;
}

/** The modules that have an export. */
function publicModules(): string[] {
  return Array.from(modules.keys()).filter((name) => !name.startsWith("_"))
    .sort();
}

function existing(names: Iterable<string>): string[] {
  return Array.from(names).filter((name) => modules.has(name));
}

Deno.test("frame.ts imports nothing", () => {
  const { values, types } = modules.get("frame.ts")!;
  assertEquals([...values, ...types], []);
});

for (const name of existing(Object.keys(ABOVE))) {
  Deno.test(`${name} imports no module that stands above it`, () => {
    const reached = reach(name);
    const wrong = ["mod.ts", ...ABOVE[name]!].filter((it) => reached.has(it));
    assertEquals(wrong, []);
  });
}

for (const name of ANYWHERE) {
  Deno.test(`${name} and what it imports never name Deno`, () => {
    const wrong = Array.from(reach(name)).filter((it) =>
      /\bDeno\b/.test(modules.get(it)?.code ?? "")
    );
    assertEquals(wrong, []);
  });
}

Deno.test("only connect.ts names Deno, where it dials", () => {
  const naming = Array.from(modules.keys()).filter((name) =>
    /\bDeno\b/.test(modules.get(name)!.code)
  );
  assertEquals(naming, ["connect.ts"]);
  assertEquals([...ANYWHERE, "connect.ts", "mod.ts"].sort(), publicModules());
});

Deno.test("no module is its own import, however indirectly", () => {
  const wrong = Array.from(modules.keys()).filter((name) =>
    modules.get(name)!.values.some((specifier) =>
      isLocal(specifier) && reach(specifier.slice(2)).has(name)
    )
  );
  assertEquals(wrong, []);
});

Deno.test("modules import each other, @std and, for deflate.ts, a compressor", () => {
  for (const [name, { values, types }] of modules) {
    for (const specifier of [...values, ...types]) {
      const known = isLocal(specifier)
        ? modules.has(specifier.slice(2))
        : PACKAGES.test(specifier) || COMPRESSORS.test(specifier);
      assert(known, `${name} imports ${specifier}`);
    }
  }
});

Deno.test("only deflate.ts brings in a compressor", () => {
  for (const name of modules.keys()) {
    if (name === "deflate.ts" || name.startsWith("_")) continue;
    for (const reached of reach(name, "deflate.ts")) {
      if (reached === "deflate.ts") continue;
      const specifiers = modules.get(reached)?.values ?? [];
      const wrong = specifiers.filter((it) => COMPRESSORS.test(it));
      assertEquals(wrong, [], `${name} runs ${reached}`);
    }
  }
});

Deno.test("mod.ts only re-exports", () => {
  const code = modules.get("mod.ts")?.code ?? "";
  const rest = code.replaceAll(
    /^export (type )?(\*|\{[^}]*\}) from "\.\/\w+\.ts";$/gm,
    "",
  );
  assertEquals(rest.trim(), "");
});

Deno.test("each public module has an export, and each export a module", async () => {
  const config = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", root)),
  );
  const exported: string[] = Object.values(config.exports);
  for (const file of exported) assert(modules.has(file.slice(2)), file);
  const shared = [...Object.keys(ABOVE), "frame.ts", "mod.ts"];
  for (const name of existing(shared)) {
    assert(exported.includes(`./${name}`), `${name} is not exported`);
  }
});

Deno.test("docs/architecture.md names the modules that are long, and no others", async () => {
  const page = await Deno.readTextFile(new URL("docs/architecture.md", root));
  const [, section = ""] = /\n## How long files are\n([^]*?)\n## /.exec(page)!;
  const named = Array.from(section.matchAll(/`(\w+\.ts)`/g), ([, it]) => it!);
  const long: string[] = [];
  for (const name of modules.keys()) {
    const source = await Deno.readTextFile(new URL(name, root));
    if (source.split("\n").length > 620) long.push(name); // "about 600"
    const code = modules.get(name)!.code.split("\n")
      .filter((line) => line.trim() !== "");
    assert(code.length <= 600, `${name} has ${code.length} lines of code`);
  }
  assertEquals([...new Set(named)].sort(), long.sort());
});

Deno.test("the import scan sees every form of import", () => {
  const { values, types, code } = parseModule(`
/** import { no } from "./comment.ts"; and Deno
 */
import { a, type B } from "./a.ts"; // Deno
import type { C } from "./c.ts";
import { type D } from "./d.ts";
export * from "./e.ts";
export {
  f,
} from "./f.ts";
export type { G } from "./g.ts";
import "./h.ts";
const lazy = await import("./i.ts");
`);
  assertEquals(values, ["./a.ts", "./e.ts", "./f.ts", "./h.ts", "./i.ts"]);
  assertEquals(types, ["./c.ts", "./d.ts", "./g.ts"]);
  assertEquals(/comment|Deno/.test(code), false);
});
