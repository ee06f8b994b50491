/** examples/node in Node and in Bun, with clients and servers of ours in Deno. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { connect } from "../connect.ts";
import { permessageDeflate } from "../deflate.ts";
import type { HandshakeError } from "../handshake.ts";
import { bytesOf, CLOSES, textOf } from "./_interop.ts";
import { Program } from "./_program.ts";
import { bundle, findBun, findNode, TemporaryFolder } from "./_runtimes.ts";
import { TestServer, within } from "./_server.ts";

const PATIENCE = 30_000;
const MESSAGES = ["", "hello", "你好", textOf(200_000), bytesOf(1_000_000)];

let code: Promise<string> | undefined;

for (
  const [name, runtime] of [
    ["Node", await findNode()],
    ["Bun", await findBun()],
  ] as const
) {
  const why = runtime.missing === undefined ? "" : ` (${runtime.missing})`;
  const nodeTest = (
    what: string,
    fn: (run: (...args: string[]) => Program) => Promise<void>,
  ): void => {
    Deno.test({
      name: `${name}: ${what}${why}`,
      ignore: runtime.missing !== undefined,
      fn: async () => {
        await using folder = await TemporaryFolder.create({
          "echo.mjs": await (code ??= bundle("examples/node/echo.ts")),
        });
        await fn((...args) =>
          new Program(runtime.path!, [`${folder.path}/echo.mjs`, ...args])
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
