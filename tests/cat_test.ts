import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { ServeOptions } from "../serve.ts";
import {
  accept,
  CloseCode,
  HandshakeError,
  type WebSocketConnection,
} from "../mod.ts";
import { permessageDeflate } from "../deflate.ts";
import { concat, hex, utf8 } from "./_bytes.ts";
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import { type Outcome, Program } from "./_program.ts";
import { Client, TestServer, within } from "./_server.ts";

const isWindows = Deno.build.os === "windows";

/** Runs `cat` with arguments and input to its end. */
async function cat(
  args: string[],
  input: string | Uint8Array = "",
): Promise<Outcome> {
  await using program = await Program.exampleWithInput("cat", ...args);
  await program.type(input);
  await program.endInput();
  return await program.ended();
}

/** A running `cat`, and the server's side of its connection. */
async function connected(
  args: string[],
  options: Partial<ServeOptions> = {},
): Promise<
  AsyncDisposable & {
    program: Program;
    ws: WebSocketConnection;
    /** The messages that the server has received. */
    received: ReadableStreamDefaultReader<unknown>;
  }
> {
  const resources = new AsyncDisposableStack();
  const { promise, resolve } = Promise.withResolvers<WebSocketConnection>();
  const server = resources.use(
    new TestServer({
      onConnection: async (ws) => {
        resolve(ws);
        await ws.closed;
      },
      ...options,
    }),
  );
  const program = resources.use(
    await Program.exampleWithInput("cat", server.url, ...args),
  );
  const ws = await within(promise, 30_000);
  return {
    program,
    ws,
    received: ws.readable.getReader(),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

Deno.test("cat sends each line of a pipe, and prints the replies", async () => {
  await using server = new TestServer();
  const lines = ["Hello", "", "\u4f60\u597d \u{1f30d}", "x".repeat(200_000)];
  const expected = { code: 0, stderr: "Closed: 1000\n" };
  for (const newline of ["\n", "\r\n"]) {
    assertEquals(await cat([server.url], lines.join(newline)), {
      ...expected,
      stdout: `${lines.join("\n")}\n`,
    });
  }
  // A slash is nothing special there.
  const stdout = "/ping\n//\n";
  assertEquals(await cat([server.url], stdout), { ...expected, stdout });
  assertEquals(server.errors, []);
});

Deno.test("cat loses no reply to many lines, though it does not wait", async () => {
  await using server = new TestServer();
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`);
  const { code, stdout } = await cat(
    [server.url, "--wait", "0"],
    lines.join(""),
  );
  assertEquals(code, 0);
  assertEquals(stdout, lines.join(""));
});

Deno.test("cat leaves quietly when nobody reads any more", {
  ignore: isWindows, // which has no such shell
}, async () => {
  await using server = new TestServer();
  const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
  const command = `seq 1 100000 | "${Deno.execPath()}" run --no-prompt ` +
    `--config="${config}" --allow-net examples/cat.ts ${server.url} | head -n 1`;
  await using program = new Program("bash", ["-c", command]);
  assertEquals(await program.ended(), {
    code: 0,
    stdout: "1\n",
    stderr: "Closed: 1000\n",
  });
});

Deno.test("cat --execute sends its messages instead of stdin", async (t) => {
  await using server = new TestServer({
    onConnection: (ws) =>
      ws.forEach(async (message) => {
        await new Promise((resolve) => setTimeout(resolve, 100));
        await ws.send(`${message}!`);
      }),
  });
  await t.step("and stays for replies", async () => {
    const args = [server.url, "--execute", "one", "-x", "two"];
    assertEquals(await cat(args, "three\n"), {
      code: 0,
      stdout: "one!\ntwo!\n",
      stderr: "Closed: 1000\n",
    });
  });
  await t.step("but not with --wait 0", async () => {
    const { code, stdout } = await cat([server.url, "-x", "a", "--wait", "0"]);
    assertEquals([code, stdout], [0, ""]);
  });
  await t.step("or as long as the server with --wait forever", async () => {
    await using _ = await connected(["-x", "a", "--wait", "forever"]);
    const { program, ws, received } = _;
    assertEquals((await received.read()).value, "a");
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await ws.send("late");
    await ws.close(1000, "That is all");
    assertEquals(await program.ended(), {
      code: 0,
      stdout: "late\n",
      stderr: "Closed: 1000 That is all\n",
    });
  });
});

Deno.test("cat --binary sends bytes as they are; bytes are printed in hexadecimal", async () => {
  await using server = new TestServer();
  const input = concat(hex`00 ff fe 0a`, utf8("\u4f60\n"));
  assertEquals(
    (await cat([server.url, "--binary"], input)).stdout,
    "00fffe\ne4bda0\n",
  );
  const args = [server.url, "--binary", "-x", "Hi"];
  assertEquals((await cat(args)).stdout, "4869\n");
});

Deno.test("cat sends the header fields and subprotocols it is given", async () => {
  const headers: Headers[] = [];
  await using server = new TestServer({
    protocols: ["second"],
    onRequest: (request) => void headers.push(request.headers),
  });
  const { code, stderr } = await cat([
    server.url,
    ...["-H", "X-One: 1", "--header", "X-Two:2", "-H", "X-One: one: more"],
    ...["-H", "Origin: https://127.0.0.1", "-H", "X-Empty:"],
    ...["--protocol", "first", "--protocol", "second", "-i"],
  ]);
  const [sent] = headers;
  assertEquals(code, 1); // a foreign origin
  assertStringIncludes(stderr, "(403)");
  assertEquals(sent, undefined);
  const outcome = await cat([
    server.url,
    ...["-H", "X-One: 1", "--header", "X-Two:2", "-H", "X-One: one: more"],
    ...["-H", "X-Empty:", "--protocol", "first", "--protocol", "second", "-i"],
  ]);
  assertEquals(outcome.code, 0);
  assertStringIncludes(outcome.stderr, "(second)");
  const fields = ["x-one", "x-two", "x-empty", "sec-websocket-protocol"];
  assertEquals(fields.map((name) => headers[0]!.get(name)), [
    "1, one: more",
    "2",
    "",
    "first, second",
  ]);
});

Deno.test("cat compresses, unless it is told not to", async () => {
  const names: (string | undefined)[] = [];
  await using server = new TestServer({
    extensions: [permessageDeflate()],
    onConnection: (ws) => {
      names.push(ws.extension?.name);
      return ws.forEach((message) => ws.send(message));
    },
  });
  const text = `${"All work and no play. ".repeat(100)}\n`;
  for (const flags of [[], ["--no-compress"]]) {
    assertEquals((await cat([server.url, ...flags], text)).stdout, text);
  }
  assertEquals(names, ["permessage-deflate", undefined]);
});

Deno.test("cat --interactive takes commands", async () => {
  await using _ = await connected(["--interactive"]);
  const { program, ws, received } = _;
  await program.type("Hello\n\n//slash\n/nope\n/help\n/close 99\n/ping\n");
  assertEquals((await received.read()).value, "Hello");
  assertEquals((await received.read()).value, "/slash");
  await ws.send("two\nlines");
  await program.expect(/^two\nlines\n/);
  await program.type("/close 4000 not now\n");
  const { code, reason } = await within(ws.closed);
  assertEquals([code, reason], [4000, "not now"]);
  const { stderr, ...outcome } = await program.ended();
  assertEquals(outcome, { code: 1, stdout: "two\nlines\n" });
  assertStringIncludes(stderr, `Connected to ws://127.0.0.1:`);
  assertMatch(stderr, /^error: .*\[\/nope\].*$/m);
  assertMatch(stderr, /^\/close .*$/m);
  assertMatch(stderr, /^error: .*\(99\)$/m);
  assertMatch(stderr, /^Pong after \d+\.\d\d ms$/m);
  assertMatch(stderr, /^Closed: 4000$/m);
});

Deno.test("cat tells how the connection was closed, and exits accordingly", async (t) => {
  const endings: Record<
    string,
    [(ws: WebSocketConnection) => unknown, number, RegExp]
  > = {
    "1000": [(ws) => ws.close(1000, "Bye"), 0, /^Closed: 1000 Bye\n$/],
    "1001": [(ws) => ws.close(CloseCode.GoingAway), 0, /^Closed: 1001\n$/],
    "1008": [(ws) => ws.close(1008, "No"), 1, /^Closed: 1008 No\n$/],
    "1006": [(ws) => ws.terminate(), 1, /^Closed: 1006 .*without.*\n$/],
    // Control characters are made visible.
    "3000": [
      (ws) => ws.close(3000, "\x1b[2J\n\u009b1"),
      1,
      /^Closed: 3000 \\x1b\[2J \\x9b1\n$/,
    ],
  };
  for (const [name, [end, expected, line]] of Object.entries(endings)) {
    await t.step(name, async () => {
      await using _ = await connected([]);
      const { program, ws } = _;
      await ws.send("last words");
      end(ws);
      const { code, stdout, stderr } = await program.ended();
      assertEquals(code, expected);
      if (name !== "1006") assertEquals(stdout, "last words\n");
      assertMatch(stderr, line);
    });
  }
  await t.step("no code", async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const running = cat([`ws://127.0.0.1:${port}`, "--wait", "forever"]);
    const conn = await within(listener.accept(), 30_000);
    const ws = await accept(conn);
    // Below the connection, which always sends a code
    await conn.write(hex`88 00`);
    await within(ws.closed);
    const { code, stderr } = await running;
    assertEquals([code, stderr], [0, "Closed: 1005\n"]);
  });
});

Deno.test("a signal closes the connection with 1000", {
  ignore: isWindows, // which knows no signals
}, async (t) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await t.step(signal, async () => {
      await using _ = await connected([]);
      const { program, ws } = _;
      // It listens to signals by the time it prints.
      await ws.send("ready");
      await program.expect(/^ready\n/);
      program.kill(signal);
      assertEquals((await within(ws.closed)).code, 1000);
      const { code, stderr } = await program.ended();
      assertEquals([code, stderr], [0, "Closed: 1000\n"]);
    });
  }
});

