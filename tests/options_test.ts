/** What holds for the options of all functions. */
import { assert, assertEquals } from "@std/assert";
import { connect } from "../connect.ts";
import type { Duplex } from "../connection.ts";
import { permessageDeflate } from "../deflate.ts";
import { encodeFrame, Opcode } from "../frame.ts";
import { Hub } from "../hub.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { serve } from "../serve.ts";
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

Deno.test("an option that is undefined counts as left out", async () => {
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

Deno.test("sizes and numbers take Infinity, and times 0, as docs/options.md says", async () => {
  const endless = {
    maxMessageSize: Infinity,
    maxFragments: Infinity,
    highWaterMark: Infinity,
    maxBufferedAmount: Infinity,
    maxReadAhead: Infinity,
    maxReadAheadMessages: Infinity,
    maxHeadSize: Infinity,
    maxHeaders: Infinity,
    maxConnections: Infinity,
    maxConnectionsPerAddress: Infinity,
    maxBodySize: Infinity,
    heartbeatInterval: 0,
    heartbeatTimeout: 0,
    closeTimeout: 0,
    idleTimeout: 0,
    handshakeTimeout: 0,
    keepAliveTimeout: 0,
  };
  const extensions = [permessageDeflate({
    threshold: Infinity,
    maxContexts: Infinity,
    maxUnfinished: Infinity,
  })];
  const { promise: connected, resolve } = Promise.withResolvers<Duplex>();
  let isAccepted = false;
  const server = serve({
    accept: () => {
      if (isAccepted) return new Promise(() => {});
      isAccepted = true;
      return connected;
    },
    close: () => {},
  }, {
    ...endless,
    extensions,
    onConnection: (ws) => ws.forEach((message) => ws.send(message)),
  });
  const [here, there] = duplexPair({ capacity: Infinity });
  resolve(here);
  const options = { ...endless, extensions, dial: () => there };
  const ws = await connect("ws://test/", options);
  const hub = new Hub({ slowThreshold: Infinity });
  hub.subscribe("tea", ws);
  assertEquals(hub.publish("tea", "Hello").sent, 1);
  assertEquals(await ws.receive(), "Hello");
  assertEquals((await ws.close()).wasClean, true);
  await hub.close();

  const table = await Deno.readTextFile(new URL("docs/options.md", root));
  const numbers = table.matchAll(
    /^\| `(\w+)` +\| `(?:Message|Connection|Serve|Handshake|ParseHead)\w+` +\|.*\| (?:bytes|ms|fields|frames|messages|connections) +\|/gm,
  );
  assertEquals(
    Array.from(numbers, ([, name = ""]) => name).sort(),
    Object.keys(endless).sort(),
  );
  server.shutdown({ timeout: 0 });
});
