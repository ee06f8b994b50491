/** What a module imports, read from its source text. */

/** What the import lines of a module say. */
export interface ModuleText {
  /** The source text without its comments. */
  code: string;
  /** What it imports, or re-exports, while it runs. */
  values: string[];
  /** What it imports for its types alone. */
  types: string[];
}

function stripComments(source: string): string {
  return source
    .replaceAll(/^\s*\/\*[\s\S]*?\*\/\s*?$/gm, "")
    .replaceAll(/(^|\s)\/\/ .*$/gm, "");
}

/** Reads the import lines of a module that `deno fmt` has formatted. */
export function parseModule(source: string): ModuleText {
  const code = stripComments(source);
  const module: ModuleText = { code, values: [], types: [] };
  const statements = code.matchAll(
    /^(?:import|export)\b\s*(type\b)?([^;"]*?)\bfrom\s*"([^"]+)";/gm,
  );
  for (const [, type, names = "", specifier = ""] of statements) {
    const listed = /^\s*\{([^}]*)\}\s*$/.exec(names)?.[1]?.split(",")
      .map((name) => name.trim()).filter((name) => name !== "");
    const onlyTypes = type !== undefined ||
      listed?.every((name) => name.startsWith("type "));
    module[onlyTypes ? "types" : "values"].push(specifier);
  }
  for (const [, bare = ""] of code.matchAll(/^import\s*"([^"]+)";/gm)) {
    module.values.push(bare);
  }
  for (const [, lazy = ""] of code.matchAll(/\bimport\(\s*"([^"]+)"/g)) {
    module.values.push(lazy);
  }
  return module;
}

/** Whether it is a file of this project. */
export function isLocal(specifier: string): boolean {
  return /^\.\.?\//.test(specifier);
}
