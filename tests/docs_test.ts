/**
 * The documentation: its code is type-checked, and run where it is a program;
 * what it links to is there.
 *
 * In README.md and docs/, a block of TypeScript is
 *
 * - a program, if it imports something: it has to end by itself, and to print
 *   what the comments behind its `console.log()` say;
 * - a server, if it is marked `server`: it listens at port 8000, and the programs
 *   below it that talk to that port are run with it;
 * - a fragment otherwise: it is checked with the names of the library and those
 *   of `_docs_names.ts`.
 *
 * A program marked `ignore` is checked, not run; why not is said in a comment
 * above it: `<!-- not run: it needs nginx -->`. What a fragment needs besides can
 * be declared there too: `<!-- given: declare const file: Deno.FsFile; -->`.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import * as library from "../mod.ts";
import * as deflate from "../deflate.ts";
import * as testing from "../testing.ts";
import {
  anchors,
  type CodeBlock,
  codeBlocks,
  links,
  tableRows,
} from "./_markdown.ts";
import { within } from "./_server.ts";

const CONFIG = Deno.env.get("DENO_TASK_CONFIG") || "deno.json";
const ROOT = new URL("../", import.meta.url);

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, ROOT));
}

/** All Markdown of the repository, but what others have put into it. */
async function markdownFiles(folder = ""): Promise<string[]> {
  const files: string[] = [];
  for await (
    const { name, isDirectory } of Deno.readDir(new URL(folder || ".", ROOT))
  ) {
    if (/^(node_modules|\.git|coverage)$/.test(name)) continue;
    if (isDirectory) files.push(...await markdownFiles(`${folder}${name}/`));
    else if (name.endsWith(".md")) files.push(folder + name);
  }
  return files.sort();
}

const files = await markdownFiles();
const texts = new Map<string, string>();
for (const file of files) texts.set(file, await read(file));

