/** What docs/runtimes.md tells users of `Deno.serve`, run as it stands there. */
import { assert, assertEquals } from "@std/assert";
import { connect } from "../connect.ts";
import { Program } from "./_program.ts";
import { Client, upgrade, within } from "./_server.ts";

const ROOT = new URL("../", import.meta.url);
const CONFIG = Deno.env.get("DENO_TASK_CONFIG") || "deno.json";

/** The block of code that is marked "serve", at a free port. */
async function readBlock(): Promise<string> {
  const page = await Deno.readTextFile(new URL("docs/runtimes.md", ROOT));
  const [, indented] = /^ *```ts serve\n([^]*?)^ *```$/m.exec(page) ?? [];
  assert(indented !== undefined, "docs/runtimes.md has no such block");
  const code = indented.replaceAll(/^ {2}/gm, "");
  const anywhere = "Deno.serve((request) => {";
  assert(code.includes(anywhere));
  return code.replace(
    anywhere,
    `Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      onListen: ({ port }) => console.log(\`At \${port}\`),
    }, (request) => {`,
  );
}

Deno.test("docs/runtimes.md: a handler of Deno.serve judges by handshake.ts", async () => {
  const code = await readBlock();
  await using program = new Program(Deno.execPath(), [
    "run",
    `--config=${CONFIG}`,
    "--no-prompt",
    "--allow-net=127.0.0.1",
    "--ext=ts",
    "-",
  ], "piped");
  await program.type(code);
  await program.endInput();
  const [, port] = await program.expect(/^At (\d+)$/m);
  const host = `127.0.0.1:${port}`;

  const page = await fetch(`http://${host}/`);
  assertEquals(await page.text(), "A page\n");

  for (const origin of [undefined, `http://${host}`]) {
    const ws = await connect(`ws://${host}/`, {
      protocols: ["other", "chat"],
      ...(origin === undefined ? {} : { origin }),
    });
    assertEquals(ws.protocol, "chat");
    await ws.send("hello");
    assertEquals(await within(ws.receive()), "hello");
    assertEquals((await within(ws.close())).wasClean, true);
  }
  const ws = await connect(`ws://${host}/`);
  assertEquals(ws.protocol, undefined);
  await ws.close();

  /** The answer to a request, with parts of it replaced. */
  const ask = async (old: string | RegExp, by: string) => {
    const request = upgrade().replace("localhost", host);
    using client = new Client(
      await Deno.connect({ hostname: "127.0.0.1", port: Number(port) }),
    );
    assert(request.search(old) >= 0, `${old}`);
    await client.write(request.replace(old, by));
    return await client.readHead();
  };
  assertEquals((await ask("GET", "GET")).status, 101);
  const { status, headers } = await ask("Version: 13", "Version: 12");
  assertEquals([status, headers.get("sec-websocket-version")], [426, "13"]);
  assertEquals((await ask("dGhl", "")).status, 400);
  const posted = await ask("GET", "POST");
  assertEquals([posted.status, posted.headers.get("allow")], [405, "GET"]);
  const evil = "Origin: https://evil.example\r\nUpgrade:";
  assertEquals((await ask("Upgrade:", evil)).status, 403);
});
