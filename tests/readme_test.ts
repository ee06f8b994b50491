/** The code of README.md, run as it stands there. */

import { assert, assertEquals } from "@std/assert";

const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
const root = new URL("../", import.meta.url);

/** The code block that is marked with the word, with one thing replaced. */
async function block(word: string, old: string, by: string): Promise<string> {
  const readme = await Deno.readTextFile(new URL("README.md", root));
  const code = readme.split(`\`\`\`ts ${word}\n`)[1]?.split("```")[0];
  assert(code !== undefined && code.includes(old), `No block "${word}"`);
  return code.replace(old, by);
}

function run(code: string): Deno.ChildProcess {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", `--config=${config}`, "--allow-net", "-"],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  writer.write(new TextEncoder().encode(code)).then(() => writer.close());
  return child;
}

Deno.test("README.md: the client gets its message back from the server", async () => {
  await using stack = new AsyncDisposableStack();
  const listening =
    `const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(listener.addr.port);
`;
  const server = stack.use(run(
    listening + await block(
      "server",
      `Deno.listen({ hostname: "127.0.0.1", port: 8000 })`,
      "listener",
    ),
  ));
  const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await reader.read();
  stack.defer(() => reader.cancel());
  const client = stack.use(run(await block("client", "8000", value!.trim())));
  const { stdout } = await client.output();
  assertEquals(new TextDecoder().decode(stdout), "你好\n");
});
