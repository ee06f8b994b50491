/** The recipes, each as the program that its task runs. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { type AddressInfo, createServer } from "node:net";
import {
  accept,
  type CloseInfo,
  connect,
  type WebSocketConnection,
} from "../mod.ts";
import { duplexPair } from "../testing.ts";
import { authenticated, Sessions } from "../examples/recipes/authentication.ts";
import { DrainingServer } from "../examples/recipes/graceful_restart.ts";
import { delayBefore, reconnecting } from "../examples/recipes/reconnect.ts";
import { bridge } from "../examples/recipes/tcp_bridge.ts";
import { pattern } from "./_bytes.ts";
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import { hasNginx, startNginx } from "./_nginx.ts";
import { type Outcome, Program } from "./_program.ts";
import { Client, request, TestServer, upgrade, within } from "./_server.ts";
import { startServer, startTask } from "./_task.ts";

const CONFIG = Deno.env.get("DENO_TASK_CONFIG") || "deno.json";
const isWindows = Deno.build.os === "windows";

/** Bounds for what takes a moment on a machine with nothing else to do. */
const PATIENCE = 60_000;

async function assertEchoes(
  url: string,
  options?: Parameters<typeof connect>[1],
): Promise<void> {
  await using ws = await within(connect(url, options), PATIENCE);
  for (const message of ["Hello", pattern(100_000)]) {
    ws.send(message);
    for (;;) {
      const answer = await within(ws.receive(), PATIENCE);
      if (typeof answer === typeof message) {
        if (typeof answer === "string" && answer !== message) continue; // a greeting
        assertEquals(answer, message);
        break;
      }
    }
  }
}

// --- All of them -----------------------------------------------------------

/** Asserts that the output is one line that says what is wrong. */
function assertRefused(
  { code, stdout, stderr }: Outcome,
  message: RegExp = /./,
): void {
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /^error: [^\n]+\n$/);
  assertMatch(stderr, message);
}

async function outcomeOf(task: string, ...flags: string[]): Promise<Outcome> {
  await using program = await startTask(task, ...flags);
  return await program.ended();
}

Deno.test("each recipe helps, and says in one line what is wrong", async (t) => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const here = ["--hostname", "127.0.0.1", "--port", `${port}`];
  const inUse = new RegExp(`Cannot listen at port ${port} of .*: it is in use`);
  const refused: [task: string, flags: string[], message: RegExp][] = [
    ["recipe:nginx", ["--unix", "no/such/folder/it"], /./],
    ["recipe:authentication", here, inUse],
    ["recipe:authentication", ["--origin", "example.com"], /\[example\.com\]/],
    ["recipe:authentication", ["--cert", "cert.pem"], /'--cert'/],
    ["recipe:hono", here, inUse],
    ["recipe:bridge", here, inUse],
    ["recipe:bridge", ["--to-port", "0"], /--to-port .* from 1 to 65535/],
    ["recipe:upload", here, inUse],
    ["recipe:restart", here, inUse],
    ["recipe:restart", ["--spread", "600001"], /--spread .* to 600000/],
    ["recipe:reconnect", ["ftp://127.0.0.1"], /ftp/],
    ["recipe:tls", ["--cert", "no.pem", ...here], /no\.pem/],
  ];
  for (const task of new Set(refused.map(([task]) => task))) {
    await t.step(`${task} --help`, async () => {
      const { code, stdout, stderr } = await outcomeOf(task, "--help");
      assertEquals([code, stderr], [0, ""]);
      assertMatch(stdout, /--help +print this\n$/);
      assertRefused(await outcomeOf(task, "--wrong"), /'--wrong'/);
    });
  }
  for (const [task, flags, message] of refused) {
    await t.step(`${task} ${flags.join(" ")}`, async () => {
      assertRefused(await outcomeOf(task, ...flags), message);
    });
  }
});

// --- TLS -------------------------------------------------------------------

