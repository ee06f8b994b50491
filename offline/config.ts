/**
 * Prints the configuration that Deno is to use for a task: `deno.json` where
 * the three `@std` packages can be imported, and a generated one that links
 * stand-ins for them where they can't. CONTRIBUTING.md tells the whole story.
 *
 * @module
 */

/** How long the registry may take to answer, in milliseconds. */
const PATIENCE = 2500;

/** Everything that this script writes, in the folder above it; git ignores it. */
const GENERATED = {
  config: "deno.offline.json",
  imports: "deno.offline.imports.json",
};

interface Manifest {
  name: string;
  exports: Record<string, string>;
  imports?: Record<string, string>;
  workspace?: string[];
}

const root = new URL("../", import.meta.url);

async function readManifest(folder: URL): Promise<Manifest> {
  return JSON.parse(await Deno.readTextFile(new URL("deno.json", folder)));
}

/** The folders that stand in for the packages: here, or in a checkout of `denoland/std`. */
async function findPackages(standard: string | undefined): Promise<URL[]> {
  if (standard === undefined) {
    return ["assert/", "crypto/", "encoding/"].map((name) =>
      new URL(name, import.meta.url)
    );
  }
  const checkout = new URL(`${standard.replace(/\/*$/, "")}/`, root);
  const { workspace = [] } = await readManifest(checkout);
  return workspace.map((member) => new URL(`${member}/`, checkout));
}

/** `@std/assert`, `@std/encoding/base64`, ...: each thing to import, and its file. */
async function listModules(packages: URL[]): Promise<Map<string, string>> {
  const modules = new Map<string, string>();
  for (const folder of packages) {
    const { name, exports } = await readManifest(folder);
    for (const [path, file] of Object.entries(exports)) {
      modules.set(name + path.slice(1), new URL(file, folder).href);
    }
  }
  return modules;
}

/** Imports the real packages, from the cache or the registry: why that fails, if it does. */
async function tryRegistry(specifiers: Iterable<string>): Promise<string> {
  let timer = 0;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer")), PATIENCE);
  });
  try {
    const imports = Array.from(specifiers, (specifier) => import(specifier));
    await Promise.race([Promise.all(imports), late]);
    return "";
  } catch (error) {
    return error instanceof Error && error.message === "no answer"
      ? "JSR does not answer"
      : "JSR is out of reach";
  } finally {
    clearTimeout(timer);
  }
}

/** Writes a file whole, so that tasks which start together never see half of it. */
async function writeFile(name: string, value: unknown): Promise<void> {
  const target = new URL(name, root);
  const text = `${JSON.stringify(value, undefined, 2)}\n`;
  const present = await Deno.readTextFile(target).catch(() => undefined);
  if (present === text) return;
  const draft = new URL(`${name}.${Deno.pid}`, root);
  await Deno.writeTextFile(draft, text);
  await Deno.rename(draft, target);
}

async function generate(packages: URL[]): Promise<string> {
  const manifest = await readManifest(root);
  const modules = await listModules(packages);
  await writeFile(GENERATED.config, {
    ...manifest,
    links: packages.map((folder) => folder.href),
  });
  // `deno doc` overlooks links, and takes an import map.
  const imports = { ...manifest.imports, ...Object.fromEntries(modules) };
  await writeFile(GENERATED.imports, { imports });
  return GENERATED.config;
}

async function choose(): Promise<string> {
  const decided = Deno.env.get("DENO_TASK_CONFIG");
  if (decided) return decided;
  const standard = Deno.env.get("STD_DIR");
  const packages = await findPackages(standard);
  if (standard !== undefined) {
    console.error(`offline: @std packages from STD_DIR`);
    return await generate(packages);
  }
  const modules = await listModules(packages);
  const failure = await tryRegistry(modules.keys());
  if (failure === "") return "deno.json";
  console.error(`offline: ${failure}; using the stand-ins in offline/`);
  return await generate(packages);
}

if (import.meta.main) {
  console.log(await choose());
  Deno.exit(); // an import that nobody waits for any more may still be under way
}
