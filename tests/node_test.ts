/** examples/node in Node and in Bun, with clients and servers of ours in Deno. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { connect } from "../connect.ts";
import { permessageDeflate } from "../deflate.ts";
import type { HandshakeError } from "../handshake.ts";
import {
  decodeFrame,
  encodeClosePayload,
  encodeFrame,
  Opcode,
} from "../frame.ts";
import { concat, utf8 } from "./_bytes.ts";
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import { masked } from "./_hostile.ts";
import { bytesOf, CLOSES, OurServer, textOf } from "./_interop.ts";
import { codeBlocks } from "./_markdown.ts";
import { Program } from "./_program.ts";
import { bundle, findBun, findNode, TemporaryFolder } from "./_runtimes.ts";
import { Client, TestServer, upgrade, within } from "./_server.ts";

const PATIENCE = 30_000;
const MESSAGES = ["", "hello", "你好", textOf(200_000), bytesOf(1_000_000)];

const ROOT = new URL("../", import.meta.url);
const CONFIG = Deno.env.get("DENO_TASK_CONFIG") || "deno.json";

/** Bundles the example as its documentation says. */
async function bundleAsDocumented(): Promise<string> {
  const source = new URL("examples/node/echo.ts", ROOT);
  const [, line = ""] = /^ \* deno (bundle .*)$/m
    .exec(await Deno.readTextFile(source)) ?? [];
  await using folder = await TemporaryFolder.create({});
  const output = `${folder.path}/echo.mjs`;
  assertStringIncludes(line, " --output=echo.mjs ");
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: line.replace("echo.mjs", output).split(" ")
      .toSpliced(1, 0, `--config=${CONFIG}`, "--quiet"),
    cwd: ROOT,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return await Deno.readTextFile(output);
}

/** The servers of docs/runtimes.md, by their modules, as they stand there. */
async function readServers(): Promise<Record<string, string>> {
  const path = "docs/runtimes.md";
  const page = await Deno.readTextFile(new URL(path, ROOT));
  const [tcp, http, ...others] = codeBlocks(path, page)
    .filter(({ code }) => code.includes("createServer("));
  assert(tcp !== undefined && http !== undefined && others.length === 0);
  assertStringIncludes(tcp.comment, `from "node:net"`);
  assertStringIncludes(http.comment, `from "node:http"`);
  // What the first block declares, the second takes for granted.
  const [declarations = ""] = tcp.code.split(/^createServer/m);
  return { tcp: tcp.code, http: `${declarations}\n${http.code}` };
}

/** A program of such a server, at a free port. */
async function bundleServer(kind: "tcp" | "http"): Promise<string> {
  const documented = (await readServers())[kind]!;
  const free = documented
    .replace(
      /\.listen\(\d+\);/,
      `.listen(0, "127.0.0.1", function (this: Server) {
        console.log(\`At \${(this.address() as AddressInfo).port}\`);
      });`,
    )
    .replace(
      "ws.forEach((message) => ws.send(message))",
      `ws.forEach((message) => {
        if (message === "throw") throw new Error("Thrown by a handler");
        return ws.send(message);
      })`,
    );
  assert(free.includes("listen(0") && free.includes("Thrown by"), documented);
  const module = kind === "tcp" ? "node:net" : "node:http";
  const at = (path: string) => JSON.stringify(new URL(path, ROOT).href);
  await using folder = await TemporaryFolder.create({
    "server.ts": `
      import type { AddressInfo, Server } from "node:net";
      import { createServer } from "${module}";
      import { accept, type WebSocketConnection } from ${at("mod.ts")};
      import { toDuplex, toUpgrade } from ${
      at("examples/node/node_sockets.ts")
    };
      ${free}
    `,
  });
  return await bundle(`${folder.path}/server.ts`, { platform: "deno" });
}

/** What is bundled, once for both runtimes. */
const bundles = new Map<string, Promise<string>>();

function once(
  name: string,
  make: () => Promise<string>,
): Promise<string> {
  let code = bundles.get(name);
  if (code === undefined) {
    bundles.set(name, code = make());
    code.catch(() => {}); // whoever asks is told
  }
  return code;
}

/** Bundles `_sockets_of_node.ts` for Node and Bun. */
function bundleSockets(): Promise<string> {
  return bundle("tests/_sockets_of_node.ts", { platform: "deno" });
}

/** The client's end of a connection to a program, upgraded. */
async function open(port: number): Promise<Client> {
  const client = new Client(await Deno.connect({ port }));
  await client.write(upgrade());
  assertEquals((await client.readHead()).status, 101);
  return client;
}

