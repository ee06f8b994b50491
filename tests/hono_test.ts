/** An app of npm `hono` on serve.ts: pages and WebSockets at one port. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { connect } from "../connect.ts";
import { HandshakeError } from "../handshake.ts";
import { rooms } from "../examples/recipes/with_hono.ts";
import { TestServer, within } from "./_server.ts";
import { startServer } from "./_task.ts";

Deno.test("hono answers requests, and WebSockets are at the same port", async () => {
  await using server = new TestServer(rooms());
  const origin = `http://127.0.0.1:${server.port}`;

  const page = await fetch(`${origin}/rooms/blue`);
  assertEquals(page.status, 200);
  assertStringIncludes(page.headers.get("content-type") ?? "", "text/html");
  assertEquals(await page.text(), "<h1>blue</h1>");

  const missing = await fetch(`${origin}/nothing`);
  assertEquals([missing.status, await missing.text()], [404, "404 Not Found"]);
  const refused = await assertRejects(
    () => connect(`${server.url}nothing`),
    HandshakeError,
  );
  assertEquals(refused.status, 404);
  const [told] = server.errors;
  assertEquals(
    (told as Error).message,
    "There is no such room, got [/nothing]",
  );

  await using blue = await connect(`${server.url}rooms/blue`);
  await using red = await connect(`${server.url}rooms/red`);
  await blue.send("said by one");
  assertEquals(await within(blue.receive()), "said by one");
  await red.send("said elsewhere");
  assertEquals(await within(red.receive()), "said elsewhere");

  // What is posted to the app reaches those who are in the room.
  const body = "你好";
  const posted = await fetch(`${origin}/rooms/blue`, { method: "POST", body });
  assertEquals(await posted.json(), { reached: 1 });
  assertEquals(await within(blue.receive()), body);
  assertEquals(server.errors.length, 1); // who was refused
});

Deno.test("hono needs no permission but for its port", async () => {
  const { program, port } = await startServer("recipe:hono");
  await using _ = program;
  await using red = await connect(`ws://127.0.0.1:${port}/rooms/red`);
  await red.send("first"); // it is in the room when this comes back
  assertEquals(await within(red.receive()), "first");
  const posted = await fetch(`http://127.0.0.1:${port}/rooms/red`, {
    method: "POST",
    body: "second",
  });
  assertEquals(await posted.json(), { reached: 1 });
  assertEquals(await within(red.receive()), "second");
});
