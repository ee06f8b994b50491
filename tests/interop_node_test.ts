/** Our server against the WebSocket that is built into Node (undici's). */
import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { bounded } from "./_connection.ts";
import { isInstalled } from "./_installed.ts";
import { LENGTHS, OurServer } from "./_interop.ts";

const SCRIPT = new URL("_undici_client.mjs", import.meta.url);

// `deno task` has a `node` of its own for those who have none: Deno itself.
const hasNode = await isInstalled(
  "node",
  "--experimental-websocket",
  "-e",
  "WebSocket; process.exit(process.versions.deno ? 1 : 0)",
);

Deno.test({
  name: "Node as client: messages of every boundary length, and close codes" +
    (hasNode ? "" : " (needs Node with a WebSocket)"),
  ignore: !hasNode,
  fn: bounded(async () => {
    await using server = new OurServer({ protocols: ["b"] }, async (ws) => {
      await ws.forEach((message) => {
        const close = typeof message === "string" &&
          /^close (\d+) (.*)$/.exec(message);
        if (!close) return ws.send(message);
        ws.close(Number(close[1]), close[2]);
      });
    });
    const { code, stderr } = await new Deno.Command("node", {
      args: [
        "--experimental-websocket",
        fileURLToPath(SCRIPT),
        server.url,
        ...LENGTHS.map(String),
      ],
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    assertEquals(
      { code, stderr: code === 0 ? "" : new TextDecoder().decode(stderr) },
      { code: 0, stderr: "" },
    );
    const codes = server.ended.map(({ code, wasClean }) => [code, wasClean]);
    assertEquals(codes, [[3000, true], [4999, true], [1005, true]]);
  }, 60_000),
});
