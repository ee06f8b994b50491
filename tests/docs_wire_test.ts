/** The bytes of docs/wire.md, made and read again. */
import { assert, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { permessageDeflate } from "../deflate.ts";
import {
  acceptUpgrade,
  decodeFrame,
  decodeFrameHeader,
  encodeFrame,
  encodeFrameHeader,
  Opcode,
  parseRequestHead,
  readUpgrade,
  WebSocketProtocol,
} from "../mod.ts";
import { type CodeBlock, codeBlocks, tableRows } from "./_markdown.ts";
import { concat, utf8 } from "./_bytes.ts";

const text = await Deno.readTextFile(
  new URL("../docs/wire.md", import.meta.url),
);
const blocks = codeBlocks("docs/wire.md", text);

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  const pairs = hex.trim() === "" ? [] : hex.trim().split(/ +/);
  return Uint8Array.from(pairs, (pair) => {
    assert(/^[0-9a-f]{2}$/.test(pair), `[${pair}] in [${hex}]`);
    return parseInt(pair, 16);
  });
}

/** The bytes in backticks of a table's cell. */
function cell(content: string | undefined): Uint8Array<ArrayBuffer> {
  return bytesOf(/^`([0-9a-f ]+)`/.exec(content ?? "")?.[1] ?? "no bytes");
}

/** The frame that a block draws; each of its lines has to be explained. */
function frameOf(block: CodeBlock): Uint8Array<ArrayBuffer> {
  const lines = block.code.trimEnd().split("\n").map((line) => {
    const [, hex, why] = /^((?:[0-9a-f]{2} )+) *(\S.*)$/.exec(line) ?? [];
    assert(hex !== undefined && why !== undefined, `${block.line}: [${line}]`);
    return bytesOf(hex);
  });
  return concat(...lines);
}

function headOf(side: string): Uint8Array<ArrayBuffer> {
  const block = blocks.find(({ words }) => words.join(" ") === `http ${side}`);
  return utf8(`${block!.code.trimEnd().replaceAll("\n", "\r\n")}\r\n\r\n`);
}

/** Frames in the order in which they stand there. */
function frames(
  mark: string,
): { side: string; bytes: Uint8Array<ArrayBuffer> }[] {
  return blocks.filter(({ words: [language, , what = ""] }) =>
    language === "bytes" && what === mark
  ).map((block) => ({ side: block.words[1]!, bytes: frameOf(block) }));
}

Deno.test("wire.md: the answer is what this library gives to the request", () => {
  const request = headOf("client");
  assert(text.includes(`These are ${request.length} bytes`));
  const head = parseRequestHead(request)!;
  const upgrade = readUpgrade(head);
  assertEquals(upgrade.target, "/chat");
  assertEquals(acceptUpgrade(upgrade, { protocol: "chat" }), headOf("server"));
  const named = tableRows(text, ["line", "what it says", "§"])
    .map(({ line }) => line!.replaceAll("`", "").split(":")[0]);
  const lines = new TextDecoder().decode(request).trimEnd().split("\r\n");
  assertEquals(named, lines.map((line) => line.split(":")[0]));
  const key = Uint8Array.fromBase64(upgrade.key);
  assert(text.includes(`\`${hex(key)}\``), hex(key));
});

Deno.test("wire.md: the accept key is made step by step", () => {
  const [whole, sha1, base64] = tableRows(text, ["step", "result"])
    .map(({ result }) => result!.replaceAll("`", ""));
  const digest = createHash("sha1").update(whole!).digest();
  assertEquals(hex(digest), sha1);
  assertEquals(digest.toString("base64"), base64);
  assert(new TextDecoder().decode(headOf("server")).includes(`${base64}\r\n`));
});

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (it) => it.toString(16).padStart(2, "0")).join(" ");
}

