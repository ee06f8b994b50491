import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { connect, type ConnectOptions } from "../connect.ts";
import { permessageDeflate } from "../deflate.ts";
import { HandshakeError } from "../handshake.ts";
import { pattern } from "./_bytes.ts";
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import { Program } from "./_program.ts";
import {
  Client,
  dialFromElsewhere,
  ELSEWHERE,
  request,
  upgrade,
  within,
} from "./_server.ts";

const isWindows = Deno.build.os === "windows";

/** Starts an echo at a free port, unless the flags say where. */
async function start(
  ...flags: string[]
): Promise<{ echo: Program; url: string; port: number }> {
  const echo = await Program.example("echo", "--port", "0", ...flags);
  const [, url = ""] = await echo.expect(/^Listening on (.*)\n$/);
  return { echo, url, port: Number(url.match(/:(\d+)\/$/)?.[1]) };
}

async function dial(port: number): Promise<Client> {
  return new Client(await Deno.connect({ hostname: "127.0.0.1", port }));
}

/** Asserts that messages come back as they were. */
async function assertEchoes(
  url: string,
  options: ConnectOptions = {},
): Promise<void> {
  await using ws = await connect(url, options);
  const messages = ["", "Hello", "\u4f60\u597d \u{1f30d}", "x".repeat(70_000)]
    .flatMap((text) => [text, pattern(text.length)]);
  for (const message of messages) {
    ws.send(message);
    assertEquals(await within(ws.receive()), message);
  }
}

Deno.test("echo says where it listens, and sends back what it gets", async () => {
  const { echo, url, port } = await start();
  await using _ = echo;
  assertMatch(url, /^ws:\/\/127\.0\.0\.1:[1-9]\d*\/$/);
  await assertEchoes(url);
  await assertEchoes(`${url}any/path?and=query`);
  // A browser asks for the page first, and sends its origin along.
  using page = await dial(port);
  await page.write(
    request("GET /") + upgrade("/", "Origin: https://anywhere.example"),
  );
  assertEquals((await page.readAnswer()).status, 404);
  assertEquals((await page.readHead()).status, 101);
});

Deno.test("echo holds to the limits it is given", async () => {
  const { echo, url } = await start(
    ...["--max-message-size", "10", "--max-fragments", "2"],
  );
  await using _ = echo;
  const parts: [string[], number][] = [
    [["0123456789a"], 1009],
    [["01234", "56789", "a"], 1008],
  ];
  for (const [message, code] of parts) {
    await using ws = await connect(url);
    await ws.send("0123456789");
    assertEquals(await within(ws.receive()), "0123456789");
    ws.sendStream(message).catch(() => {});
    assertEquals((await within(ws.closed)).code, code);
  }
});

Deno.test("echo takes any number of fragments with --max-fragments 0", async () => {
  const { echo, url } = await start("--max-fragments", "0");
  await using _ = echo;
  await using ws = await connect(url);
  const sending = ws.sendStream(Array(140_000).fill("x"));
  assertEquals(await within(ws.receive(), 30_000), "x".repeat(140_000));
  await sending;
});

Deno.test("echo compresses with --compress, and not without", async (t) => {
  for (const flags of [["--compress"], []]) {
    await t.step(flags.join("") || "without", async () => {
      const { echo, url } = await start(...flags);
      await using _ = echo;
      const extensions = [permessageDeflate()];
      await using ws = await connect(url, { extensions });
      assertEquals(ws.extension !== undefined, flags.length > 0);
      await assertEchoes(url, { extensions });
    });
  }
});

Deno.test("echo serves wss: with --cert and --key", {
  ignore: !hasOpenssl, // there is no OpenSSL to make a certificate
}, async () => {
  await using certificate = await makeCertificate();
  const { cert, key, pem } = certificate;
  const { echo, url, port } = await start("--cert", cert, "--key", key);
  await using _ = echo;
  assertMatch(url, /^wss:\/\/127\.0\.0\.1:\d+\/$/);
  await assertEchoes(url, { caCerts: [pem] });
  // A client that speaks no TLS, or does not trust the server, does no harm.
  using plain = await dial(port);
  await plain.write(upgrade());
  await plain.readToEnd().catch(() => {});
  await connect(url).then(() => assert(false), () => {});
  await assertEchoes(url, { caCerts: [pem] });
  echo.kill("SIGTERM");
  assertEquals((await echo.ended()).stderr, "");
});

