/** The loop of `examples/server_loop.ts`. */
import { connect as connectTcp, type Socket } from "node:net";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { connect } from "../connect.ts";
import { encodeFrame, Opcode } from "../frame.ts";
import { HandshakeError } from "../handshake.ts";
import { serveLoop } from "../examples/server_loop.ts";
import { concat, pattern, utf8 } from "./_bytes.ts";
import { rejection } from "./_connection.ts";
import { Client, request, upgrade, within } from "./_server.ts";

/** Serves while the test runs, and waits for the end of the loop. */
async function serving(
  test: (port: number) => Promise<void>,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = serveLoop(listener);
  try {
    await test(listener.addr.port);
  } finally {
    listener.close();
    await within(served);
  }
}

async function dial(port: number): Promise<Client> {
  return new Client(await Deno.connect({ hostname: "127.0.0.1", port }));
}

/** A connection that can be reset. */
async function dialToReset(port: number): Promise<Socket> {
  const socket = connectTcp(port, "127.0.0.1");
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("connect", resolve));
  return socket;
}

Deno.test("the loop echoes what it gets, whatever its length, and closes as it should", () =>
  serving(async (port) => {
    const ws = await connect(`ws://127.0.0.1:${port}/`);
    for (const length of [0, 125, 126, 65535, 65536, 300_000]) {
      const data = pattern(length);
      const [back] = await Promise.all([
        within(ws.receive()),
        ws.send(data),
      ]);
      assertEquals(back, data);
    }
    await ws.send("你好");
    assertEquals(await within(ws.receive()), "你好");
    const { code, wasClean } = await within(ws.close());
    assertEquals([code, wasClean], [1000, true]);
  }));

Deno.test("the loop takes a request byte by byte, and frames that come with it", () =>
  serving(async (port) => {
    const payload = utf8("Hello");
    const sent = encodeFrame({ opcode: Opcode.Text, payload, maskingKey: 7 });
    const bytes = concat(utf8(upgrade()), sent);
    for (const size of [1, bytes.length]) {
      using client = await dial(port);
      for (let i = 0; i < bytes.length; i += size) {
        await client.write(bytes.slice(i, i + size));
      }
      assertEquals((await client.readHead()).status, 101);
      const echo = encodeFrame({ opcode: Opcode.Text, payload });
      assertEquals(await client.read(echo.length), echo);
    }
  }));

Deno.test("the loop refuses what is no request of its pages, and serves the next", () =>
  serving(async (port) => {
    for (
      const [bytes, status] of [
        [request("GET /"), 426],
        [upgrade("/", "Origin: https://evil.example"), 403],
        [`GET /${"x".repeat(16_379)}`, 431], // as much as is read,
        ["\0", 400],
      ] as const
    ) {
      using client = await dial(port);
      await client.write(bytes);
      assertEquals((await client.readHead()).status, status);
    }
    using gone = await dial(port);
    await gone.write("GET");
    await (gone.conn as Deno.TcpConn).closeWrite();
    assertEquals(await gone.readToEnd(), "");
    const error = await rejection(
      connect(`ws://127.0.0.1:${port}/`, { origin: "https://evil.example" }),
    );
    assertInstanceOf(error, HandshakeError);
    await using ws = await connect(`ws://127.0.0.1:${port}/`);
    await ws.send("still there");
    assertEquals(await within(ws.receive()), "still there");
  }));

Deno.test("the loop answers a fault with its close code", () =>
  serving(async (port) => {
    using client = await dial(port);
    await client.write(upgrade());
    await client.readHead();
    await client.write(encodeFrame({ opcode: Opcode.Text })); // not masked
    const start = await client.read(4);
    assertEquals([start[0], start[2]! << 8 | start[3]!], [0x88, 1002]);
    assert((await client.readToEnd()).length > 0);
  }));

Deno.test("the loop says nothing of those who hang up", async () => {
  const said: unknown[] = [];
  const { error } = console;
  console.error = (...what) => said.push(what);
  try {
    await serving(async (port) => {
      for (const bytes of ["GET / HT", upgrade()]) {
        const socket = await dialToReset(port);
        const answered = new Promise((resolve) => socket.once("data", resolve));
        await new Promise((resolve) => socket.write(bytes, resolve));
        if (bytes === upgrade()) await within(answered);
        socket.resetAndDestroy();
      }
      await using ws = await connect(`ws://127.0.0.1:${port}/`);
      await ws.send("still there");
      assertEquals(await within(ws.receive()), "still there");
    });
  } finally {
    console.error = error;
  }
  assertEquals(said, []);
});
