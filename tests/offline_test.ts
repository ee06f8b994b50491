/** How a task chooses its configuration, and the stand-ins for `@std`. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  assertObjectMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { crypto } from "@std/crypto";
import { decodeBase64, encodeBase64 } from "@std/encoding/base64";
import { decodeHex, encodeHex } from "@std/encoding/hex";

const root = new URL("../", import.meta.url);

/** Runs `offline/config.ts` with an empty cache and the given registry. */
async function choose(
  registry: string,
  ...args: string[]
): Promise<{ choice: string; note: string }> {
  const cache = await Deno.makeTempDir();
  try {
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "-A", "offline/config.ts", ...args],
      cwd: root,
      env: {
        DENO_DIR: cache,
        DENO_TASK_CONFIG: "",
        JSR_URL: registry,
        STD_DIR: "",
      },
    }).output();
    const decoder = new TextDecoder();
    return {
      choice: decoder.decode(stdout).trim(),
      note: decoder.decode(stderr).trim(),
    };
  } finally {
    await removeCache(cache);
  }
}

/**
 * On Windows, a cache holds a link to Deno's own program, which cannot be removed
 * while that runs: it is left.
 */
async function removeCache(folder: string): Promise<void> {
  try {
    await Deno.remove(folder, { recursive: true });
  } catch (error) {
    const isLeft = Deno.build.os === "windows" &&
      error instanceof Deno.errors.PermissionDenied;
    if (!isLeft) throw error;
  }
}

function listen(): Deno.TcpListener & { url: string } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return Object.assign(listener, {
    url: `http://127.0.0.1:${listener.addr.port}/`,
  });
}

Deno.test("a registry that refuses is told in one line, and done without", async () => {
  const listener = listen();
  listener.close();
  const { choice, note } = await choose(listener.url);
  assertEquals(choice, "deno.offline.json");
  // Windows tries for two seconds to connect to a port that is closed, and Deno
  // tries more than once.
  const problem = Deno.build.os === "windows"
    ? "JSR (is out of reach|does not answer)"
    : "JSR is out of reach";
  const line = `^offline: ${problem}, using the stand-ins in offline/$`;
  assertMatch(note, new RegExp(line));
});

Deno.test("a registry that never answers is given up within four seconds", async () => {
  using listener = listen();
  const conns: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const conn of listener) conns.push(conn);
  })();
  const begin = performance.now();
  assertEquals(await choose(listener.url, "imports"), {
    choice: "deno.offline.imports.json",
    note: "offline: JSR does not answer, using the stand-ins in offline/",
  });
  assert(performance.now() - begin < 4000);
  assertNotEquals(conns.length, 0);
  for (const conn of conns) conn.close();
  listener.close();
  await accepting;
});

Deno.test("a registry that has the packages is used", async () => {
  const files = new Map<string, string>();
  const modules = { assert: ["."], crypto: [".", "./crypto"] };
  const encoding = [".", "./base64", "./hex"];
  for (const [name, paths] of Object.entries({ ...modules, encoding })) {
    const exports = Object.fromEntries(paths.map((path) => [path, "./mod.js"]));
    const hash = crypto.subtle.digestSync("SHA-256", new Uint8Array());
    const manifest = {
      "/mod.js": { size: 0, checksum: `sha256-${encodeHex(hash)}` },
    };
    const versions = { versions: { "1.99.0": {} } };
    files.set(`/@std/${name}/meta.json`, JSON.stringify(versions));
    files.set(
      `/@std/${name}/1.99.0_meta.json`,
      JSON.stringify({ exports, manifest }),
    );
    files.set(`/@std/${name}/1.99.0/mod.js`, "");
  }
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ({ url }) => {
      const { pathname } = new URL(url);
      const status = files.has(pathname) ? 200 : 404;
      const type = pathname.endsWith(".js") ? "text/javascript" : "text/json";
      const headers = { "content-type": type };
      return new Response(files.get(pathname), { status, headers });
    },
  );
  const registry = `http://127.0.0.1:${server.addr.port}/`;
  const expected = { choice: "deno.json", note: "" };
  assertEquals(await choose(registry), expected);
  assertEquals(await choose(registry, "imports"), expected);
});

Deno.test("assertions hold and fail as expected", async () => {
  assertEquals({ a: [new Uint8Array([1])] }, { a: [new Uint8Array([1])] });
  assertThrows(() => assertEquals(new Uint8Array(2), new Uint8Array(3)));
  assertThrows(() => assertNotEquals(new Map([[1, 2]]), new Map([[1, 2]])));
  assertObjectMatch({ a: 1, b: { c: [1, { d: 2, e: 3 }] } }, {
    b: { c: [1, { d: 2 }] },
  });
  assertThrows(() => assertObjectMatch({ a: 1 }, { a: 2 }));
  assertThrows(() => assertThrows(() => {}, "note"), Error, "throw: note");
  assertThrows(() =>
    assertThrows(() => {
      throw new Error("one");
    }, TypeError)
  );
  const error: RangeError = assertThrows(
    () => {
      throw new RangeError("one two");
    },
    RangeError,
    "two",
  );
  assertInstanceOf(error, RangeError);
  await assertRejects(() => Promise.reject(new TypeError("no")), TypeError);
  await assertRejects(() => assertRejects(() => Promise.resolve()), Error);
});

Deno.test("SHA-1, base64 and hex are the well-known ones", () => {
  const abc = new TextEncoder().encode("abc");
  const digest = crypto.subtle.digestSync("SHA-1", abc);
  assertEquals(encodeHex(digest), "a9993e364706816aba3e25717850c26c9cd0d89d");
  assertEquals(decodeHex(encodeHex(digest)), new Uint8Array(digest));
  assertEquals(encodeBase64("abc>?~"), "YWJjPj9+");
  assertEquals(crypto.getRandomValues(new Uint8Array(3)).length, 3);
});

Deno.test("base64 may lack its padding, and nothing else", () => {
  for (const text of ["YQ==", "YQ=", "YQ"]) {
    assertEquals(decodeBase64(text), new Uint8Array([97]), text);
  }
  for (const text of ["YQ===", "Y Q=", "YQ\n", "Y=Q=", "-_-_", "ÿQ=="]) {
    assertThrows(() => decodeBase64(text), TypeError, "Invalid", text);
  }
  assertThrows(() => decodeBase64("YWJjY"), RangeError);
  assertThrows(() => decodeHex("abc"), RangeError);
  assertThrows(() => decodeHex("ag"), TypeError);
});
