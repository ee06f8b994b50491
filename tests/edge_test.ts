/** examples/edge on Cloudflare's runtime, between a client and a server of ours. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { connect } from "../connect.ts";
import { permessageDeflate } from "../deflate.ts";
import { HandshakeError } from "../handshake.ts";
import { bytesOf, textOf } from "./_interop.ts";
import { bundle, findWorkerd, TemporaryFolder, Workerd } from "./_runtimes.ts";
import { TestServer, within } from "./_server.ts";

const PATIENCE = 30_000;

const CONFIGURATION = new URL("../examples/edge/config.capnp", import.meta.url);

const workerd = await findWorkerd();
const why = workerd.missing === undefined ? "" : ` (${workerd.missing})`;

/** Runs the example, with a server of ours behind it that sends all back. */
async function withGateway(
  act: (host: string, heads: Headers[], t: Deno.TestContext) => Promise<void>,
  t: Deno.TestContext,
): Promise<void> {
  const heads: Headers[] = [];
  await using server = new TestServer({
    extensions: [permessageDeflate()],
    onRequest: ({ headers }) => {
      heads.push(headers);
      if (headers.get("x-token") !== "secret") {
        throw new HandshakeError("Who are you", { status: 401 });
      }
    },
  });
  await using folder = await TemporaryFolder.create({
    "worker.js": await bundle("examples/edge/worker.ts", {
      external: ["cloudflare:sockets", "@std/crypto"],
    }),
    "config.capnp": await Deno.readTextFile(CONFIGURATION),
  });
  await using gateway = await Workerd.start(
    workerd.path!,
    `${folder.path}/config.capnp`,
    { SERVER: server.url, TOKEN: "secret" },
  );
  await act(gateway.host, heads, t);
  assertEquals(server.errors, []);
}

function edgeTest(
  name: string,
  act: (host: string, heads: Headers[], t: Deno.TestContext) => Promise<void>,
): void {
  Deno.test({
    name: `${name}${why}`,
    ignore: workerd.missing !== undefined,
    fn: (t) => withGateway(act, t),
  });
}

edgeTest(
  "a worker dials our server over TCP, with all it has",
  async (host, heads, t) => {
    await t.step("a message there and back", async () => {
      const response = await within(
        fetch(`http://${host}/?say=hello`),
        PATIENCE,
      );
      assertEquals(await response.text(), "hello");
      assertEquals(response.status, 200);
    });

    await t.step("with its header fields, and compressed", async () => {
      const response = await within(fetch(`http://${host}/`), PATIENCE);
      assertEquals(response.headers.get("x-compressed"), "true");
      await response.body?.cancel();
      const head = heads.at(-1)!;
      assertEquals(head.get("x-token"), "secret");
      assertEquals(head.get("x-forwarded-for"), "unknown");
      assertStringIncludes(
        head.get("sec-websocket-extensions") ?? "",
        "permessage-deflate",
      );
    });

    await t.step("client, worker, server and back", async () => {
      await using ws = await connect(`ws://${host}/`, {
        protocols: ["a", "chat"],
      });
      assertEquals(ws.protocol, "chat");
      for (
        const message of ["", "hello", "你好", textOf(70_000), bytesOf(300_000)]
      ) {
        await ws.send(message);
        assertEquals(await within(ws.receive(), PATIENCE), message);
      }
    });

    await t.step("handshake.ts refuses a page of another origin", async () => {
      let refused: unknown;
      try {
        await connect(`ws://${host}/`, { origin: "https://evil.example" });
      } catch (error) {
        refused = error;
      }
      assertEquals((refused as HandshakeError).status, 403);
      await using ws = await connect(`ws://${host}/`, {
        origin: `http://${host}`,
      });
      await ws.send("allowed");
      assertEquals(await within(ws.receive(), PATIENCE), "allowed");
    });
  },
);

Deno.test({
  name: `in a worker, no timer goes with another's request${why}`,
  ignore: workerd.missing !== undefined,
  fn: async () => {
    await using folder = await TemporaryFolder.create({
      "worker.js": await bundle("tests/_waiting_worker.ts"),
      "config.capnp": await Deno.readTextFile(CONFIGURATION),
    });
    await using worker = await Workerd.start(
      workerd.path!,
      `${folder.path}/config.capnp`,
    );
    const ask = async (path: string): Promise<string> => {
      const response = await fetch(`http://${worker.host}${path}`);
      return await response.text();
    };
    // All would have one timer, of a request that is over before it is due.
    assertEquals(await within(ask("/leave"), PATIENCE), "left");
    const others = Array.from({ length: 5 }, () => ask("/"));
    const answers = await within(Promise.all(others), PATIENCE);
    assertEquals(answers, Array(5).fill("waited"));
  },
});