Deno.test("cat trusts --ca-cert, and nobody else", {
  ignore: !hasOpenssl, // there is no OpenSSL to make a certificate
}, async () => {
  await using certificate = await makeCertificate();
  const { cert } = certificate;
  const listener = certificate.listen();
  await using server = new TestServer({}, listener);
  const url = `wss://localhost:${server.port}/`;
  const { code, stdout } = await cat([url, "--ca-cert", cert], "secret\n");
  assertEquals([code, stdout], [0, "secret\n"]);
  const { code: failed, stderr } = await cat([url], "secret\n");
  assertEquals(failed, 1);
  assertMatch(stderr, /^error: Cannot connect: .*certificate.*\n$/);
});

Deno.test("cat connects to a Unix socket", {
  ignore: isWindows, // which has none
}, async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/echo.sock`;
  await using echo = await Program.example("echo", "--unix", path);
  await echo.expect(/^Listening on .*\n$/);
  const args = ["ws://localhost/", "--unix", path];
  assertEquals((await cat(args, "Hello\n")).stdout, "Hello\n");
  const { code, stderr } = await cat(["wss://localhost/", "--unix", path]);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "--unix is without TLS");
  echo.kill("SIGTERM");
  await echo.ended();
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a handshake that fails is told with its status, in one line", async (t) => {
  const statuses: Record<number, Record<string, string>> = {
    401: { "WWW-Authenticate": 'Basic realm="cats"' },
    503: { "Retry-After": "120" },
  };
  let status = 0;
  await using server = new TestServer({
    onRequest: () => {
      const headers = statuses[status]!;
      throw new HandshakeError("Not here", { status, headers });
    },
  });
  for (const [name, headers] of Object.entries(statuses)) {
    await t.step(name, async () => {
      status = Number(name);
      const { code, stdout, stderr } = await cat([server.url]);
      assertEquals([code, stdout], [1, ""]);
      assertMatch(stderr, /^error: .*\n$/);
      assertStringIncludes(stderr, `(${name})`);
      assertStringIncludes(stderr, Object.values(headers)[0]!);
    });
  }
  await t.step("302", async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const running = cat([`ws://127.0.0.1:${listener.addr.port}`]);
    using client = new Client(await within(listener.accept(), 30_000));
    await client.write("HTTP/1.1 302 Found\r\nLocation: /else\r\n\r\n");
    const { code, stderr } = await running;
    assertEquals(code, 1);
    assertMatch(stderr, /^error: .*\(302\).*\/else.*\n$/);
  });
  await t.step("nobody there", async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const { code, stderr } = await cat([`ws://127.0.0.1:${port}`]);
    assertEquals(code, 1);
    assertMatch(stderr, /^error: Cannot connect: .*refused.*\n$/);
  });
});