Deno.test("tls: an echo at wss:, and a page at https:", {
  ignore: !hasOpenssl, // there is no OpenSSL to make a certificate
}, async () => {
  await using certificate = await makeCertificate();
  const { cert, key, pem } = certificate;
  const { program, url, port } = await startServer(
    ...["recipe:tls", "--cert", cert, "--key", key] as const,
  );
  await using _ = program;
  assertMatch(url, /^wss:\/\/localhost:\d+\/$/);
  await assertEchoes(url, { caCerts: [pem] });
  using client = new Client(
    await Deno.connectTls({
      hostname: "localhost",
      port,
      caCerts: [pem],
      alpnProtocols: ["h2", "http/1.1"],
    }),
  );
  await client.write(request("GET /"));
  const { body, headers } = await client.readAnswer();
  assertEquals(body, "A page over TLS\n");
  assertMatch(headers.get("strict-transport-security") ?? "", /^max-age=\d+$/);
  const busy = await outcomeOf(
    ...["recipe:tls", "--cert", cert, "--key", key] as const,
    ...["--port", `${port}`],
  );
  assertRefused(busy, /Cannot listen at port \d+ of localhost: it is in use/);
  const mistaken = await outcomeOf(
    ...["recipe:tls", "--cert", key, "--key", key, "--port", "0"] as const,
  );
  assertRefused(mistaken, /[Nn]o certificates/);
});

// --- Behind nginx ----------------------------------------------------------

