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
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import { bytesOf, CLOSES, textOf } from "./_interop.ts";
import { Program } from "./_program.ts";
import { findBun, findNode, TemporaryFolder } from "./_runtimes.ts";
import { TestServer, within } from "./_server.ts";

const PATIENCE = 30_000;
const MESSAGES = ["", "hello", "你好", textOf(200_000), bytesOf(1_000_000)];

const ROOT = new URL("../", import.meta.url);
const CONFIG = Deno.env.get("DENO_TASK_CONFIG") || "deno.json";

/** Bundles the example as its documentation says, once. */
let bundled: Promise<string> | undefined;

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
          "echo.mjs": await (bundled ??= bundleAsDocumented()),
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

      // Who is refused is told, and who vanishes does no harm.
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
      const listener = Deno.listenTls({
        hostname: "127.0.0.1",
        port: 0,
        cert: certificate.pem,
        key: await Deno.readTextFile(certificate.key),
      });
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

  nodeTest("a client, and nobody there", async (run) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    await using program = run(`ws://127.0.0.1:${port}/`);
    const { code, stderr } = await program.ended();
    assertEquals(code, 1);
    assertStringIncludes(stderr, "ECONNREFUSED");
  });
}