Deno.test("echo listens at a Unix socket, again and again", {
  ignore: isWindows, // which has none
}, async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/echo.sock`;
  await using bridge = new Program(Deno.execPath(), [
    ...["run", "--allow-net", "--allow-read", "--allow-write"],
    ...["tests/_unix_bridge.ts", path],
  ]);
  const [, port] = await bridge.expect(/^(\d+)\n$/);
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    const { echo, url } = await start("--unix", path);
    await using _ = echo;
    assertEquals(url, `ws+unix:${path}`);
    await assertEchoes(`ws://127.0.0.1:${port}/`);
    // One at a time.
    await using second = await Program.example("echo", "--unix", path);
    const { code, stderr } = await second.ended();
    assertEquals(code, 1);
    assertStringIncludes(stderr, `${path}: it is in use`);
    await assertEchoes(`ws://127.0.0.1:${port}/`);
    // A socket that is left over does not stop the next one.
    echo.kill(signal);
    await echo.ended();
  }
  assertEquals([...Deno.readDirSync(folder)], []);
  // A plain file at the path is an error.
  await Deno.writeTextFile(path, "precious");
  await using echo = await Program.example("echo", "--unix", path);
  const { code, stderr } = await echo.ended();
  assertEquals([code, stderr], [
    1,
    `error: Cannot listen at ${path}: it is no socket\n`,
  ]);
  assertEquals(await Deno.readTextFile(path), "precious");
  await Deno.remove(folder, { recursive: true });
});

Deno.test({
  name: "one address can't take all places, unless a flag allows it",
  ignore: ELSEWHERE === undefined,
  fn: async () => {
    for (
      const [flags, most] of [
        [["--max-connections", "8"], 6],
        [["--max-connections", "8", "--max-connections-per-address", "7"], 7],
      ] as const
    ) {
      const { echo, url, port } = await start(...flags);
      await using _ = echo;
      const crowd = await Promise.all(
        Array.from({ length: most }, () => connect(url)),
      );
      await assertRejects(() => connect(url), HandshakeError, "503");
      await using other = await connect(url, {
        dial: () => dialFromElsewhere(port),
      });
      await other.send("Hello");
      assertEquals(await within(other.receive()), "Hello");
      await Promise.all(crowd.map((ws) => ws.close()));
    }
  },
});

Deno.test("echo --help tells all flags", async () => {
  await using echo = await Program.example("echo", "--help");
  const { code, stdout, stderr } = await echo.ended();
  assertEquals([code, stderr], [0, ""]);
  const flags = stdout.match(/^ +--[a-z-]+/gm)?.map((flag) => flag.trim());
  assertEquals(flags, [
    ...["--port", "--hostname", "--unix", "--cert", "--key"],
    ...["--max-connections", "--max-connections-per-address"],
    ...["--max-message-size", "--max-fragments", "--compress", "--help"],
  ]);
});

Deno.test("a mistake is told in one line, and exits with 1", async (t) => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const mistakes: Record<string, [string[], string]> = {
    "an unknown flag": [["--prot", "1"], "'--prot'"],
    "no value": [["--port"], "'--port <value>'"],
    "no number": [["--port", "eighty"], "[eighty]"],
    "a negative number": [["--port=-1"], "[-1]"],
    "no port": [["--port", "65536"], "from 0 to 65535, got [65536]"],
    "no flag at all": [["9001"], "'9001'"],
    "a port that is taken": [["--port", `${port}`], `port ${port}`],
    "not this machine's": [
      ["--hostname", "192.0.2.1", "--port", "0"],
      "192.0.2.1",
    ],
    "half a pair": [["--cert", "README.md"], "--key"],
    "no such file": [
      ["--cert", "no.pem", "--key", "no.pem", "--port", "0"],
      "no.pem",
    ],
    "no certificate": [
      ["--cert", "README.md", "--key", "README.md", "--port", "0"],
      "ertificate",
    ],
  };
  for (const [name, [flags, naming]] of Object.entries(mistakes)) {
    await t.step(name, async () => {
      await using echo = await Program.example("echo", ...flags);
      const { code, stdout, stderr } = await echo.ended();
      assertEquals([code, stdout], [1, ""]);
      assertMatch(stderr, /^error: .*\n$/);
      assertStringIncludes(stderr, naming);
    });
  }
});