Deno.test("docs/runtimes.md shows how examples/node answers", async () => {
  const { tcp = "" } = await readServers();
  const example = await Deno.readTextFile(
    new URL("examples/node/echo.ts", ROOT),
  );
  const [declarations = ""] = tcp.split(/^createServer/m);
  assertStringIncludes(example, declarations.trim());
});

for (
  const [name, runtime] of [
    ["Node", await findNode()],
    ["Bun", await findBun()],
  ] as const
) {
  const why = runtime.missing === undefined ? "" : ` (${runtime.missing})`;
  const nodeTest = (
    what: string,
    fn: (
      run: (...args: string[]) => Program,
      file: string,
    ) => Promise<void>,
    needs = why,
  ): void => {
    Deno.test({
      name: `${name}: ${what}${needs}`,
      ignore: needs !== "",
      fn: async () => {
        await using folder = await TemporaryFolder.create({
          "echo.mjs": await once("echo", bundleAsDocumented),
        });
        const file = `${folder.path}/echo.mjs`;
        await fn(
          (...args) => new Program(runtime.path!, [file, ...args]),
          file,
        );
      },
    });
  };

  for (const [kind, what] of [["http", "node:http"], ["tcp", "node:net"]]) {
    nodeTest(`a server on ${what}, a client in Deno`, async (run) => {
      await using program = run(kind!, "0");
      const [, url = ""] = await program.expect(/Listening on (\S+)/);
      await using ws = await connect(url, {
        extensions: [permessageDeflate()],
      });
      assert(ws.extension !== undefined);
      for (const message of MESSAGES) {
        await ws.send(message);
        assertEquals(await within(ws.receive(), PATIENCE), message);
      }
      assert(await within(ws.ping(), PATIENCE) >= 0);

      for (const [code, reason] of CLOSES) {
        const ws = await connect(url);
        const { wasClean } = await within(ws.close(code, reason), PATIENCE);
        assert(wasClean, `${code}`);
      }

      // A refused client is answered, and one that vanishes does no harm.
      let refused: unknown;
      try {
        await connect(url, { origin: "https://evil.example" });
      } catch (error) {
        refused = error;
      }
      assertEquals((refused as HandshakeError).status, 403);
      (await connect(url)).terminate();
      if (kind === "http") {
        const page = await fetch(url.replace("ws:", "http:"));
        assertEquals(await page.text(), "A page\n");
      }
      await ws.send("still there");
      assertEquals(await within(ws.receive(), PATIENCE), "still there");
    });
  }

  const inFolder = async (
    code: string,
    args: string[],
    fn: (program: Program) => Promise<void>,
  ): Promise<void> => {
    await using folder = await TemporaryFolder.create({ "main.mjs": code });
    await using program = new Program(runtime.path!, [
      `${folder.path}/main.mjs`,
      ...args,
    ]);
    await fn(program);
  };

  for (const kind of ["tcp", "http"] as const) {
    nodeTest(`the server of docs/runtimes.md, ${kind}, survives`, async () => {
      const code = await once(kind, () => bundleServer(kind));
      await inFolder(code, [], async (program) => {
        const port = Number((await program.expect(/^At (\d+)$/m))[1]);
        const ask = async (request: string): Promise<number> => {
          using client = new Client(await Deno.connect({ port }));
          await client.write(request);
          return (await client.readAnswer()).status;
        };
        assertEquals(await ask(upgrade().replace("n: 13", "n: 12")), 426);
        assertEquals(await ask(upgrade().replace("websocket", "h2c")), 426);
        assertEquals(await ask(upgrade().replace("dGhl", "")), 400);

        // To close with something unread resets a connection.
        const reset = await open(port);
        await reset.write(masked({
          opcode: Opcode.Binary,
          payload: new Uint8Array(100_000),
        }));
        await reset.read(1);
        reset.conn.close();

        await using thrown = await connect(`ws://127.0.0.1:${port}/`);
        await thrown.send("throw");
        const { code } = await within(thrown.closed, PATIENCE);
        assertEquals(code, 1011);

        await using ws = await connect(`ws://127.0.0.1:${port}/`);
        await ws.send("still there");
        assertEquals(await within(ws.receive(), PATIENCE), "still there");
      });
    });
  }

  for (const kind of ["http", "tcp"]) {
    nodeTest(
      `${kind}: a client that half-closes is answered, and missed`,
      async (run) => {
        await using program = run(kind, "0");
        const [, port] = await program.expect(/Listening on \S+:(\d+)/);
        using client = await open(Number(port));
        const payload = utf8("the last");
        await client.write(masked({ opcode: Opcode.Text, payload }));
        await client.conn.closeWrite();
        const expected = encodeFrame({ opcode: Opcode.Text, payload });
        assertEquals(await client.read(expected.length), expected);
        await within(client.readToEnd(), 2000); // a frame of Close, or none
      },
    );
  }

  nodeTest("all that was sent arrives before the end", async () => {
    const code = await once("sockets", bundleSockets);
    await inFolder(code, ["fill"], async (program) => {
      const port = Number((await program.expect(/^At (\d+)$/m))[1]);
      using client = await open(port);
      await program.expect(/^full$/m);
      const payload = encodeClosePayload(1000);
      await client.write(masked({ opcode: Opcode.Close, payload }));
      const parts: Uint8Array[] = [];
      const into = new Uint8Array(65536);
      for (let length; (length = await client.conn.read(into)) !== null;) {
        parts.push(into.slice(0, length));
      }
      const bytes = concat(...parts);
      let at = 0;
      let last;
      while (at < bytes.length) {
        const decoded = decodeFrame(bytes.subarray(at));
        assert(decoded !== undefined, "the end is missing");
        at += decoded.byteLength;
        last = decoded.frame;
      }
      assertEquals([last?.opcode, last?.payload], [Opcode.Close, payload]);
    });
  });

  nodeTest("to close settles what is pending", async () => {
    const code = await once("sockets", bundleSockets);
    await inFolder(code, ["close"], async (program) => {
      const port = Number((await program.expect(/^At (\d+)$/m))[1]);
      using _client = new Client(await Deno.connect({ port }));
      await program.expect(/^settled$/m);
    });
  });

  nodeTest("remoteAddr is known once there is a connection", async () => {
    const code = await once("sockets", bundleSockets);
    await using server = new TestServer();
    await inFolder(code, ["dial", server.url], async (program) => {
      const { stdout, stderr } = await program.ended();
      assertEquals(stderr, "");
      const { port } = server;
      assertEquals(JSON.parse(stdout), [
        "unknown",
        { transport: "tcp", hostname: "127.0.0.1", port },
      ]);
    });
  });

  nodeTest("a client of a server that says nothing", async (run) => {
    await using server = new OurServer({}, async (ws) => {
      await ws.receive();
      await ws.close();
    });
    await using program = run(server.url, "hello");
    const { code, stdout, stderr } = await program.ended();
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, "The server closed unasked");
  });

  nodeTest("a client, a server in Deno", async (run) => {
    await using server = new TestServer({ extensions: [permessageDeflate()] });
    await using program = run(server.url, "你好");
    assertEquals(await program.ended(), {
      code: 0,
      stdout: "你好\n",
      stderr: "",
    });
    assertEquals(server.errors, []);
  });

  nodeTest(
    "a client of wss:, by name and by address",
    async (_, file) => {
      await using certificate = await makeCertificate();
      const listener = certificate.listen();
      await using server = new TestServer({}, listener);
      const say = async (url: string, env: Record<string, string>) => {
        const { code, stdout, stderr } = await new Deno.Command(runtime.path!, {
          args: [file, url, "hello"],
          env: { NODE_NO_WARNINGS: "1", ...env },
          signal: AbortSignal.timeout(PATIENCE),
        }).output();
        const decoder = new TextDecoder();
        const said = decoder.decode(stdout);
        const complaints = decoder.decode(stderr);
        return { code, said, complaints };
      };
      const trusting = { NODE_EXTRA_CA_CERTS: certificate.cert };
      for (const host of ["localhost", "127.0.0.1"]) {
        assertEquals(
          await say(`wss://${host}:${server.port}/`, trusting),
          { code: 0, said: "hello\n", complaints: "" },
          host,
        );
      }
      assertEquals(server.errors, []);
      const refused = await say(`wss://localhost:${server.port}/`, {});
      assertEquals([refused.code, refused.said], [1, ""]);
      assertMatch(refused.complaints, /certificate|SELF_SIGNED/);
    },
    why || (hasOpenssl ? "" : " (needs OpenSSL)"),
  );

  nodeTest("a client, and nobody listens", async (run) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    await using program = run(`ws://127.0.0.1:${port}/`);
    const { code, stderr } = await program.ended();
    assertEquals(code, 1);
    // On Windows, Bun may see it when it writes.
    const isLate = name === "Bun" && Deno.build.os === "windows";
    assertMatch(stderr, isLate ? /ECONN(REFUSED|RESET)/ : /ECONNREFUSED/);
  });
}
