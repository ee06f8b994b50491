/** examples/edge on Cloudflare's runtime, between a client and a server of ours. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { fileURLToPath } from "node:url";
import { connect } from "../connect.ts";
import type { CloseInfo } from "../protocol.ts";
import { permessageDeflate } from "../deflate.ts";
import {
  decodeFrameHeader,
  encodeFrame,
  type FrameHeader,
  Opcode,
} from "../frame.ts";
import {
  acceptKey,
  acceptUpgrade,
  HandshakeError,
  parseRequestHead,
  readUpgrade,
} from "../handshake.ts";
import { concat, utf8 } from "./_bytes.ts";
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import { masked } from "./_hostile.ts";
import { Tap } from "../examples/_tap.ts";
import { bytesOf, CLOSES, echo, OurServer, textOf } from "./_interop.ts";
import { bundle, findWorkerd, TemporaryFolder, Workerd } from "./_runtimes.ts";
import { Client, TestServer, upgrade, within } from "./_server.ts";

const PATIENCE = 30_000;

const ROOT = new URL("../", import.meta.url);
const CONFIGURATION = new URL("examples/edge/config.capnp", ROOT);

const workerd = await findWorkerd();
const why = workerd.missing === undefined ? "" : ` (${workerd.missing})`;

let isBundled: Promise<void> | undefined;

/** `deno task edge:bundle`, once. */
function bundleByTask(): Promise<void> {
  return isBundled ??= (async () => {
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "edge:bundle"],
      cwd: ROOT,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    assert(success, new TextDecoder().decode(stderr));
  })();
}

/** Starts the example, as the task has bundled it, for a server. */
async function startGateway(server: string): Promise<Workerd> {
  await bundleByTask();
  return await Workerd.start(
    workerd.path!,
    fileURLToPath(CONFIGURATION),
    { SERVER: server, TOKEN: "secret" },
  );
}

async function dial(gateway: Workerd): Promise<Client> {
  const [hostname = "", port] = gateway.host.split(":");
  return new Client(await Deno.connect({ hostname, port: Number(port) }));
}

function edgeTest(name: string, fn: (t: Deno.TestContext) => Promise<void>) {
  Deno.test({
    name: `${name}${why}`,
    ignore: workerd.missing !== undefined,
    fn,
  });
}

/** Keeps what a client sends behind its request. */
class ReadTap extends Tap {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  override async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    const length = await super.read(into);
    this.bytes = concat(this.bytes, into.subarray(0, length ?? 0));
    return length;
  }

  /** The first frame's header. */
  get header(): FrameHeader {
    const head = parseRequestHead(this.bytes);
    return decodeFrameHeader(this.bytes, head!.byteLength)!;
  }
}

