/** The table of docs/options.md, and what the modules' documentation says. */
import { assert, assertEquals } from "@std/assert";
import { tableRows } from "./_markdown.ts";

const ROOT = new URL("../", import.meta.url);

/** What has options, by the names of interfaces. */
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

/** As much of the output of `deno doc --json` as is looked at. */
interface Documentation {
  readonly nodes: Record<string, {
    readonly symbols: readonly {
      readonly name: string;
      readonly declarations: readonly {
        readonly kind: string;
        readonly def: { readonly properties?: readonly Property[] };
      }[];
    }[];
  }>;
}

/** Every option of every public interface, with its `@default`. */
async function defaults(): Promise<Map<string, string | undefined>> {
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
  const found = new Map<string, string | undefined>();
  for (const { symbols } of Object.values(nodes)) {
    for (const { name, declarations } of symbols) {
      if (!OPTIONS.test(name)) continue;
      for (const { def, kind } of declarations) {
        if (kind !== "interface") continue;
        for (const option of def.properties ?? []) {
          if (!option.optional) continue;
          const tag = option.jsDoc?.tags?.find(({ kind }) =>
            kind === "default"
          );
          found.set(`${name}.${option.name}`, tag?.value);
        }
      }
    }
  }
  return found;
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
