/**
 * Whether every public symbol is documented as CONTRIBUTING.md wants it, by
 * what `deno doc` says of the exports in `deno.json`; that the examples work is
 * for `deno task check:examples` to say.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";

const root = new URL("../", import.meta.url);
const { exports, tasks } = JSON.parse(
  await Deno.readTextFile(new URL("deno.json", root)),
);

/**
 * Interfaces that users fill in or implement: what to write is not seen in the
 * example of a function. All others come out of functions whose examples show
 * them.
 */
const FILLED_IN = [
  "AcceptOptions",
  "Backplane",
  "ByteDuplex",
  "ConnectOptions",
  "Extension",
  "HubOptions",
  "Listener",
  "NegotiatedExtension",
  "PermessageDeflateOptions",
  "PublishOptions",
  "ServeOptions",
  "StreamDuplex",
  "Subscriber",
];

/** Interfaces whose methods are called, as those of a class are. */
const CALLED = ["MemoryDuplex", "Server"];

/** Interfaces whose optional members the library, or the runtime, sets. */
const FILLED_IN_FOR_USERS = ["BackplaneMessage", "CloseInfo", "RemoteAddress"];

interface Tag {
  kind: string;
  name?: string;
  value?: string;
  doc?: string;
  tsType?: unknown;
}

interface Comment {
  doc?: string;
  tags?: Tag[];
}

interface Type {
  repr?: string;
}

interface Parameter {
  kind: string;
  name?: string;
  left?: Parameter;
}

interface Signature {
  params: Parameter[];
  returnType?: Type;
}

interface Member extends Partial<Signature> {
  name: string;
  kind?: string;
  jsDoc?: Comment;
  optional?: boolean;
  readonly?: boolean;
  functionDef?: Signature;
}

interface Declaration {
  kind: string;
  location: { filename: string; line: number };
  jsDoc?: Comment;
  def: Partial<Signature> & {
    constructors?: Member[];
    methods?: Member[];
    properties?: Member[];
    hasBody?: boolean;
  };
}

interface Module {
  module_doc?: Comment;
  symbols: { name: string; declarations: Declaration[] }[];
}

/** A symbol, or a member of one. */
interface Entry {
  name: string;
  comment: Comment;
}

/** What can be called. */
interface Callable extends Entry {
  params: string[];
  result: string;
}

/** An exported symbol, once however many modules export it. */
interface Exported extends Entry {
  kind: string;
  file: string;
  def: Declaration["def"];
}

async function run(...args: string[]): Promise<string> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    stderr: "inherit",
  }).output();
  assert(success, `deno ${args.join(" ")}`);
  return new TextDecoder().decode(stdout);
}

async function readModules(): Promise<Map<string, Module>> {
  const config = await run("run", "-qA", "offline/config.ts", "imports");
  const files: string[] = Object.values(exports);
  const { version, nodes } = JSON.parse(
    await run("doc", "--json", `--import-map=${config.trim()}`, ...files),
  );
  assertEquals(version, 2, "`deno doc --json` speaks another dialect");
  return new Map(files.map((file) => {
    const name = file.slice(2);
    return [name, nodes[new URL(file, root).href]];
  }));
}

const modules = await readModules();

const exported: Exported[] = [];
const places = new Set<string>();
for (const { symbols } of modules.values()) {
  for (const { name, declarations } of symbols) {
    const signatures = declarations.filter(({ def }) => !def.hasBody);
    // The implementation behind overloads is not public.
    const shown = signatures.length > 0 ? signatures : declarations;
    for (const { kind, location, jsDoc = {}, def } of shown) {
      const place = `${location.filename}:${location.line}`;
      if (places.has(place)) continue;
      places.add(place);
      const file = location.filename.replace(root.href, "");
      exported.push({ name, kind, comment: jsDoc, file, def });
    }
  }
}

function tags({ tags = [] }: Comment, kind: string): Tag[] {
  return tags.filter((tag) => tag.kind === kind);
}

/** The code of the examples, without its comments. */
function examples(comment: Comment): string[] {
  return tags(comment, "example").map(({ doc = "" }) => {
    const [, code = ""] = /^```ts\n([^]*?)^```$/m.exec(doc) ?? [];
    return code.replaceAll(/(^| )\/\/ .*$/gm, "");
  });
}