edgeTest(
  "a worker dials our server over TCP, with all it has",
  async (t) => {
    const heads: Headers[] = [];
    const taps: ReadTap[] = [];
    await using server = new TestServer({
      tap: (conn) => {
        const tap = new ReadTap(conn);
        taps.push(tap);
        return tap;
      },
      extensions: [permessageDeflate()],
      onRequest: ({ headers }) => {
        heads.push(headers);
        if (headers.get("x-token") !== "secret") {
          throw new HandshakeError("Who are you", { status: 401 });
        }
      },
    });
    await using gateway = await startGateway(server.url);
    const { host } = gateway;

    await t.step("a message there and back", async () => {
      const response = await within(
        fetch(`http://${host}/?say=hello`),
        PATIENCE,
      );
      assertEquals(await response.text(), "hello");
      assertEquals(response.status, 200);
    });

    await t.step("with its header fields, and compressed", async () => {
      const text = "hello".repeat(100);
      const response = await within(
        fetch(`http://${host}/?say=${text}`),
        PATIENCE,
      );
      assertEquals(response.headers.get("x-compressed"), "true");
      assertEquals(await response.text(), text);
      const head = heads.at(-1)!;
      assertEquals(head.get("x-token"), "secret");
      assertEquals(head.get("x-forwarded-for"), "unknown");
      assertStringIncludes(
        head.get("sec-websocket-extensions") ?? "",
        "permessage-deflate",
      );
      const { reservedBits, payloadLength } = taps.at(-1)!.header;
      assertEquals(reservedBits, 0b100); // RSV1 (RFC 7692 §6)
      assert(payloadLength < 100, `${payloadLength} bytes`);
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
      const answer = await fetch(`http://${host}/`, {
        headers: {
          ...{ "Upgrade": "websocket", "Connection": "Upgrade" },
          ...{
            "Sec-WebSocket-Version": "13",
            "Origin": "https://evil.example",
          },
          "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
      });
      assertEquals(
        await answer.text(),
        `Pages of this origin may not connect to [${host}], ` +
          "got [https://evil.example]\n",
      );
      await using ws = await connect(`ws://${host}/`, {
        origin: `http://${host}`,
      });
      await ws.send("allowed");
      assertEquals(await within(ws.receive(), PATIENCE), "allowed");
    });
    assertEquals(server.errors, []);
  },
);

edgeTest("the close code of one side is passed on to the other", async (t) => {
  let ended = Promise.withResolvers<CloseInfo>();
  await using server = new OurServer({}, async (ws) => {
    await ws.forEach((message) => {
      const [code, reason] = JSON.parse(`${message}`);
      ws.close(code, reason);
    }).catch(() => {});
    ended.resolve(await ws.closed);
  });
  await using gateway = await startGateway(server.url);

  /** The close event of a page after the other side was closed in that way. */
  const askFor = async (code: number, reason: string) => {
    const ws = await connect(`ws://${gateway.host}/`);
    await ws.send(JSON.stringify([code, reason]));
    const { error: _, ...info } = await within(ws.closed, PATIENCE);
    return info;
  };
  await t.step("by the server", async () => {
    for (const [code, reason] of CLOSES) {
      assertEquals(await askFor(code, reason), {
        code,
        reason,
        wasClean: true,
      });
    }
  });

  await t.step("by the page", async () => {
    for (const [code, reason] of CLOSES) {
      ended = Promise.withResolvers();
      const ws = await connect(`ws://${gateway.host}/`);
      const { wasClean } = await within(ws.close(code, reason), PATIENCE);
      assertEquals(wasClean, true, `${code}`);
      const { error: _, ...info } = await within(ended.promise, PATIENCE);
      assertEquals(info, { code, reason, wasClean: true });
    }
  });

  await t.step("by the page, with no code", async () => {
    ended = Promise.withResolvers();
    using client = await dial(gateway);
    await client.write(upgrade());
    assertEquals((await client.readHead()).status, 101);
    const payload = new Uint8Array(0);
    await client.write(masked({ opcode: Opcode.Close, payload }));
    assertEquals((await within(ended.promise, PATIENCE)).code, 1000);
  });
});

edgeTest(
  "a server that closes without a code, or vanishes, is reported to the page",
  async () => {
    // It is closed with no code, after a page has asked, or cut off.
    const serve = async (client: Client, how: "closed" | "cut off") => {
      let bytes = new Uint8Array(0);
      let head;
      while ((head = parseRequestHead(bytes)) === undefined) {
        bytes = concat(bytes, await client.read(1));
      }
      await client.write(acceptUpgrade(readUpgrade(head)));
      await client.read(2 + 4 + 5); // "hello"
      if (how === "closed") {
        const payload = new Uint8Array(0);
        await client.write(encodeFrame({ opcode: Opcode.Close, payload }));
        await client.read(2 + 4);
      }
      client.conn.close();
    };
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await using gateway = await startGateway(
      `ws://127.0.0.1:${listener.addr.port}/`,
    );
    const next = async (how: "closed" | "cut off") =>
      await serve(new Client(await listener.accept()), how);

    for (
      const [how, expected] of [["closed", 1000], ["cut off", 1011]] as const
    ) {
      const serving = next(how);
      const ws = await connect(`ws://${gateway.host}/`);
      await ws.send("hello");
      const { code, wasClean } = await within(ws.closed, PATIENCE);
      assertEquals([code, wasClean], [expected, true], how);
      await within(serving, PATIENCE);
    }

    for (const how of ["closed", "cut off"] as const) {
      const serving = next(how);
      const response = await within(fetch(`http://${gateway.host}/`), PATIENCE);
      assertEquals(
        [response.status, await response.text()],
        [502, "The server does not answer\n"],
        how,
      );
      await within(serving, PATIENCE);
    }
  },
);

edgeTest("nobody waits for ever for a server that is silent", async () => {
  await bundleByTask();
  const code = await Deno.readTextFile(new URL("worker.js", CONFIGURATION));
  const patience = /^var (PATIENCE\d*) = 1e4;$/m;
  assertMatch(code, patience);
  await using folder = await TemporaryFolder.create({
    "worker.js": code.replace(patience, "var $1 = 100;"),
    "config.capnp": await Deno.readTextFile(CONFIGURATION),
  });
  await using server = new OurServer({}, (ws) => ws.forEach(() => {}));
  await using gateway = await Workerd.start(
    workerd.path!,
    `${folder.path}/config.capnp`,
    { SERVER: server.url, TOKEN: "secret" },
  );
  const response = await within(fetch(`http://${gateway.host}/`), PATIENCE);
  assertEquals(response.status, 502);
  await response.body?.cancel();
});

edgeTest("a worker that is not told its token dials nobody", async () => {
  await using server = new TestServer();
  await bundleByTask();
  await using gateway = await Workerd.start(
    workerd.path!,
    fileURLToPath(CONFIGURATION),
    { SERVER: server.url },
  );
  const response = await within(fetch(`http://${gateway.host}/`), PATIENCE);
  assertEquals(response.status, 500);
  await response.body?.cancel();
});

edgeTest("handshake.ts in a worker refuses what is no handshake", async () => {
  await using server = new TestServer();
  await using gateway = await startGateway(server.url);
  const ask = async (bytes: string) => {
    using client = await dial(gateway);
    await client.write(bytes);
    return await within(client.readAnswer(), PATIENCE);
  };
  const good = upgrade();
  const old = good.replace("Version: 13", "Version: 8");
  const { status, headers } = await ask(old);
  assertEquals([status, headers.get("sec-websocket-version")], [426, "13"]);
  const shortKey = good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl");
  assertEquals((await ask(shortKey)).status, 400);
});

edgeTest("a page that vanishes is noticed at once", async () => {
  const ended = Promise.withResolvers<CloseInfo>();
  await using server = new OurServer({}, async (ws) => {
    await echo(ws);
    ended.resolve(await ws.closed);
  });
  await using gateway = await startGateway(server.url);
  using client = await dial(gateway);
  await client.write(upgrade());
  const { status, headers } = await client.readHead();
  assertEquals(status, 101);
  const accepted = acceptKey("dGhlIHNhbXBsZSBub25jZQ==");
  assertEquals(headers.get("sec-websocket-accept"), accepted);
  await client.write(masked({ opcode: Opcode.Text, payload: utf8("here") }));
  const expected = encodeFrame({ opcode: Opcode.Text, payload: utf8("here") });
  assertEquals(await client.read(expected.length), expected);
  client.conn.close(); // with no Close frame
  const { code, wasClean } = await within(ended.promise, PATIENCE);
  assertEquals([code, wasClean], [1006, false]);
});

edgeTest(
  "an answer does not wait for a server that does not close",
  async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    let isEnded = false;
    const serving = (async () => {
      using client = new Client(await listener.accept());
      let bytes = new Uint8Array(0);
      let head;
      while ((head = parseRequestHead(bytes)) === undefined) {
        bytes = concat(bytes, await client.read(1));
      }
      await client.write(acceptUpgrade(readUpgrade(head)));
      const payload = utf8("an answer");
      await client.write(encodeFrame({ opcode: Opcode.Text, payload }));
      await client.readToEnd(); // its Close frame is not answered
      isEnded = true;
    })();
    await using gateway = await startGateway(
      `ws://127.0.0.1:${listener.addr.port}/`,
    );
    const response = await within(fetch(`http://${gateway.host}/`), PATIENCE);
    assertEquals([response.status, await response.text()], [200, "an answer"]);
    assertEquals(isEnded, false);
    await within(serving, PATIENCE); // cut off in the end
  },
);