Deno.test("behind_nginx: WebSockets and pages, with the configuration there", {
  ignore: !hasNginx, // nginx is not installed
}, async () => {
  const folder = await Deno.makeTempDir();
  try {
    const socket = `${folder}/websocket.sock`;
    // No more than docs/recipes.md says that it needs.
    await using program = new Program(Deno.execPath(), [
      ...["run", `--config=${CONFIG}`, "--no-prompt"],
      `--allow-net=unix:${socket}`,
      ...[`--allow-read=${socket}`, `--allow-write=${socket}`],
      ...["examples/recipes/behind_nginx.ts", "--unix", socket],
    ]);
    await program.expect(/^Listening on http\+unix:.*$/m);
    assertEquals((await Deno.stat(socket)).mode! & 0o777, 0o660);
    assertRefused(
      await outcomeOf("recipe:nginx", "--unix", socket),
      /Cannot listen at .*: it is in use/,
    );
    const site = await Deno.readTextFile("examples/recipes/nginx.conf");
    await using nginx = await startNginx(folder, (port) => {
      const ours = site
        .replace("listen 80;", `listen 127.0.0.1:${port};`)
        .replace("/run/websocket/websocket.sock", socket);
      assert(ours.includes(`${port}`) && ours.includes(socket));
      return ours;
    });
    const { port } = nginx;

    const url = `ws://127.0.0.1:${port}/`;
    await using ws = await within(connect(url), PATIENCE);
    assertEquals(await within(ws.receive()), "You are 127.0.0.1");
    await assertEchoes(url);

    // A client cannot forge its address.
    await using liar = await connect(url, {
      headers: { "X-Real-IP": "192.0.2.1" },
    });
    assertEquals(await within(liar.receive()), "You are 127.0.0.1");

    // The origin is compared with the host, which nginx has to hand on.
    await using page = await connect(url, {
      origin: `http://127.0.0.1:${port}`,
    });
    assertEquals(await within(page.receive()), "You are 127.0.0.1");
    using other = new Client(
      await Deno.connect({ hostname: "127.0.0.1", port }),
    );
    await other.write(upgrade("/", "Origin: http://elsewhere.example"));
    assertEquals((await other.readAnswer()).status, 403);

    using plain = new Client(
      await Deno.connect({ hostname: "127.0.0.1", port }),
    );
    for (let i = 0; i < 3; i++) {
      await plain.write(request("GET /"));
      assertEquals((await plain.readAnswer()).body, "A page through nginx\n");
    }
    // The end of the server is told, through nginx too.
    program.kill("SIGTERM");
    assertEquals((await within(ws.closed)).code, 1001);
    assertEquals((await program.ended()).stderr, "");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

// --- Authentication --------------------------------------------------------

Deno.test("authentication: without a session there is no WebSocket", async (t) => {
  const { program, port, url } = await startServer(
    "recipe:authentication",
    ...["--origin", "https://*.example.com"],
  );
  await using _ = program;
  const [, password = ""] = await program.expect(/^The password is (\w+)$/m);
  const ask = async (text: string) => {
    using client = new Client(
      await Deno.connect({ hostname: "127.0.0.1", port }),
    );
    await client.write(text);
    return text.includes("Upgrade: ")
      ? { ...await client.readHead(), body: "" }
      : await client.readAnswer();
  };
  const refusal = async (...fields: string[]) => {
    using client = new Client(
      await Deno.connect({ hostname: "127.0.0.1", port }),
    );
    await client.write(upgrade("/", ...fields));
    return await client.readAnswer();
  };
  const logIn = (password: string, name = "Zoë") => {
    const body = new URLSearchParams({ name, password }).toString();
    return ask(
      request(
        "POST /login",
        "Content-Type: application/x-www-form-urlencoded",
        `Content-Length: ${body.length}`,
      ) + body,
    );
  };

  await t.step("401, and why", async () => {
    const nothing = await refusal();
    assertEquals(nothing.status, 401);
    assertEquals(nothing.headers.get("www-authenticate"), "Bearer");
    assertEquals(nothing.body, "Log in first: POST /login\n");
    const { body: token } = await logIn(password);
    const forged = [
      "x",
      `${token.trim()}0`,
      token.trim().replace(/^[^.]*/, "root"),
      token.trim().replace(/\.\d+\./, ".9999999999999."),
    ];
    for (const token of forged) {
      const { status, headers, body } = await refusal(
        `Authorization: Bearer ${token}`,
      );
      assertEquals(status, 401, token);
      assertMatch(headers.get("www-authenticate") ?? "", /invalid_token/);
      assertEquals(body, "This session is over, or never was one\n");
    }
  });

  await t.step("a wrong password gives no session", async () => {
    const { status, headers } = await logIn("wrong");
    assertEquals([status, headers.get("set-cookie")], [403, null]);
    const wrong = await ask(request("GET /login"));
    assertEquals([wrong.status, wrong.headers.get("allow")], [405, "POST"]);
  });

  await t.step("a cookie for browsers, a token for programs", async () => {
    const { status, headers, body } = await logIn(password);
    assertEquals(status, 200);
    const [cookie = ""] = headers.get("set-cookie")?.split(";") ?? [];
    assertMatch(
      headers.get("set-cookie") ?? "",
      /^session=\S+; Path=\/; HttpOnly; SameSite=Strict; Max-Age=3600$/,
    );
    const ways = [
      { cookie: `theme=dark; ${cookie}` },
      { authorization: `Bearer ${body.trim()}` },
    ];
    for (const headers of ways) {
      await using ws = await connect(url, { headers });
      assertEquals(await within(ws.receive()), "Hello, Zoë");
    }
  });

  await t.step("whatever one is called", async () => {
    const names = [
      ...["john.doe", "J. R.", "", "1.2.3", 'a;b=c, "d"', "%41", "'(*)!~-_"],
      "a" + "😀".repeat(80),
    ];
    for (const name of names) {
      const { status, headers } = await logIn(password, name);
      assertEquals(status, 200, name);
      const [cookie = ""] = headers.get("set-cookie")?.split(";") ?? [];
      await using ws = await connect(url, { headers: { cookie } });
      const known = [...name].slice(0, 64).join("");
      assertEquals(await within(ws.receive()), `Hello, ${known}`);
    }
  });

  await t.step("pages of other origins, unless they are listed", async () => {
    const { headers } = await logIn(password);
    const [cookie = ""] = headers.get("set-cookie")?.split(";") ?? [];
    const statuses = [
      ["https://evil.example", 403],
      ["https://app.example.com", 101],
      ["http://localhost", 101], // its own: what `Host` says
    ] as const;
    for (const [origin, status] of statuses) {
      const answer = await ask(
        upgrade("/", `Cookie: ${cookie}`, `Origin: ${origin}`),
      );
      assertEquals(answer.status, status, origin);
    }
  });
});

Deno.test("authentication: a connection ends with its session", async () => {
  const sessions = await Sessions.create();
  const options = authenticated({
    ...{ sessions, password: "secret", lifetime: 1, origins: [] },
  });
  const { onRequest, onConnection } = options;
  const [here, there] = duplexPair();
  const token = await sessions.issue("Zoë", 3000);
  const [server, ws] = await Promise.all([
    accept(here, { onRequest: onRequest! }),
    connect("ws://test/", {
      dial: () => there,
      headers: { authorization: `Bearer ${token}` },
    }),
  ]);
  const serving = Promise.resolve(onConnection(server));
  assertEquals(await ws.receive(), "Hello, Zoë");
  const { code, reason } = await within(ws.closed);
  assertEquals([code, reason], [1008, "This session is over"]);
  await serving;
  assertEquals(await sessions.verify(token), undefined);

  // It may end while the request is being accepted.
  const [late, itsClient] = duplexPair();
  const [lateServer, lateWs] = await Promise.all([
    accept(late, {
      onRequest: () => ({ data: { name: "Zoë", until: Date.now() - 1 } }),
    }),
    connect("ws://test/", { dial: () => itsClient }),
  ]);
  const ended = onConnection(lateServer);
  assertEquals((await within(lateWs.closed)).code, 1008);
  await ended;
});

// --- The bridge to TCP -----------------------------------------------------

/** A TCP server that handles one connection. */
function serveTcp(handle: (conn: Deno.TcpConn) => Promise<unknown>) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const handled = listener.accept().then(handle).finally(() =>
    listener.close()
  );
  return { port: (listener.addr as Deno.NetAddr).port, handled };
}

/** A bridge to it, in this process. */
function bridgeTo(
  port: number,
  { timeout, onBridge }: {
    timeout?: number;
    onBridge?: (ws: WebSocketConnection) => void;
  } = {},
): TestServer {
  return new TestServer({
    textAs: "bytes",
    onConnection: (ws) => {
      onBridge?.(ws);
      const to = { hostname: "127.0.0.1", port };
      return bridge(ws, timeout === undefined ? to : { ...to, timeout });
    },
  });
}

/** A TCP server that resets its connection as soon as it hears something. */
async function serveReset(): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer((socket) => {
    socket.once("data", () => socket.resetAndDestroy());
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

Deno.test("tcp_bridge: bytes go both ways", async () => {
  const tcp = serveTcp((conn) => conn.readable.pipeTo(conn.writable));
  const { program, url } = await startServer(
    ...["recipe:bridge", "--to-port", `${tcp.port}`] as const,
  );
  await using _ = program;
  const ws = await connect(url, { protocols: ["binary"] });
  assertEquals(ws.protocol, "binary");
  const sent = pattern(300_000);
  ws.send(sent);
  const received = new Uint8Array(sent.length);
  for (let at = 0; at < sent.length;) {
    const part = await within(ws.receive()) as Uint8Array;
    received.set(part, at);
    at += part.length;
  }
  assertEquals(received, sent);
  // A text is bytes as well.
  ws.send("Grüße");
  const text = await within(ws.receive()) as Uint8Array;
  assertEquals(new TextDecoder().decode(text), "Grüße");
  await ws.close();
  await within(tcp.handled); // the Close frame has ended it
});

Deno.test("tcp_bridge: the end of either side is the end of the other", async (t) => {
  await t.step("TCP ends", async () => {
    const tcp = serveTcp(async (conn) => {
      await conn.write(new Uint8Array(5));
      conn.close();
    });
    await using server = bridgeTo(tcp.port);
    const ws = await connect(server.url);
    assertEquals(await within(ws.receive()), new Uint8Array(5));
    const ended = ws.receive();
    assertEquals((await within(ws.closed)).code, 1000);
    assertEquals(await ended, undefined);
    assertEquals(server.errors, []);
  });
  await t.step("TCP breaks", async () => {
    await using tcp = await serveReset();
    await using server = bridgeTo(tcp.port);
    const ws = await connect(server.url);
    await ws.send(new Uint8Array(5));
    assertEquals((await within(ws.closed)).code, 1011);
    assertEquals(server.errors, []);
  });
  await t.step("the WebSocket breaks", async () => {
    const tcp = serveTcp(async (conn) => {
      const ended = await conn.read(new Uint8Array(1)).catch(() => null);
      conn.close();
      return ended;
    });
    await using server = bridgeTo(tcp.port);
    const ws = await connect(server.url);
    ws.terminate();
    assertEquals(await within(tcp.handled), null);
  });
  await t.step("there is no TCP server", async () => {
    const tcp = serveTcp((conn) => Promise.resolve(conn.close()));
    (await Deno.connect({ hostname: "127.0.0.1", port: tcp.port })).close();
    await tcp.handled;
    await using server = bridgeTo(tcp.port);
    const ws = await connect(server.url);
    assertEquals((await within(ws.closed)).code, 1014);
  });
  await t.step({
    name: "the TCP server does not answer",
    ignore: Deno.build.os !== "linux", // which drops what it has no room for
    fn: async () => {
      await using stack = new AsyncDisposableStack();
      const listener = stack.use(
        Deno.listen({ hostname: "127.0.0.1", port: 0 }),
      );
      const { port } = listener.addr as Deno.NetAddr;
      // It accepts nobody, and its queue is full at some time.
      for (let misses = 0; misses < 3;) {
        try {
          const signal = AbortSignal.timeout(200);
          stack.use(await Deno.connect({ port, signal }));
          misses = 0;
        } catch {
          misses++;
        }
      }
      const server = stack.use(bridgeTo(port, { timeout: 100 }));
      const ws = await connect(server.url);
      assertEquals((await within(ws.closed)).code, 1014);
      // Nothing is dialled for a client that has gone.
      const ended = Promise.withResolvers<void>();
      const patient = stack.use(
        new TestServer({
          textAs: "bytes",
          onConnection: async (ws) => {
            await bridge(ws, { hostname: "127.0.0.1", port, timeout: 60_000 });
            ended.resolve();
          },
        }),
      );
      (await connect(patient.url)).terminate();
      await within(ended.promise);
    },
  });
});

Deno.test("tcp_bridge: a side that does not read slows the other down", async (t) => {
  const MOST = 64 * 1024 * 1024;
  const HIGH_WATER_MARK = 128 * 1024; // the default
  const PART = 65536 + 100; // what a stream of Deno reads at once, in a frame
  /** Writes until nothing moves for a while; returns how much that was. */
  const writeUntilStuck = async (
    write: (bytes: Uint8Array<ArrayBuffer>) => Promise<number>,
  ): Promise<number> => {
    const bytes = new Uint8Array(65536);
    for (let length = 0;;) {
      if (length > MOST) return length;
      const pause = Promise.withResolvers<undefined>();
      const timer = setTimeout(pause.resolve, 1000, undefined);
      const written = await Promise.race([write(bytes), pause.promise]);
      clearTimeout(timer);
      if (written === undefined) return length;
      length += written;
    }
  };
  await t.step("the TCP server", async () => {
    const stuck = Promise.withResolvers<void>();
    const tcp = serveTcp(async (conn) => {
      const length = await writeUntilStuck((bytes) => conn.write(bytes));
      stuck.resolve();
      await conn.read(new Uint8Array(1)).catch(() => null);
      conn.close();
      return length;
    });
    const bridged = Promise.withResolvers<WebSocketConnection>();
    await using server = bridgeTo(tcp.port, { onBridge: bridged.resolve });
    using client = await server.dial();
    await client.write(upgrade());
    await client.readHead();
    await within(stuck.promise, PATIENCE); // nobody reads
    // What waits in the bridge is what may wait there, and one part more.
    const { bufferedAmount } = await bridged.promise;
    assert(bufferedAmount > 0, "Nothing waits in the bridge");
    assert(bufferedAmount < HIGH_WATER_MARK + PART, `${bufferedAmount} bytes`);
    client.conn.close();
    const length = await within(tcp.handled, PATIENCE) as number;
    assert(length < MOST / 2, `${length} bytes went through`);
  });
  await t.step("the client", async () => {
    const release = Promise.withResolvers<void>();
    const tcp = serveTcp(async (conn) => {
      await release.promise; // it does not read
      conn.close();
    });
    await using server = bridgeTo(tcp.port);
    const ws = await connect(server.url);
    const length = await writeUntilStuck(async (bytes) => {
      await ws.send(bytes);
      return bytes.length;
    });
    assert(length < MOST / 2, `${length} bytes went through`);
    release.resolve();
    ws.terminate();
    await within(tcp.handled, PATIENCE);
  });
});

// --- The upload ------------------------------------------------------------

Deno.test("upload: memory does not grow with the message", async () => {
  const mebibytes = Number(Deno.env.get("UPLOAD_MEBIBYTES") ?? 1024);
  await using program = await startTask(
    ...["recipe:upload", "--try", `${mebibytes}`] as const,
  );
  const { code, stdout, stderr } = await program.ended(5 * PATIENCE);
  assertEquals([code, stderr], [0, ""]);
  const figures =
    /^Memory: (\d+) MiB before, at most (\d+) MiB .* half, (\d+) MiB in the/m
      .exec(stdout) ?? [];
  const [before, first, second] = figures.slice(1).map(Number);
  assert(Math.max(first!, second!) - before! < 128, stdout);
  assert(second! - first! < 32, stdout);
});

Deno.test("upload: one after the other, and never more than allowed", async () => {
  const { program, url } = await startServer(
    ...["recipe:upload", "--max-mebibytes", "1"] as const,
  );
  await using _ = program;
  const ws = await connect(url);
  for (const size of [0, 100_000]) {
    const digest = await crypto.subtle.digest("SHA-256", pattern(size));
    ws.send(pattern(size));
    for (;;) {
      const { received, memory, sha256 } = JSON.parse(
        `${await within(ws.receive())}`,
      );
      assert(received <= size && memory > 1e6);
      if (sha256 === undefined) continue;
      assertEquals(sha256, encodeHex(digest));
      break;
    }
  }
  ws.send(pattern(1024 * 1024 + 1)).catch(() => {});
  assertEquals((await within(ws.closed)).code, 1009);
});

// --- The restart -----------------------------------------------------------

Deno.test("graceful_restart: clients go over to the next server", {
  ignore: Deno.build.os !== "linux", // where two can listen at one port
}, async () => {
  const one = await startServer("recipe:restart", "--name", "one");
  await using _one = one.program;
  const port = `${one.port}`;
  const greetings: string[][] = [];
  const reasons: string[] = [];
  const reached = Promise.withResolvers<void>();
  const isGreeted = Promise.withResolvers<void>();
  const giveUp = new AbortController();
  const clients = Array.from({ length: 8 }, async () => {
    const heard: string[] = [];
    greetings.push(heard);
    const connections = reconnecting(one.url, {
      firstDelay: 50,
      signal: giveUp.signal,
      onDelay: (_, reason) => reasons.push(reason),
    });
    for await (const ws of connections) {
      const message = await ws.receive().catch(() => undefined);
      if (typeof message === "string") heard.push(message);
      if (greetings.every((heard) => heard.length > 0)) isGreeted.resolve();
      if (greetings.every((heard) => heard.at(-1) === "This is two")) {
        reached.resolve();
      }
      if (heard.at(-1) === "This is two") await reached.promise;
      else await ws.receive().catch(() => undefined);
      if (heard.at(-1) === "This is two") break;
    }
  });
  const allOver = Promise.all(clients);
  try {
    await within(isGreeted.promise, PATIENCE);
    await using two = await startTask(
      ...["recipe:restart", "--name", "two", "--port", port] as const,
    );
    await two.expect(/^Listening on /m);
    one.program.kill("SIGTERM");
    await within(reached.promise, PATIENCE);
    await within(allOver, PATIENCE);
  } finally {
    // They would go on for ever.
    giveUp.abort();
    await allOver.catch(() => {});
  }
  const { code, stderr } = await one.program.ended();
  assertEquals([code, stderr], [0, ""]);
  assertEquals(greetings.map(([first]) => first), Array(8).fill("This is one"));
  const told = reasons.filter((it) => it === "1012 The server restarts");
  assert(told.length >= 8, `${reasons}`);
});

Deno.test("graceful_restart: connections are closed one after the other", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const draining = new DrainingServer(listener, {
    onConnection: (ws) => ws.forEach((message) => ws.send(message)),
  });
  const clients = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const ws = await connect(`ws://127.0.0.1:${port}/`);
      await ws.send("Hello");
      assertEquals(await within(ws.receive()), "Hello");
      return ws;
    }),
  );
  const times = clients.map(async (ws) => {
    assertEquals((await ws.closed).code, 1012);
    return performance.now();
  });
  await within(draining.drain({ spread: 1000 }));
  const closed = await within(Promise.all(times));
  // The last one is told 800 ms after the first, by a timer.
  assert(Math.max(...closed) - Math.min(...closed) > 200, `${closed}`);
});