/** Whether there is an example that asserts something. */
function isShown(comment: Comment): boolean {
  return examples(comment).some((code) => /\bassert\w*\(/.test(code));
}

function membersOf({ def }: Exported): Member[] {
  return [...def.properties ?? [], ...def.methods ?? []];
}

/** What is written where members are used that have no name to call them by. */
const SYMBOLS: Record<string, RegExp> = {
  "[Symbol.asyncDispose]": /\bawait using /,
  "[Symbol.asyncIterator]": /\bfor await \(/,
  "[Symbol.iterator]": /\bfor \((const|let) .* of /,
};

function isUsed(name: string, code: string): boolean {
  return (SYMBOLS[name] ?? new RegExp(`\\.${name}\\b`)).test(code);
}

/** Whether the member is called, read, or written down where it is implemented. */
function isWritten(name: string, code: string): boolean {
  return isUsed(name, code) ||
    new RegExp(`\\b${name}\\b\\s*[(:=,}]`).test(code);
}

function names(entries: Iterable<Entry>): string[] {
  return Array.from(entries, ({ name }) => name);
}

function callable(
  name: string,
  comment: Comment = {},
  { params = [], returnType }: Partial<Signature>,
): Callable {
  const own = params.map(({ left, name }) => left?.name ?? name ?? "");
  return { name, comment, params: own, result: returnType?.repr ?? "other" };
}

/** All functions, methods and constructors. */
function callables(): Callable[] {
  return exported.flatMap(({ name, kind, comment, def }) => {
    if (kind === "function") return [callable(name, comment, def)];
    return [
      ...(def.constructors ?? []).map((it) =>
        callable(`new ${name}`, it.jsDoc, { params: it.params ?? [] })
      ),
      ...(def.methods ?? []).filter(({ kind }) => kind === "method").map((it) =>
        callable(`${name}.${it.name}`, it.jsDoc, it.functionDef ?? it)
      ),
    ];
  });
}

Deno.test("every export has documentation, with an example", () => {
  const wrong = Array.from(modules)
    .filter(([, { module_doc = {} }]) =>
      !module_doc.doc || !isShown(module_doc)
    )
    .map(([name]) => name);
  assertEquals(wrong, []);
});

Deno.test("every function, class and constant has an example", () => {
  const symbols = exported.filter(({ kind }) =>
    ["class", "function", "variable"].includes(kind)
  );
  assert(symbols.length > 40, `${symbols.length} symbols`);
  assertEquals(names(symbols.filter(({ comment }) => !isShown(comment))), []);
});

// A page of JSR shows a class with all its members, and one example that uses
// them together says more than one for each would.
Deno.test("every member of a class is used in an example of the class, or of a member", () => {
  const classes = exported.filter(({ kind, name }) =>
    kind === "class" || CALLED.includes(name)
  );
  assert(classes.length > 6, `${classes.length} classes`);
  const wrong = classes.flatMap((it) => {
    const members = membersOf(it);
    const comments = [it.comment, ...members.map(({ jsDoc = {} }) => jsDoc)];
    const page = comments.filter(isShown).flatMap(examples).join("\n");
    return members.filter(({ name }) => !isUsed(name, page))
      .map(({ name }) => `${it.name}.${name}`);
  });
  assertEquals(wrong, []);
});

Deno.test("every interface to be filled in has an example", () => {
  const wrong = FILLED_IN.flatMap((name) => {
    const it = exported.find((it) => it.name === name);
    assert(it !== undefined, `There is no ${name}`);
    if (!isShown(it.comment)) return [name];
    const page = examples(it.comment).join("\n");
    return membersOf(it)
      .filter((member) => !member.optional && !isWritten(member.name, page))
      .map((member) => `${name}.${member.name}`);
  });
  assertEquals(wrong, []);
});

Deno.test("every member that may be left out has a default", () => {
  const members = exported
    .filter(({ kind, name }) =>
      kind === "interface" && !FILLED_IN_FOR_USERS.includes(name)
    )
    .flatMap(({ name, def }) =>
      (def.properties ?? []).filter(({ optional }) => optional)
        .map((it) => ({ name: `${name}.${it.name}`, comment: it.jsDoc ?? {} }))
    );
  assert(members.length > 60, `${members.length} members`);
  const wrong = members.filter(({ comment }) =>
    !tags(comment, "default").some(({ value = "" }) => value !== "")
  );
  assertEquals(names(wrong), []);
});

// Programs that make millions of headers fill in the same object.
const WRITTEN = [
  "FrameHeader",
  "WebSocketProtocol.chunks",
  "WebSocketProtocol.reusesMemory",
];

Deno.test("what is told is readonly", () => {
  const told = exported.filter(({ name }) =>
    !/(Options|Limits|Init|Rules|Acceptance)$/.test(name) &&
    !WRITTEN.includes(name)
  );
  const members = told.flatMap(({ name, def }) =>
    (def.properties ?? []).map((it) => ({ ...it, name: `${name}.${it.name}` }))
  );
  assert(members.length > 100, `${members.length} members`);
  const wrong = members.filter(({ name, readonly = false }) =>
    readonly === WRITTEN.includes(name)
  );
  assertEquals(wrong.map(({ name }) => name), []);
});

Deno.test("every parameter has its line, in order", () => {
  const all = callables();
  assert(all.length > 80, `${all.length} functions`);
  const wrong = all.filter(({ comment, params }) =>
    tags(comment, "param").filter(({ doc = "" }) => doc !== "")
      .map(({ name }) => name).join() !== params.join()
  );
  assertEquals(names(wrong), []);
});

Deno.test("everything that is returned is described", () => {
  const wrong = callables().filter(({ name, comment, result }) =>
    !name.startsWith("new ") && result !== "void" &&
    !tags(comment, "return").some(({ doc = "" }) => doc !== "")
  );
  assertEquals(names(wrong), []);
});

Deno.test("everything that is thrown has a type, and a reason", () => {
  const thrown = callables().flatMap(({ name, comment }) =>
    tags(comment, "throws").map((tag) => ({ name, tag }))
  );
  assert(thrown.length > 40, `${thrown.length} errors`);
  const wrong = thrown.filter(({ tag }) => !tag.tsType || !tag.doc);
  assertEquals(wrong.map(({ name }) => name), []);
});

/** All doc comments, and what each is on. */
function comments(): Entry[] {
  return [
    ...Array.from(modules, ([name, { module_doc = {} }]) => ({
      name,
      comment: module_doc,
    })),
    ...exported.flatMap((it) => [
      it,
      ...[...it.def.constructors ?? [], ...membersOf(it)].map((member) => ({
        name: `${it.name}.${member.name}`,
        comment: member.jsDoc ?? {},
      })),
    ]),
  ];
}

Deno.test("examples have a title, run as they stand, and import the package by its name", () => {
  const all = comments().flatMap(({ name, comment }) =>
    tags(comment, "example").map(({ doc = "" }) => ({ name, doc }))
  );
  assert(all.length > 60, `${all.length} examples`);
  for (const { name, doc } of all) {
    assertMatch(doc, /^[^`\n]+\n```ts\n[^]*```\n?$/, name);
    for (const [, specifier = ""] of doc.matchAll(/ from "(.*)";$/gm)) {
      assertMatch(
        specifier,
        /^@(sansio\/websocket(\/\w+)?|std\/assert)$/,
        name,
      );
    }
  }
});

Deno.test("every link leads somewhere", () => {
  // As JSR finds them: what is not the class's own is behind "prototype".
  const targets = new Set(exported.flatMap((it) => [
    it.name,
    ...membersOf(it).map(({ name }) =>
      `${it.name}.${it.kind === "class" ? "prototype." : ""}${name}`
    ),
  ]));
  const links = comments().flatMap(({ name, comment }) =>
    Array.from(
      JSON.stringify(comment).matchAll(/{@link(?:code)? ([^\s}|]+)/g),
      ([, target = ""]) => ({ name, target }),
    )
  );
  assert(links.length > 80, `${links.length} links`);
  const constants = new Set(names(
    exported.filter(({ kind }) => kind === "variable"),
  ));
  const wrong = links
    .filter(({ target }) =>
      !targets.has(target) && !constants.has(target.split(".")[0]!)
    )
    .map(({ name, target }) => `${name}: ${target}`);
  assertEquals(wrong, []);
});

Deno.test("no example is missed by `deno task check:examples`", () => {
  assertMatch(tasks["check:examples"].command, / --doc .*\*\.ts$/);
  const elsewhere = exported.filter(({ file }) => !/^\w+\.ts$/.test(file));
  assertEquals(names(elsewhere), []);
});