Deno.test({
  name: "a worker dials wss:, and trusts the certificates that it is given" +
    (why || (hasOpenssl ? "" : " (needs OpenSSL)")),
  ignore: workerd.missing !== undefined || !hasOpenssl,
  fn: async () => {
    await bundleByTask();
    await using certificate = await makeCertificate();
    const listener = certificate.listen();
    await using server = new TestServer({}, listener);
    const url = `wss://localhost:${server.port}/`;
    const configuration = await Deno.readTextFile(CONFIGURATION);
    const options = `allow = ["public", "private", "local"]`;
    assertStringIncludes(configuration, options);
    for (const isTrusted of [true, false]) {
      await using folder = await TemporaryFolder.create({
        "worker.js": await Deno.readTextFile(
          new URL("worker.js", CONFIGURATION),
        ),
        "cert.pem": certificate.pem,
        "config.capnp": configuration.replace(
          options,
          options +
            (isTrusted
              ? `, tlsOptions = (trustedCertificates = [embed "cert.pem"])`
              : ""),
        ),
      });
      await using gateway = await Workerd.start(
        workerd.path!,
        `${folder.path}/config.capnp`,
        { SERVER: url, TOKEN: "secret" },
      );
      const response = await within(fetch(`http://${gateway.host}/`), PATIENCE);
      const text = await response.text();
      if (isTrusted) assertEquals([response.status, text], [200, "hello"]);
      else assertEquals(response.status, 502, text);
    }
  },
});