Deno.test("cat --help tells all flags", async () => {
  const { code, stdout, stderr } = await cat(["--help"]);
  assertEquals([code, stderr], [0, ""]);
  const flags = stdout.match(/^ +(URL|-.*?)(?= {2})/gm)?.map((it) => it.trim());
  assertEquals(flags, [
    ...["URL", "-H, --header FIELD", "--protocol NAME", "-x, --execute MSG"],
    ...["--wait SECONDS", "--binary", "-i, --interactive", "--no-compress"],
    ...["--ca-cert FILE", "--unix PATH", "--help"],
  ]);
});

Deno.test("a mistake of the user's is told in one line, and exits with 1", async (t) => {
  const url = "ws://127.0.0.1:9/";
  const mistakes: Record<string, [string[], string]> = {
    "no URL": [[], "URL is missing"],
    "two of them": [[url, "more"], "[more]"],
    "no URL at all": [["127.0.0.1"], "Malformed URL"],
    "another scheme": [["ftp://127.0.0.1"], "[ftp:]"],
    "a fragment": [[`${url}#top`], "[#top]"],
    "an unknown flag": [[url, "--head"], "'--head'"],
    "no value": [[url, "--header"], "--header"],
    "no header field": [[url, "-H", "Cookie"], "[Cookie]"],
    "a field without name": [[url, "-H", ": b"], "[: b]"],
    "a forbidden field": [[url, "-H", "Host: b"], "[Host]"],
    "a bad subprotocol": [[url, "--protocol", "a b"], "[a b]"],
    "a bad time": [[url, "--wait", "long"], "[long]"],
    "no such file": [[url, "--ca-cert", "no.pem"], "[no.pem]"],
  };
  for (const [name, [args, naming]] of Object.entries(mistakes)) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await cat(args);
      assertEquals([code, stdout], [1, ""]);
      assertMatch(stderr, /^error: .*\n$/);
      assertStringIncludes(stderr, naming);
    });
  }
});