Deno.test("reconnect: delays double up to a limit, and are random below", () => {
  const longest = Array.from(
    { length: 9 },
    (_, i) => delayBefore(i + 1, { random: () => 1 }),
  );
  assertEquals(
    longest,
    [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000],
  );
  assertEquals(delayBefore(5, { random: () => 0 }), 0);
  const some = Array.from({ length: 100 }, () => delayBefore(3));
  assert(new Set(some).size > 90 && some.every((it) => it >= 0 && it <= 2000));
});

Deno.test("reconnect: what cannot pass is not tried again", async (t) => {
  await t.step("a refusal", async () => {
    const server = new TestServer({ origins: [] });
    await using _ = server;
    const connections = reconnecting(server.url, {
      origin: "https://elsewhere.example",
    });
    const error = await connections.next().then(() => undefined, (it) => it);
    assertEquals(error.status, 403);
  });
  await t.step("a close for good", async () => {
    await using server = new TestServer({
      onConnection: (ws) => ws.close(1008, "Go away"),
    });
    let count = 0;
    for await (const ws of reconnecting(server.url)) {
      count++;
      await ws.closed;
    }
    assertEquals(count, 1);
  });
  await t.step("a signal", async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    listener.close();
    const giveUp = new AbortController();
    let delays = 0;
    const connections = reconnecting(`ws://127.0.0.1:${port}/`, {
      firstDelay: 1,
      signal: giveUp.signal,
      onDelay: () => {
        if (++delays === 3) giveUp.abort();
      },
    });
    const error = await connections.next().then(() => undefined, (it) => it);
    assertEquals([error.name, delays], ["AbortError", 3]);
  });
});

Deno.test("reconnect: prints what it hears, and how it waits", {
  ignore: isWindows,
}, async () => {
  let isFirst = true;
  await using server = new TestServer({
    onConnection: async (ws) => {
      await ws.send(isFirst ? "One" : "Two");
      const isLast = !isFirst;
      isFirst = false;
      await ws.close(isLast ? 1000 : 1012, "Later");
    },
  });
  await using program = await startTask("recipe:reconnect", server.url);
  const { code, stdout, stderr } = await program.ended();
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^One\n1012 Later; again in \d+ ms\nTwo\n$/);
});

Deno.test("reconnect: Ctrl-C closes the connection", {
  ignore: isWindows,
}, async () => {
  const closed = Promise.withResolvers<CloseInfo>();
  await using server = new TestServer({
    onConnection: async (ws) => {
      await ws.send("Hello");
      await ws.forEach(() => {});
      closed.resolve(await ws.closed);
    },
  });
  await using program = await startTask("recipe:reconnect", server.url);
  await program.expect(/^Hello$/m);
  program.kill("SIGINT");
  const { code, stderr } = await program.ended();
  assertEquals([code, stderr], [0, ""]);
  const info = await within(closed.promise);
  assertEquals([info.code, info.wasClean], [1001, true]);
});