const code = files.filter((file) => /^README|^docs\//.test(file))
  .flatMap((file) => codeBlocks(file, texts.get(file)!));
const blocks = code.filter(({ words }) => words[0] === "ts");

function nameOf({ path, line }: CodeBlock): string {
  return `${path}:${line}`;
}

function isProgram({ code }: CodeBlock): boolean {
  return /^import /m.test(code);
}

// --- Types -----------------------------------------------------------------

const EXPORTS: Record<string, object> = {
  "@sansio/websocket": library,
  "@sansio/websocket/deflate": deflate,
  "@sansio/websocket/testing": testing,
};

function declares(code: string, name: string): boolean {
  return new RegExp(
    `^import [^"]*\\b${name}\\b|(?:const|let|function|class) (?:[{[][^=]*)?\\b${name}\\b`,
    "m",
  ).test(code);
}

/** The imports that a reader of a fragment adds without thinking. */
function importsFor(code: string): string {
  let imports = "";
  for (const [specifier, exported] of Object.entries(EXPORTS)) {
    const names = Object.keys(exported).filter((name) =>
      new RegExp(`(?<![.\\w"/])${name}\\b`).test(code) && !declares(code, name)
    );
    if (names.length > 0) {
      imports += `import { ${names.join(", ")} } from "${specifier}"; `;
    }
  }
  return imports;
}

// Declarations that the code in README.md's table leaves to the reader.
const LEFT_OPEN = `import type { AnswerOptions, Duplex } from "../mod.ts";
declare const data: string, topic: string, asyncIterable: AsyncIterable<string>;
declare const readable: ReadableStream<Uint8Array<ArrayBuffer>>;
declare const writable: WritableStream<Uint8Array<ArrayBuffer>>;
declare const dial: () => Duplex, handler: () => Response;
declare const onConnection: () => Promise<void>;
declare const onRequest: NonNullable<AnswerOptions["onRequest"]>;`
  .replace("../mod.ts", new URL("mod.ts", ROOT).href)
  .replaceAll("\n", " ");

/** The code in README.md's table of what to write, a fragment for each row. */
function rowsOf(readme: string): CodeBlock[] {
  return tableRows(readme, ["you want", "write"]).map((row, index) => ({
    path: `README.md, row ${index + 1} of what to write`,
    line: 1,
    words: ["ts"],
    code: Array.from(
      row["write"]!.matchAll(/`((?:const|new|ws\.|\(|\w+\()[^`]*)`/g),
      ([, code]) => `${code};\n`,
    ).join(""),
    comment: `given: ${LEFT_OPEN}`,
  })).filter(({ code }) => code !== "");
}

Deno.test("the code of README.md and docs/ fits the types", async () => {
  assert(blocks.length > 20, `${blocks.length} blocks`);
  const rows = rowsOf(texts.get("README.md")!);
  assert(rows.length > 10, `${rows.length} rows`);
  const folder = await Deno.makeTempDir();
  try {
    const names = new URL("tests/_docs_names.ts", ROOT).href;
    const paths = await Promise.all([...blocks, ...rows].map(async (block) => {
      const name = nameOf(block).replaceAll(/[^\w.]/g, "_");
      const path = `${folder}/${name}.ts`;
      const [, given = ""] = /^given: (.*)$/.exec(block.comment) ?? [];
      // On one line: the numbers of the others stay what they are in the block.
      await Deno.writeTextFile(
        path,
        `${given} ${
          importsFor(block.code)
        }import type {} from "${names}"; export {};` +
          block.code.trimEnd() + "\n",
      );
      return path;
    }));
    // JavaScript, which is for pages, is checked for its syntax.
    for (const block of code.filter(({ words }) => words[0] === "js")) {
      const path = `${folder}/${nameOf(block).replaceAll(/[^\w.]/g, "_")}.js`;
      await Deno.writeTextFile(path, block.code);
      paths.push(path);
    }
    const { code: exitCode, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", `--config=${CONFIG}`, "--quiet", ...paths],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
    }).output();
    assert(exitCode === 0, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

// --- Programs --------------------------------------------------------------

/** `deno run` of a program, with no more permissions than the guide asks for. */
function start(code: string): Deno.ChildProcess {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      `--config=${CONFIG}`,
      "--no-prompt",
      "--allow-net=127.0.0.1",
      "-",
    ],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  writer.write(new TextEncoder().encode(code)).then(() => writer.close())
    .catch(() => {}); // how it ends says why
  return child;
}

const LISTEN = /Deno\.listen\(\{ hostname: "127\.0\.0\.1", port: 8000 \}\)/;

/** A server of the guide, at a port that is free. */
class GuideServer implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #output: ReadableStreamDefaultReader<string>;
  readonly #errors: Promise<string>;
  #hasEnded = false;

  constructor(block: CodeBlock) {
    assert(LISTEN.test(block.code), `${nameOf(block)} does not listen`);
    const listener = `Deno.listen({ hostname: "127.0.0.1", port: 0 })`;
    this.#child = start(
      `const listener_ = ${listener}; console.log(listener_.addr.port);` +
        block.code.replace(LISTEN, "listener_"),
    );
    this.#output = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    this.#errors = new Response(this.#child.stderr).text();
    this.#child.status.then(() => this.#hasEnded = true);
  }

  async port(): Promise<string> {
    const { value = "" } = await within(this.#output.read(), 30_000);
    assert(/^\d+\n/.test(value), `It does not run: ${value}`);
    return value.split("\n")[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const hasEnded = this.#hasEnded;
    if (!hasEnded) this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#output.cancel();
    assertEquals(await this.#errors, "");
    assert(!hasEnded, "It has ended, which nobody has asked for");
  }
}

/** What a program is to print, line by line, as its comments say. */
function expected(code: string): (string | undefined)[] {
  return Array.from(
    code.matchAll(/^ *console\.log\([^]*?\);(?: \/\/ (.*))?$/gm),
    ([, text]) => text,
  );
}

async function run(block: CodeBlock, port?: string): Promise<void> {
  const lines = expected(block.code);
  const child = start(
    port === undefined
      ? block.code
      : block.code.replaceAll("127.0.0.1:8000", `127.0.0.1:${port}`),
  );
  try {
    const { code, stdout, stderr } = await within(child.output(), 30_000);
    assertEquals(new TextDecoder().decode(stderr), "");
    assertEquals(code, 0);
    const printed = new TextDecoder().decode(stdout).trimEnd().split("\n");
    const isAsserted = lines.length > 0 && !lines.includes(undefined) ||
      /\bassert/.test(block.code);
    assert(isAsserted, `${nameOf(block)} says nothing of what comes out`);
    if (lines.length > 0) assertEquals(printed, lines);
  } catch (error) {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    throw error;
  }
}

/** A program that stands alone, or a server with those who talk to it. */
const scenes: [CodeBlock, ...CodeBlock[]][] = [];
for (const block of blocks) {
  if (!isProgram(block)) continue;
  const server = scenes.findLast(([{ path, words }]) =>
    path === block.path && words.includes("server")
  );
  if (block.words.includes("serve")) {
    Deno.test(`${nameOf(block)}: deno_serve_test.ts runs it`, async () => {
      assert((await read("tests/deno_serve_test.ts")).includes("ts serve"));
    });
  } else if (block.words.includes("ignore")) {
    Deno.test(`${nameOf(block)}: it is said why this is not run`, () => {
      assert(block.comment.startsWith("not run: "), `[${block.comment}]`);
    });
  } else if (block.code.includes("//127.0.0.1:8000")) {
    assert(server !== undefined, `${nameOf(block)} has no server`);
    server.push(block);
  } else {
    scenes.push([block]);
  }
}

for (const [first, ...clients] of scenes) {
  if (!first.words.includes("server")) {
    Deno.test(`${nameOf(first)}: it runs, and prints what it says`, async () => {
      await run(first);
    });
    continue;
  }
  Deno.test(`${nameOf(first)}: it serves`, async (test) => {
    assert(clients.length > 0, "Nobody talks to it");
    await using server = new GuideServer(first);
    const port = await server.port();
    for (const client of clients) {
      await test.step(`${nameOf(client)}: it talks to it`, async () => {
        await run(client, port);
      });
    }
  });
}

// --- Links -----------------------------------------------------------------

for (const [file, text] of texts) {
  Deno.test(`${file}: what it links to is there`, async () => {
    const wrong: string[] = [];
    for (const { line, target } of links(text)) {
      if (/^[a-z][a-z0-9+.-]*:/i.test(target)) continue;
      const { pathname, hash } = new URL(target, new URL(file, "file:///"));
      const path = decodeURIComponent(pathname).slice(1);
      const anchor = decodeURIComponent(hash).slice(1);
      try {
        await Deno.stat(new URL(path || ".", ROOT));
      } catch {
        wrong.push(`line ${line}: ${target} does not exist`);
        continue;
      }
      if (anchor === "" || !path.endsWith(".md")) continue;
      if (!anchors(texts.get(path) ?? await read(path)).has(anchor)) {
        wrong.push(`line ${line}: ${target} has no such heading`);
      }
    }
    assertEquals(wrong, []);
  });
}

Deno.test("docs/architecture.md names files that are there", async () => {
  const names = texts.get("docs/architecture.md")!.matchAll(/`(\w+\.ts)`/g);
  const wrong: string[] = [];
  for (const name of new Set(Array.from(names, ([, name]) => name!))) {
    const places = [name, `tests/${name}`].map((path) =>
      Deno.stat(new URL(path, ROOT))
    );
    await Promise.any(places).catch(() => wrong.push(name));
  }
  assertEquals(wrong, []);
});

Deno.test("the tasks that pages and CI name are in deno.json", async () => {
  const { tasks } = JSON.parse(await read("deno.json"));
  const wrong: string[] = [];
  let count = 0;
  for (const path of [...files, ".github/workflows/ci.yml", ".ci/run"]) {
    const text = texts.get(path) ?? await read(path);
    for (
      const [, name] of text.matchAll(
        /deno(?:@2)? task (?:-q )?([a-z][\w:-]*)/g,
      )
    ) {
      count++;
      if (!(name! in tasks)) wrong.push(`${path}: ${name}`);
    }
  }
  assert(count > 50, `${count} are named`);
  assertEquals(wrong, []);
});

Deno.test("docs/README.md names every page", () => {
  const named = new Set(
    links(texts.get("docs/README.md")!).map((it) => it.target),
  );
  const pages = files.filter((file) =>
    /^docs\/(?!README)[^/]*\.md$/.test(file)
  );
  assert(pages.length > 4, `${pages.length} pages`);
  assertEquals(
    pages.filter((page) => !named.has(page.slice("docs/".length))),
    [],
  );
});

Deno.test("Markdown is read as it is meant", () => {
  const text = [
    "# A `b` & C",
    "## Twice",
    "## Twice",
    "<!-- not run: never -->",
    "",
    "```ts ignore",
    "# no heading, [no](link)",
    "```",
    "[a](b.md#c) `[d](e)` ![f](g.png)",
    "[h]: ../i",
  ].join("\n");
  assertEquals([...anchors(text)], ["a-b--c", "twice", "twice-1"]);
  assertEquals(links(text).map(({ target }) => target), [
    "b.md#c",
    "g.png",
    "../i",
  ]);
  assertEquals(codeBlocks("x.md", text), [{
    path: "x.md",
    line: 7,
    words: ["ts", "ignore"],
    code: "# no heading, [no](link)\n",
    comment: "not run: never",
  }]);
  assertEquals(
    expected("console.log(1); // one\nconsole.log(\n  2,\n); // two\n"),
    ["one", "two"],
  );
});
