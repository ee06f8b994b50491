/**
 * Prints the name of the configuration that Deno is to use for a task:
 * `deno.json` where the three `@std` packages can be imported, and a generated
 * one that links stand-ins for them where they can't. With the argument
 * `imports` it prints the name of the import map that goes with it.
 *
 * @module
 */

/** How long the registry may take to answer, in milliseconds. */
const PATIENCE = 2500;

interface Manifest {
  name: string;
  exports: Record<string, string>;
  imports?: Record<string, string>;
  workspace?: string[];
  publish: { include: string[] };
}

const root = new URL("../", import.meta.url);

async function readManifest(folder: URL): Promise<Manifest> {
  return JSON.parse(await Deno.readTextFile(new URL("deno.json", folder)));
}

/** The folders to link: those beside this file, or all of a checkout of `denoland/std`. */
async function findPackages(standard = ""): Promise<URL[]> {
  if (standard === "") {
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

/**
 * Imports the real packages, from the cache or the registry; returns the
 * problem, or "".
 */
function tryRegistry(specifiers: Iterable<string>): Promise<string> {
  const imports = Array.from(specifiers, (specifier) => import(specifier));
  return Promise.race([
    Promise.all(imports).then(() => "", () => "JSR is out of reach"),
    new Promise<string>((resolve) => {
      setTimeout(resolve, PATIENCE, "JSR does not answer");
    }),
  ]);
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

async function generate(config: string, packages: URL[]): Promise<string> {
  const manifest = await readManifest(root);
  const modules = await listModules(packages);
  const links = packages.map((folder) => folder.href);
  // A package must hold all that it imports from below its own folder, so the
  // stand-ins are in the list that a dry run prints, and in no other.
  const include = [
    ...manifest.publish.include,
    ...links.filter((link) => link.startsWith(root.href))
      .map((link) => link.slice(root.href.length)),
  ];
  await writeFile(config, { ...manifest, links, publish: { include } });
  const imports = { ...manifest.imports, ...Object.fromEntries(modules) };
  await writeFile(importMapOf(config), { imports });
  return config;
}

/** `deno doc` overlooks links, but takes an import map, which `deno.json` is as well. */
function importMapOf(config: string): string {
  return config === "deno.json"
    ? config
    : config.replace(/json$/, "imports.json");
}

async function choose(): Promise<string> {
  const decided = Deno.env.get("DENO_TASK_CONFIG");
  if (decided) return decided; // by the task that runs this one
  const standard = Deno.env.get("STD_DIR");
  const packages = await findPackages(standard);
  if (standard) {
    console.error("offline: using the @std packages in STD_DIR");
    return await generate("deno.std.json", packages);
  }
  const modules = await listModules(packages);
  const problem = await tryRegistry(modules.keys());
  if (problem === "") return "deno.json";
  console.error(`offline: ${problem}, using the stand-ins in offline/`);
  return await generate("deno.offline.json", packages);
}

const config = await choose();
console.log(Deno.args[0] === "imports" ? importMapOf(config) : config);
Deno.exit(); // the imports may still be under way