Deno.test("a signal closes all connections with 1001, and exits with 0", {
  ignore: isWindows, // which knows no signals
}, async (t) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await t.step(signal, async () => {
      const { echo, url, port } = await start();
      await using _ = echo;
      const clients = await Promise.all(
        Array.from({ length: 50 }, () => connect(url)),
      );
      using silent = await dial(port);
      using kept = await dial(port);
      await kept.write(request("GET /"));
      await kept.readAnswer();
      echo.kill(signal);
      for (const ws of clients) {
        const { code, wasClean } = await within(ws.closed);
        assertEquals([code, wasClean], [1001, true]);
      }
      assertEquals(await silent.readToEnd() + await kept.readToEnd(), "");
      const { code, stderr } = await echo.ended();
      assertEquals([code, stderr], [0, ""]);
      // The address is free at once.
      await using next = await Program.example("echo", "--port", `${port}`);
      await next.expect(/^Listening on .*\n$/);
      await assertEchoes(url);
    });
  }
});

Deno.test("a signal under load loses no message that was answered", {
  ignore: isWindows,
}, async () => {
  const { echo, url } = await start();
  await using _ = echo;
  const talks = Array.from({ length: 20 }, async () => {
    const ws = await connect(url);
    let count = 0;
    await ws.send(`${count}`);
    // Each answer is whole, and in its turn, up to the Close frame.
    for await (const message of ws) {
      assertEquals(message, `${count++}`);
      await ws.send(`${count}`).catch(() => {});
      if (count === 100) talking.resolve();
    }
    return await ws.closed;
  });
  const talking = Promise.withResolvers<void>();
  await within(talking.promise);
  echo.kill("SIGTERM");
  for (const { code } of await within(Promise.all(talks))) {
    assertEquals(code, 1001);
  }
  assertEquals((await echo.ended()).code, 0);
});

Deno.test(
  "a client that is deaf is cut off after the grace period, or at a second signal",
  {
    ignore: isWindows,
  },
  async (t) => {
    const signals: Record<string, [Deno.Signal[], number]> = {
      "one signal": [["SIGTERM"], 0],
      "two of them": [["SIGTERM", "SIGINT"], 130],
    };
    for (const [name, [[first, second], expected]] of Object.entries(signals)) {
      await t.step(name, async () => {
        const { echo, port } = await start();
        await using _ = echo;
        using deaf = await dial(port);
        await deaf.write(upgrade());
        await deaf.readHead();
        const began = performance.now();
        echo.kill(first!);
        await deaf.read(2); // the Close frame
        if (second !== undefined) {
          // A second signal at once would be taken for the first, passed on by
          // `deno task`.
          await new Promise((resolve) => setTimeout(resolve, 500));
          echo.kill(second);
        }
        assertEquals((await echo.ended()).code, expected);
        const took = performance.now() - began;
        assert(second === undefined ? took < 8000 : took < 3000, `${took} ms`);
      });
    }
  },
);

Deno.test("Ctrl-C at deno task echo, which hands on what echo gets anyway", {
  ignore: isWindows,
}, async () => {
  // A shell with job control gives it a process group, as a terminal does.
  const task = [Deno.execPath(), "task", "echo", "--port", "0"];
  await using echo = new Program("bash", [
    ...["-c", 'set -m; "$@" & echo "Group $!"; wait $!', "bash", ...task],
  ]);
  const [, group] = await echo.expect(/^Group (\d+)$/m);
  const [, url = ""] = await echo.expect(/^Listening on (.*)$/m);
  const ws = await connect(url);
  Deno.kill(-Number(group), "SIGINT");
  assertEquals((await within(ws.closed)).code, 1001);
  assertEquals((await echo.ended()).code, 0);
});

Deno.test("echo goes on when there are no file descriptors left", {
  ignore: isWindows,
}, async () => {
  const run = [
    ...["run", `--config=${Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json"}`],
    ...["--allow-net", "examples/echo.ts", "--port", "0"],
  ];
  await using echo = new Program("sh", [
    "-c",
    'ulimit -n 64; exec "$@"',
    "sh",
    ...[Deno.execPath(), ...run],
  ]);
  const [, url = ""] = await echo.expect(/^Listening on (.*)\n$/);
  const port = Number(url.match(/:(\d+)\/$/)?.[1]);
  await using before = await connect(url);
  const crowd = await Promise.all(
    Array.from({ length: 100 }, () => dial(port)),
  );
  await before.send("still there");
  assertEquals(await within(before.receive()), "still there");
  for (const client of crowd) client.conn.close();
  await assertEchoes(url);
  echo.kill("SIGTERM");
  await before.closed;
  const { code, stderr } = await echo.ended();
  assertEquals(code, 0);
  assertMatch(stderr, /^([^\n]*Too many open files[^\n]*\n)+$/);
});
