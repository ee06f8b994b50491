/** What holds for the options of all functions. */
import { assert, assertEquals } from "@std/assert";
import { permessageDeflate } from "../deflate.ts";
import { encodeFrame, Opcode } from "../frame.ts";
import { Hub } from "../hub.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { duplexPair } from "../testing.ts";
import { open } from "./_connection.ts";

const root = new URL("../", import.meta.url);

Deno.test("what may be left out of options may be undefined, so that options can be passed on", async () => {
  const wrong: string[] = [];
  let members = 0;
  for await (const { name } of Deno.readDir(root)) {
    if (!name.endsWith(".ts")) continue;
    const source = await Deno.readTextFile(new URL(name, root));
    const interfaces = source.matchAll(
      /^export interface (\w*(?:Options|Init|Rules|Head))\b[^]*?^}/gm,
    );
    for (const [text, options] of interfaces) {
      const code = text.replaceAll(/^ *\/\*\*[^]*?\*\/$/gm, "");
      for (
        const [, member, type] of code.matchAll(
          /^ {2}(?:readonly )?(\w+)\?(?:: ?)?([^;]*);/gm,
        )
      ) {
        members++;
        if (!type!.endsWith("| undefined")) {
          wrong.push(`${name}: ${options}.${member}`);
        }
      }
    }
  }
  assertEquals(wrong, []);
  assert(members > 50, `${members} members`);
});

Deno.test("what is undefined is as if it were left out", async () => {
  const given = { highWaterMark: undefined, heartbeatInterval: undefined };
  const { ws } = open({ ...given, maxMessageSize: undefined });
  ws.terminate();
  await new Hub({ slowThreshold: undefined, slowPolicy: undefined }).close();
  const extension = permessageDeflate({ memLevel: undefined, level: undefined })
    .accept([["client_max_window_bits", undefined]]);
  const protocol = new WebSocketProtocol({
    role: "server",
    textAs: undefined,
    inPlace: undefined,
    extension,
  });
  protocol.sendText("Hello", { compress: undefined });
  const payload = new TextEncoder().encode("Hello");
  const frame = { fin: undefined, reservedBits: undefined, payload };
  assertEquals(
    protocol.takeOutput(),
    encodeFrame({ opcode: Opcode.Text, ...frame }),
  );
  const [here, there] = duplexPair({ capacity: undefined, segment: undefined });
  assertEquals(await here.write(payload), 5);
  assertEquals(there.unread, 5);
});