Deno.test("wire.md: the frames are those of a server, and what it answers", () => {
  const server = new WebSocketProtocol({ role: "server" });
  const client = new WebSocketProtocol({ role: "client" });
  const told: string[] = [];
  const tell = (who: string, protocol: WebSocketProtocol) => {
    for (const event of protocol) {
      const data = "data" in event
        ? event.data
        : `${event.code} ${event.reason}`;
      told.push(
        `${who} ${event.type} ${
          typeof data === "string" ? data : new TextDecoder().decode(data)
        }`,
      );
    }
  };
  for (const { side, bytes } of frames("")) {
    const { frame, byteLength } = decodeFrame(bytes)!;
    assertEquals(byteLength, bytes.length, "one frame a block");
    assertEquals(encodeFrame(frame), bytes);
    const { opcode, payload, fin } = frame;
    if (side === "client") {
      tell("server", (server.receive(bytes), server));
      continue;
    }
    const words = new TextDecoder().decode(payload);
    if (opcode === Opcode.Ping) server.ping(payload);
    else if (opcode === Opcode.Text && fin) server.sendText(words);
    else if (opcode !== Opcode.Close) {
      server.sendFragment("text", words, { fin });
    }
    assertEquals(server.takeOutput(), bytes);
    tell("client", (client.receive(bytes), client));
  }
  assertEquals(told, [
    "server text Hello",
    "client text 你好",
    "client ping Hello",
    "client text Hello",
    "server pong Hello",
    "server close 1000 Bye",
    "client close 1000 ",
  ]);
  assertEquals(server.transport, "close");
});

Deno.test("wire.md: compressed frames are those of RFC 7692", () => {
  const deflate = permessageDeflate({ threshold: 0 });
  const extension = deflate.accept([])!;
  const server = new WebSocketProtocol({ role: "server", extension });
  const client = new WebSocketProtocol({
    role: "client",
    extension: deflate.confirm(extension.parameters),
  });
  const made = frames("deflate").map(({ bytes }) => {
    server.sendText("Hello");
    assertEquals(server.takeOutput(), bytes);
    return [...client.receive(bytes)].map((event) =>
      "data" in event && event.data
    );
  });
  assertEquals(made, [["Hello"], ["Hello"]]);
});

Deno.test("wire.md: the tables hold", () => {
  const lengths = tableRows(text, ["payload", "first bytes"]);
  assertEquals(lengths.length, 5);
  for (const row of lengths) {
    const payloadLength = Number(row.payload);
    const bytes = cell(row["first bytes"]);
    const header = { opcode: Opcode.Binary, payloadLength };
    assertEquals(encodeFrameHeader(header), bytes);
    assertEquals(decodeFrameHeader(bytes)?.payloadLength, payloadLength);
  }

  const masked = tableRows(text, ["i", "payload", "key", "on the wire"]);
  const first = frames("")[0]!.bytes;
  masked.forEach((row, i) => {
    const [payload, key, wire] = [row.payload, row.key, row["on the wire"]]
      .map((it) => cell(it)[0]!);
    assertEquals(payload! ^ key!, wire);
    assertEquals([key, wire], [first[2 + i % 4], first[6 + i]]);
    assertEquals(row.payload!.slice(-2, -1), String.fromCharCode(payload!));
  });
  assertEquals(masked.length, 5);
});

Deno.test("wire.md: what is wrong is answered so", () => {
  const rows = tableRows(text, ["bytes from a client", "Close frame"]);
  assert(rows.length >= 10);
  for (const row of rows) {
    const server = new WebSocketProtocol({ role: "server" });
    const bytes = cell(row["bytes from a client"]);
    const [closed] = [...server.receive(bytes)];
    assert(closed?.type === "close", row.why);
    assertEquals(`${closed.code}`, row["Close frame"], row.why);
    const { payload } = decodeFrame(concat(server.takeOutput()!))!.frame;
    assertEquals(payload[0]! << 8 | payload[1]!, closed.code);
  }
});
