/** The tour without a browser: its wiretap, its reports, its pages. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { connect, type WebSocketConnection } from "../mod.ts";
import { permessageDeflate } from "../deflate.ts";
import type { Extension, NegotiatedExtension } from "../extension.ts";
import { encodeClosePayload, encodeFrame, Opcode, RSV1 } from "../frame.ts";
import { readPages } from "../examples/tour/pages.ts";
import { checkOrigin, Visits } from "../examples/tour/visits.ts";
import { FrameCutter, Wiretap } from "../examples/tour/wiretap.ts";
import { concat, pattern, utf8 } from "./_bytes.ts";
import { request, TestServer, upgrade, within } from "./_server.ts";

const ID = "0123456789abcdef0123456789abcdef";
const KEEP = 16;

function tour(): TestServer {
  const visits = new Visits();
  return new TestServer({
    handler: () => new Response("A page"),
    origins: ["*"],
    onRequest: checkOrigin,
    onConnection: (ws) => visits.serve(ws),
    extensions: [permessageDeflate({ threshold: 0 })],
    tap: (conn) =>
      new Wiretap(conn, {
        keep: KEEP,
        extensions: [permessageDeflate({ threshold: 0 })],
        onUpgrade: (handshake) => visits.find(handshake),
      }),
  });
}

// deno-lint-ignore no-explicit-any
type Report = Record<string, any>;

async function nextReport(
  inspector: WebSocketConnection,
  isIt: (report: Report) => boolean,
): Promise<Report> {
  for (;;) {
    const report = JSON.parse(await within(inspector.receive()) as string);
    if (isIt(report)) return report;
  }
}

async function inspect(server: TestServer): Promise<WebSocketConnection> {
  const inspector = await connect(`${server.url}inspect/${ID}`);
  await nextReport(inspector, ({ type }) => type === "ready");
  return inspector;
}

Deno.test("a stream is cut into the same frames wherever it is split", () => {
  const frames = [
    encodeFrame({ opcode: Opcode.Text, payload: utf8("Hello") }),
    encodeFrame({ opcode: Opcode.Ping, maskingKey: 0x01020304 }),
    encodeFrame({
      opcode: Opcode.Binary,
      payload: pattern(200),
      maskingKey: 0xdeadbeef,
    }),
    encodeFrame({ opcode: Opcode.Close, payload: encodeClosePayload(1000) }),
  ];
  const stream = concat(...frames);
  const kept = frames.map((frame, i) => i === 2 ? frame.slice(0, 24) : frame);
  for (let at = 0; at <= stream.length; at++) {
    const seen: Uint8Array[] = [];
    const cutter = new FrameCutter(KEEP, undefined, (wire) => seen.push(wire));
    cutter.push(stream.subarray(0, at));
    cutter.push(stream.subarray(at));
    assertEquals(seen, kept, `split at ${at}`);
  }
  const seen: Uint8Array[] = [];
  const cutter = new FrameCutter(KEEP, undefined, (wire) => seen.push(wire));
  for (const byte of stream) cutter.push(new Uint8Array([byte]));
  assertEquals(seen, kept);
});

Deno.test("a stream that is no frames is not looked at any more", () => {
  const seen: Uint8Array[] = [];
  const cutter = new FrameCutter(KEEP, undefined, (wire) => seen.push(wire));
  cutter.push(new Uint8Array([0x81, 126, 0, 5]));
  cutter.push(encodeFrame({ opcode: Opcode.Text }));
  assertEquals(seen, []);
});

Deno.test("an inspector is told of the handshake and of every frame", async () => {
  await using server = tour();
  await using inspector = await inspect(server);
  await using ws = await connect(`${server.url}tour/${ID}`);
  const handshake = await nextReport(inspector, (it) => it.type !== "frame");
  assertEquals(handshake.type, "handshake");
  assertEquals(handshake.connection, 1);
  assertEquals(handshake.encoded, handshake.accept);
  assert(handshake.request.startsWith(`GET /tour/${ID} HTTP/1.1\r\n`));
  assert(handshake.request.includes(`${handshake.key}\r\n`));
  assert(handshake.request.endsWith("\r\n\r\n"));
  assert(handshake.response.endsWith("\r\n\r\n"));

  await ws.send("Hello");
  const up = await nextReport(inspector, ({ from }) => from === "client");
  assertMatch(up.wire, /^8185[0-9a-f]{18}$/);
  const down = await nextReport(
    inspector,
    ({ from, wire }) => from === "server" && !wire.includes(hexOf("progress")),
  );
  assertEquals(down.wire, "8105" + hexOf("Hello"));
});

const hexOf = (text: string): string => encodeHex(utf8(text));

Deno.test("what passes compressed is told in both forms, context and all", async () => {
  await using server = tour();
  await using inspector = await inspect(server);
  await using ws = await connect(`${server.url}tour/${ID}`, {
    extensions: [permessageDeflate({ threshold: 0 })],
  });
  const message = "All work and no play makes Jack a dull boy. ".repeat(9);
  for (let i = 0; i < 3; i++) {
    await ws.send(message);
    for (const from of ["client", "server"]) {
      const { inflated } = await nextReport(
        inspector,
        (it) => it.from === from && it.inflated?.length === message.length,
      );
      assertEquals(inflated.start, hexOf(message.slice(0, KEEP)));
    }
  }
});

Deno.test("to look into what passes lets others in", async () => {
  const deflate = permessageDeflate();
  const [offer = []] = deflate.offers();
  const agreed = deflate.accept(offer)!;
  const client = deflate.confirm(agreed.parameters);
  const field = "permessage-deflate; client_max_window_bits";
  const head = upgrade("/", `Sec-WebSocket-Extensions: ${field}`);
  const answer = "HTTP/1.1 101 Switching Protocols\r\n" +
    `Sec-WebSocket-Extensions: ${field}=12\r\n\r\n`;
  const bomb = encodeFrame({
    opcode: Opcode.Binary,
    reservedBits: RSV1,
    maskingKey: 0,
    payload: client.encode(new Uint8Array(16 * 1024 * 1024), true, true)!,
  });
  const reads = [utf8(head), concat(bomb, bomb, bomb, bomb)];
  const conn = {
    read(into: Uint8Array) {
      const bytes = reads.shift()!;
      into.set(bytes);
      return Promise.resolve(bytes.length);
    },
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
  };
  const lengths: (number | undefined)[] = [];
  const tap = new Wiretap(conn as unknown as Deno.Conn, {
    keep: KEEP,
    extensions: [deflate],
    onUpgrade: () => ({ inflated }) => lengths.push(inflated?.length),
  });
  const into = new Uint8Array(256 * 1024);
  await tap.read(into);
  await tap.write(utf8(answer));
  let turns = 0;
  const others = setInterval(() => turns++, 0);
  await tap.read(into);
  clearInterval(others);
  assertEquals(lengths, Array(4).fill(16 * 1024 * 1024));
  assert(turns >= 3, `${turns} turns`);
});

Deno.test("a wiretap gives back its decompressors when it is closed", async () => {
  const deflate = permessageDeflate();
  let disposed = 0;
  const counted = (agreed: NegotiatedExtension): NegotiatedExtension =>
    Object.assign(Object.create(agreed), {
      reservedBits: agreed.reservedBits,
      decode: agreed.decode.bind(agreed),
      dispose() {
        disposed++;
        agreed.dispose?.();
      },
    });
  const extension: Extension = {
    name: deflate.name,
    offers: () => deflate.offers(),
    accept: (offer) => counted(deflate.accept(offer)!),
    confirm: (response) => counted(deflate.confirm(response)),
  };
  const field = "Sec-WebSocket-Extensions: permessage-deflate";
  const begun = encodeFrame({
    opcode: Opcode.Text,
    fin: false,
    reservedBits: RSV1,
    maskingKey: 0,
    payload: new Uint8Array([0xf2]),
  });
  const conn = {
    read(into: Uint8Array) {
      const bytes = concat(utf8(upgrade("/", field)), begun);
      into.set(bytes);
      return Promise.resolve(bytes.length);
    },
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
    close() {},
  };
  const tap = new Wiretap(conn as unknown as Deno.Conn, {
    keep: KEEP,
    extensions: [extension],
    onUpgrade: () => () => {},
  });
  await tap.read(new Uint8Array(4096));
  await tap.write(
    utf8(`HTTP/1.1 101 Switching Protocols\r\n${field}\r\n\r\n`),
  );
  assertEquals(disposed, 0);
  tap.close();
  assertEquals(disposed, 2); // one for each direction
});

Deno.test("pages come first on a connection that becomes a WebSocket", async () => {
  await using server = tour();
  await using inspector = await inspect(server);
  using client = await server.dial();
  await client.write(request("GET /"));
  assertEquals((await client.readAnswer()).body, "A page");
  await client.write(upgrade(`/tour/${ID}`));
  assertEquals((await client.readHead()).status, 101);
  const { request: head } = await nextReport(
    inspector,
    ({ type }) => type === "handshake",
  );
  assertEquals(head, upgrade(`/tour/${ID}`));
});

Deno.test("the server pushes at once, and pings and closes when ordered", async () => {
  await using server = tour();
  await using inspector = await inspect(server);
  await using ws = await connect(`${server.url}tour/${ID}`);
  assertEquals(await within(ws.receive()), '{"progress":2,"of":100}');
  const pumping = ws.forEach(() => {});
  await inspector.send('{"do":"ping"}');
  const { milliseconds } = await nextReport(
    inspector,
    ({ type }) => type === "pong",
  );
  assert(milliseconds > 0);
  await inspector.send('{"do":"close","code":1006,"reason":""}');
  const { message } = await nextReport(
    inspector,
    ({ type }) => type === "refused",
  );
  assertMatch(message, /1006/);
  await inspector.send('{"do":"close","code":1001,"reason":"Enough"}');
  const closed = await nextReport(inspector, ({ type }) => type === "closed");
  assertEquals([closed.code, closed.wasClean], [1001, true]);
  await within(pumping);
  const { code, reason } = await ws.closed;
  assertEquals([code, reason], [1001, "Enough"]);
});

Deno.test("orders to ping wait for the pong of the first", async () => {
  await using server = tour();
  await using inspector = await inspect(server);
  using client = await server.dial();
  await client.write(upgrade(`/tour/${ID}`));
  await client.readHead();
  await inspector.send('{"do":"push","on":false}');
  for (let left = 100; left > 0; left--) await inspector.send('{"do":"ping"}');
  await inspector.send('{"do":"close","code":1006,"reason":""}');
  await nextReport(inspector, ({ type }) => type === "refused");
  const question = encodeFrame({ opcode: Opcode.Text, maskingKey: 0 });
  await client.write(question);
  let pings = 0;
  for (;;) {
    const [first, length] = await client.read(2);
    if (first === 0x81 && length === 0) break; // the echo
    if (first === 0x89) pings++;
    await client.read(length!);
  }
  assertEquals(pings, 1);
});

Deno.test("what is no order ends an inspection", async () => {
  for (const message of ["", "{", "null", '{"do":"eat"}', new Uint8Array(2)]) {
    await using server = tour();
    const inspector = await inspect(server);
    await inspector.send(message);
    assertEquals((await within(inspector.closed)).code, 1003);
  }
});

Deno.test("an id is inspected once, and toured only if it is inspected", async () => {
  await using server = tour();
  await using ws = await connect(`${server.url}tour/${ID}`);
  assertEquals((await within(ws.closed)).code, 1008);
  await using _inspector = await inspect(server);
  await using second = await connect(`${server.url}inspect/${ID}`);
  assertEquals((await within(second.closed)).code, 1008);
});

Deno.test("pages of other origins may talk to the echo, not to the tour", async () => {
  await using server = tour();
  for (const path of [`tour/${ID}`, `inspect/${ID}?deflate`]) {
    const origin = "Origin: https://example.com";
    const { status } = await server.ask(upgrade(`/${path}`, origin));
    assertEquals(status, 403, path);
  }
  const headers = { origin: "https://example.com" };
  await using ws = await connect(server.url, { headers });
  await ws.send("Hello");
  assertEquals(await within(ws.receive()), "Hello");
});

Deno.test("all other paths send back what they get", async () => {
  await using server = tour();
  for (const path of ["", "chat?a=b", "tour/nobody", `tour/${ID}/more`]) {
    await using ws = await connect(server.url + path);
    await ws.send("你好");
    assertEquals(await within(ws.receive()), "你好", path);
  }
});

Deno.test("the page and its decoder are served, and may do nothing else", async () => {
  const pages = await readPages();
  const get = (path: string, method = "GET") =>
    pages(new Request(`http://127.0.0.1${path}`, { method }));
  const page = get("/");
  const policy = page.headers.get("content-security-policy") ?? "";
  assertMatch(policy, /^default-src 'none'; script-src 'self' 'sha256-\S+'; /);
  assert(!policy.includes("unsafe"));
  const html = await page.text();
  const urls = Array.from(
    html.matchAll(/\b(?:src|href)="([^"]*)"/g),
    ([, url]) => url!,
  );
  const outside = urls.filter((url) =>
    !/^(data:|https:\/\/www\.rfc-editor\.org\/rfc\/)/.test(url)
  );
  assertEquals(outside, []);
  const decoder = await get("/frame.js").text();
  const module = await import(
    `data:text/javascript,${encodeURIComponent(decoder)}`
  );
  assertEquals(
    module.decodeFrameHeader(new Uint8Array([0x81, 5])).payloadLength,
    5,
  );
  assertEquals(get("/etc/passwd").status, 404);
  assertEquals(get("/", "POST").status, 405);
});
