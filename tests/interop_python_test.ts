/** Our client and server against Python's `websockets`. */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { connect } from "../connect.ts";
import { permessageDeflate } from "../deflate.ts";
import { bounded } from "./_connection.ts";
import { isInstalled } from "./_installed.ts";
import {
  bytesOf,
  CLOSES,
  isSame,
  LENGTHS,
  OurServer,
  textOf,
} from "./_interop.ts";

const SCRIPT = fileURLToPath(
  new URL("_websockets_peer.py", import.meta.url),
);

/** A Python that has the package; Debian's may be hidden behind another. */
async function findPython(): Promise<string | undefined> {
  for (const command of ["python3", "/usr/bin/python3"]) {
    if (await isInstalled(command, "-c", "import websockets")) return command;
  }
  return undefined;
}

const python = await findPython();

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({
    name: name + (python ? "" : " (needs Python's websockets)"),
    ignore: python === undefined,
    fn: bounded(fn, 60_000),
  });
}

for (const deflate of [false, true]) {
  const extensions = deflate ? [permessageDeflate()] : [];
  const behind = deflate ? ", with permessage-deflate" : "";

  test(`Python as client: messages, fragments, pings, close codes${behind}`, async () => {
    const options = { protocols: ["b"], extensions };
    await using server = new OurServer(options, async (ws) => {
      assertEquals(ws.extension !== undefined, deflate);
      await ws.forEach((message) => {
        const close = typeof message === "string" &&
          /^close (\d+) (.*)$/.exec(message);
        if (!close) return ws.send(message);
        ws.close(Number(close[1]), close[2]);
      }).catch(() => {});
    });
    const { code, stderr } = await new Deno.Command(python!, {
      args: [SCRIPT, "client", server.url, ...LENGTHS.map(String)],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    assertEquals(new TextDecoder().decode(stderr), "");
    assertEquals(code, 0);
    const codes = server.ended.map(({ code, wasClean }) => [code, wasClean]);
    assertEquals(codes, [[3000, true], [4999, true]]);
  });

  test(`Python as server: messages, fragments, pings, close codes${behind}`, async () => {
    const process = new Deno.Command(python!, {
      args: [SCRIPT, "server"],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    try {
      const lines = process.stdout.pipeThrough(new TextDecoderStream());
      const reader = lines.getReader();
      const port = Number((await reader.read()).value);
      const url = `ws://127.0.0.1:${port}/`;
      const ws = await connect(url, { protocols: ["a", "b"], extensions });
      assertEquals(ws.protocol, "b");
      assertEquals(ws.extension !== undefined, deflate);
      for (const length of LENGTHS) {
        for (const data of [bytesOf(length), textOf(length)]) {
          const [back] = await Promise.all([ws.receive(), ws.send(data)]);
          assert(isSame(back, data), `${length}`);
        }
      }
      assert(await ws.ping() >= 0);
      const pong = ws.receive();
      await ws.sendStream(["pi", "", "ng"]);
      assertEquals(await pong, "pong");
      assertEquals(await ws.close(3000, "bye"), {
        code: 3000,
        reason: "bye",
        wasClean: true,
      });
      for (const [code, reason] of CLOSES) {
        const other = await connect(url, { extensions });
        await other.send(`close ${code} ${reason}`);
        assertEquals(await other.closed, { code, reason, wasClean: true });
      }
      await process.stdin.close();
      await reader.cancel();
    } finally {
      try {
        process.kill();
      } catch {
        // It has ended already.
      }
      await process.status;
    }
  });
}
