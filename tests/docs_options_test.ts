/** The table of docs/options.md, and what the modules' documentation says. */
import { assert, assertEquals } from "@std/assert";
import { tableRows } from "./_markdown.ts";

const ROOT = new URL("../", import.meta.url);

/** The functions that take each interface of options. */
const OPTIONS = /(Options|Limits|Init|Rules|Acceptance)$/;

interface Tag {
  readonly kind: string;
  readonly value?: string;
}

interface Property {
  readonly name: string;
  readonly optional?: boolean;
  readonly jsDoc?: { readonly tags?: readonly Tag[] };
}

/** A function, method or constructor. */
interface Callable {
  readonly name?: string;
  readonly params?: readonly unknown[];
  readonly functionDef?: { readonly params: readonly unknown[] };
}

/** The parts of a declaration that are used. */
interface Declaration {
  readonly kind: string;
  readonly def: Callable & {
    readonly properties?: readonly Property[];
    readonly methods?: readonly Callable[];
    readonly constructors?: readonly Callable[];
    readonly extends?: readonly { readonly repr: string }[] | string;
  };
}

/** The parts of the output of `deno doc --json` that are used. */
interface Documentation {
  readonly nodes: Record<string, {
    readonly symbols: readonly {
      readonly name: string;
      readonly declarations: readonly Declaration[];
    }[];
  }>;
}

/** All public declarations, with the names of their symbols. */
async function declarations(): Promise<[name: string, Declaration][]> {
  const { exports } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", ...Object.values<string>(exports)],
    cwd: ROOT,
    stderr: "null",
  }).output();
  assertEquals(code, 0);
  const { nodes }: Documentation = JSON.parse(new TextDecoder().decode(stdout));
  return Object.values(nodes).flatMap(({ symbols }) =>
    symbols.flatMap(({ name, declarations }) =>
      declarations.map((it): [string, Declaration] => [name, it])
    )
  );
}

/** Every option of every public interface, with its `@default`. */
async function defaults(): Promise<Map<string, string | undefined>> {
  const found = new Map<string, string | undefined>();
  for (const [name, { def, kind }] of await declarations()) {
    if (!OPTIONS.test(name) || kind !== "interface") continue;
    for (const option of def.properties ?? []) {
      if (!option.optional) continue;
      const tag = option.jsDoc?.tags?.find(({ kind }) => kind === "default");
      found.set(`${name}.${option.name}`, tag?.value);
    }
  }
  return found;
}

/** What the page calls an object of a class, or of an interface with methods. */
const OBJECTS: Record<string, string> = {
  Hub: "hub",
  Server: "server",
  WebSocketConnection: "ws",
  WebSocketProtocol: "protocol",
};

/** Everything that can be called, by the names in the page. */
function calls([symbol, { kind, def }]: [string, Declaration]): Callable[] {
  const named = (name: string, { functionDef, params }: Callable) => ({
    name: `${name}()`,
    params: functionDef?.params ?? params ?? [],
  });
  if (kind === "function") return [named(symbol, def)];
  const object = OBJECTS[symbol] ?? symbol;
  return [
    ...(def.constructors ?? []).map((it) => named(`new ${symbol}`, it)),
    ...(def.methods ?? []).map((it) => named(`${object}.${it.name}`, it)),
  ];
}

/** The interface of each function's options, and those that it extends. */
async function takers(): Promise<Set<string>> {
  const all = await declarations();
  const parents = new Map(all.map(([name, { def }]) => [
    name,
    Array.isArray(def.extends) ? def.extends.map(({ repr }) => repr) : [],
  ]));
  return new Set(
    all.flatMap(calls).flatMap(({ name, params }) =>
      Array.from(
        JSON.stringify(params).matchAll(/"typeName":"(\w+)"/g),
        ([, type = ""]) => type,
      ).filter((type) => OPTIONS.test(type)).map((type) => {
        const others = parents.get(type)!.filter((it) => it !== "ErrorOptions");
        return `${name}: ${[type, ...others].join(", ")}`;
      })
    ),
  );
}

/** How the table writes a default. */
function written(value: string, unit: string): string {
  if (value === "undefined" || value === "[]") return "(none)";
  if (value === "Infinity") return "(no limit)";
  if (/^(true|false|"\w*"|new .*)$/.test(value)) return `\`${value}\``;
  if (!/^\d+$/.test(value)) return value;
  const number = Number(value);
  if (unit === "ms") {
    if (number === 0) return "off";
    return number % 1000 === 0 ? `${number / 1000} s` : `${number} ms`;
  }
  if (unit === "bytes" && number > 0 && number % 1024 === 0) {
    const kibibytes = number / 1024;
    return kibibytes % 1024 === 0
      ? `${kibibytes / 1024} MiB`
      : `${kibibytes} KiB`;
  }
  return number.toLocaleString("en");
}

Deno.test("options.md has each option once, with the default that is documented", async () => {
  const text = await Deno.readTextFile(new URL("docs/options.md", ROOT));
  const rows = tableRows(text, [
    "option",
    "of",
    "default",
    "unit",
    "beyond it, or what it does",
  ]);
  const documented = await defaults();
  assert(documented.size > 80, `${documented.size} options`);
  const name = ({ of, option }: Record<string, string>) =>
    `${of}.${option}`.replaceAll("`", "");
  assertEquals(rows.map(name).sort(), [...documented.keys()].sort());
  const wrong: string[] = [];
  for (const row of rows) {
    const value = documented.get(name(row));
    if (value === undefined) wrong.push(`${name(row)} has no @default`);
    else if (written(value, row.unit!) !== row.default) {
      wrong.push(
        `${name(row)} is ${written(value, row.unit!)}, not ${row.default}`,
      );
    }
    if (row["beyond it, or what it does"] === "") {
      wrong.push(`${name(row)}: what happens?`);
    }
  }
  assertEquals(wrong, []);
});

Deno.test("options.md tells which function takes which options", async () => {
  const text = await Deno.readTextFile(new URL("docs/options.md", ROOT));
  const rows = tableRows(text, ["function", "interface", "and those of"]);
  const told = rows.flatMap((row) => {
    const [functions, type, others] = Object.values(row).map((cell) =>
      cell.replaceAll("`", "").split(", ").filter((it) => it !== "")
    );
    return functions!.map((name) =>
      `${name}: ${[...type!, ...others!].join(", ")}`
    );
  });
  assert(told.length > 30, `${told.length} functions`);
  assertEquals(told.sort(), [...await takers()].sort());
});