Deno.test({
  name: `a worker that has @std/crypto bundled in${why}`,
  ignore: workerd.missing !== undefined,
  fn: async (t) => {
    await using server = new TestServer();
    const stub = new URL("_compiling_crypto.ts", import.meta.url);
    const code = await bundle("examples/edge/worker.ts", {
      external: ["cloudflare:sockets"],
      instead: { "@std/crypto": stub.href },
    });
    assertStringIncludes(code, "new ArrayBuffer(20)");
    const configuration = await Deno.readTextFile(CONFIGURATION);
    /** The status of an answer with that compatibility date. */
    const statusAt = async (date: string): Promise<number> => {
      const dated = configuration.replace(
        /compatibilityDate = ".*"/,
        `compatibilityDate = "${date}"`,
      );
      assertStringIncludes(dated, date);
      await using folder = await TemporaryFolder.create({
        "worker.js": code,
        "config.capnp": dated,
      });
      await using gateway = await Workerd.start(
        workerd.path!,
        `${folder.path}/config.capnp`,
        { SERVER: server.url, TOKEN: "secret" },
      );
      const response = await within(
        fetch(`http://${gateway.host}/`),
        PATIENCE,
      );
      await response.body?.cancel();
      return response.status;
    };
    await t.step("may compile it while it starts", async () => {
      assertEquals(await statusAt("2025-06-01"), 502); // the stand-in's digest
    });
    await t.step("or has node:crypto, where it may not", async () => {
      assertEquals(await statusAt("2025-05-31"), 200);
    });
  },
});

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
    // A shared timer would belong to a request that is over before it is due.
    assertEquals(await within(ask("/leave"), PATIENCE), "left");
    const others = Array.from({ length: 5 }, () => ask("/"));
    const answers = await within(Promise.all(others), PATIENCE);
    assertEquals(answers, Array(5).fill("waited"));
  },
});
