/** Faults of this side, which must not affect other connections. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { connect } from "../connect.ts";
import type { ByteDuplex } from "../connection.ts";
import { encodeFrame, Opcode } from "../frame.ts";
import { pattern } from "./_bytes.ts";
import {
  closeCode,
  isLinux,
  masked,
  pour,
  swallow,
  Target,
  times,
} from "./_hostile.ts";
import { assertAnswers, measuredTest } from "./_measured.ts";
import { Program } from "./_program.ts";
import { Client, TestServer, upgrade, within } from "./_server.ts";
import { type Usage, usageOf } from "./_usage.ts";

const isWindows = Deno.build.os === "windows";

/** How long `deno task echo` takes at most to shut down, in milliseconds. */
const GRACE = 5000;

/** How much memory 50 clients with messages of 3 MiB may cost, in MiB. */
const LOADED = 400;

/** Prints the memory and files of a program. */
function tell(...usages: (Usage | undefined)[]): void {
  const texts = usages.filter((it) => it !== undefined).map(({ rss, files }) =>
    `RSS ${rss.toFixed(0)} MiB, files ${files}`
  );
  console.log(`the program: ${texts.join(" -> ")}`);
}

/** Asserts that a new connection and an old one are both served. */
async function assertServes(
  server: TestServer,
  before: Awaited<ReturnType<typeof connect>>,
): Promise<void> {
  await using after = await within(connect(`${server.url}echo`));
  for (const ws of [before, after]) await assertAnswers(ws);
}

/** A server that echoes at /echo, and does `act` elsewhere. */
function serverWith(
  act: TestServerOptions["onConnection"],
  options: Partial<TestServerOptions> = {},
): TestServer {
  return new TestServer({
    ...options,
    onConnection: (ws) =>
      ws.request?.target === "/echo"
        ? ws.forEach((message) => ws.send(message))
        : act!(ws),
  });
}

type TestServerOptions = NonNullable<
  ConstructorParameters<typeof TestServer>[0]
>;

measuredTest(
  "a handler that throws, at once or later, costs one connection",
  async () => {
    const mistakes: (() => unknown)[] = [
      () => {
        throw new Error("at once");
      },
      () => Promise.reject(new Error("later")),
      () => Promise.reject(undefined),
    ];
    let i = 0;
    await using server = serverWith(() => mistakes[i++ % 3]!());
    await using before = await connect(`${server.url}echo`);
    await times(40, async () => {
      const ws = await connect(server.url);
      assertEquals((await within(ws.closed)).code, 1011);
    });
    assertEquals(server.errors.length, 40);
    await assertServes(server, before);
  },
);

measuredTest(
  "a handler that throws in the middle of messages costs one connection",
  async () => {
    await using server = serverWith((ws) =>
      ws.forEach((message) => {
        if (message === "throw") throw new Error("mistake");
        if (message === "reject") return Promise.reject(new Error("mistake"));
        return ws.send(message);
      })
    );
    await using before = await connect(`${server.url}echo`);
    await times(20, async (i) => {
      const ws = await connect(server.url);
      for (const message of ["a", i % 2 === 0 ? "throw" : "reject", "b"]) {
        ws.send(message).catch(() => {});
      }
      assertEquals(await within(ws.receive()), "a");
      assertEquals((await within(ws.closed)).code, 1011);
    });
    await assertServes(server, before);
  },
);

measuredTest(
  "handlers that never return hold up nobody, and shutdown() gets past them",
  async () => {
    const server = serverWith(() => new Promise(() => {}));
    await using before = await connect(`${server.url}echo`);
    const stuck = await times(
      20,
      () => connect(server.url, { closeTimeout: 500 }),
    );
    for (const ws of stuck) {
      // Messages that nobody takes are read ahead, up to the limit.
      ws.send(pattern(1024 * 1024)).catch(() => {});
    }
    await assertServes(server, before);
    const began = performance.now();
    await within(server.server.shutdown({ timeout: 1000 }), 20_000);
    assert(performance.now() - began < 10_000);
    for (const ws of stuck) await within(ws.closed, 20_000);
  },
);

measuredTest(
  "an onRequest that throws, or hangs, is the end of one handshake",
  async () => {
    await using server = serverWith(() => {}, {
      handshakeTimeout: 500,
      onRequest: ({ target }) => {
        if (target === "/throw") throw new Error("mistake");
        if (target === "/hang") return new Promise(() => {});
      },
    });
    await using before = await connect(`${server.url}echo`);
    assertEquals((await server.ask(upgrade("/throw"))).status, 500);
    using hanging = await server.dial();
    await hanging.write(upgrade("/hang"));
    await assertServes(server, before);
    const { status } = await within(hanging.readAnswer());
    assertEquals(status, 503);
    assertEquals(await hanging.readToEnd(), "");
    await assertServes(server, before);
  },
);

/** Fails, or writes a part, once that many bytes were written. */
function failing(
  conn: Deno.Conn,
  { after, how }: { after: number; how: "reject" | "throw" | "stall" },
): ByteDuplex {
  let left = after;
  return {
    remoteAddr: conn.remoteAddr,
    read: (into) => conn.read(into),
    // It is no async function: what it throws is thrown at once.
    write: (bytes) => {
      if (left > 0) {
        const part = bytes.subarray(0, left);
        left -= part.length;
        return conn.write(part);
      }
      if (how === "stall") return new Promise<number>(() => {});
      const error = new Deno.errors.BrokenPipe("os error 32");
      if (how === "throw") throw error;
      return Promise.reject(error);
    },
    close: () => conn.close(),
    closeWrite: () => (conn as Deno.TcpConn).closeWrite(),
  };
}

measuredTest(
  "a write that fails in the middle of a message costs one connection",
  async () => {
    for (const how of ["reject", "throw", "stall"] as const) {
      let isFirst = true;
      await using server = new TestServer({
        closeTimeout: 300,
        heartbeatInterval: 300,
        heartbeatTimeout: 300,
        tap: (conn) => {
          if (isFirst) {
            isFirst = false;
            return conn as unknown as ByteDuplex;
          }
          return failing(conn, { after: 1000, how });
        },
      });
      await using before = await connect(server.url);
      await times(10, async () => {
        const ws = await connect(server.url, { closeTimeout: 300 });
        ws.send(pattern(5000)).catch(() => {});
        ws.send(pattern(300_000)).catch(() => {});
        const { code } = await within(ws.closed, 20_000);
        assertEquals(code, 1006);
      });
      await assertAnswers(before);
    }
  },
);

measuredTest(
  "a reader that stops is cut off, whatever it is owed",
  async () => {
    let cut = 0;
    await using server = serverWith(async (ws) => {
      await ws.forEach((message) => ws.send(message)).catch(() => {});
      assertEquals((await ws.closed).code, 1006);
      cut++;
    }, { heartbeatInterval: 300, heartbeatTimeout: 300 });
    await using before = await connect(`${server.url}echo`);
    const message = masked({
      opcode: Opcode.Binary,
      payload: pattern(1024 * 1024),
    });
    await times(4, async () => {
      using client = await server.dial();
      await client.write(upgrade());
      await client.readHead();
      // 256 MiB, were they taken.
      const began = performance.now();
      let left = 256;
      while (left > 0 && await pour(client, message) === undefined) left--;
      assert(left > 0, "all of it was taken");
      assert(performance.now() - began < 10_000);
    });
    await assertServes(server, before);
    assertEquals(cut, 4);
  },
);

measuredTest(
  "a message that comes a byte at a time is cut off by idleTimeout",
  async () => {
    await using server = serverWith(
      (ws) => ws.forEach((message) => ws.send(message)),
      { idleTimeout: 3000, closeTimeout: 500 },
    );
    await using before = await connect(`${server.url}echo`);
    let isOver = false;
    // It talks, and so it stays.
    const talking = (async () => {
      while (!isOver) {
        await assertAnswers(before);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    })();
    await times(20, async () => {
      using client = await server.dial();
      await client.write(upgrade());
      await client.readHead();
      await client.write(Uint8Array.of(0x81, 0xfe, 0x10, 0, 0, 0, 0, 0));
      let isCut = false;
      const began = performance.now();
      const dripping = (async () => {
        while (
          !isCut && await pour(client, Uint8Array.of(0x61)) === undefined
        ) {
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      })();
      assertEquals(await closeCode(client), 1001);
      const took = performance.now() - began;
      isCut = true;
      await dripping;
      assert(took > 2000 && took < 10_000, `after ${took} ms`);
    });
    isOver = true;
    await talking;
    assert(before.isOpen);
  },
);

measuredTest(
  "a clock that jumps changes nothing: times are measured by a monotonic one",
  async () => {
    const realNow = Date.now;
    let jump = 0;
    Date.now = () => realNow() + jump;
    try {
      await using server = new TestServer({
        heartbeatInterval: 200,
        heartbeatTimeout: 5000,
        idleTimeout: 60_000,
      });
      await using ws = await connect(server.url, { heartbeatInterval: 200 });
      for (jump of [3.6e6, -3.6e6, 1e12, -1e12, 0]) {
        await assertAnswers(ws);
        const trip = await within(ws.ping());
        assert(trip >= 0 && trip < 5000, `${trip}`);
        await new Promise((resolve) => setTimeout(resolve, 250)); // a heartbeat
      }
      assert(ws.isOpen);
    } finally {
      Date.now = realNow;
    }
  },
);

measuredTest(
  "a machine that sleeps for an hour, or a week, loses nobody who is there",
  async () => {
    const realNow = performance.now.bind(performance);
    let jump = 0;
    performance.now = () => realNow() + jump;
    try {
      await using server = new TestServer({
        heartbeatInterval: 200,
        heartbeatTimeout: 2000,
      });
      await using ws = await connect(server.url, {
        heartbeatInterval: 200,
        heartbeatTimeout: 2000,
      });
      for (const milliseconds of [3.6e6, 6e8]) {
        jump += milliseconds;
        const began = realNow();
        await ws.send("good morning");
        assertEquals(await within(ws.receive()), "good morning");
        assert(realNow() - began < 1000);
        // Some heartbeats.
        await new Promise((resolve) => setTimeout(resolve, 1000));
        assert(ws.isOpen);
      }
    } finally {
      performance.now = realNow;
    }
  },
);

Deno.test(
  "SIGTERM under load: what was taken is answered, all get 1001, and it exits with 0",
  {
    ignore: isWindows,
  },
  async () => {
    await using echo = await Program.example("echo", "--port", "0");
    const [, url = ""] = await echo.expect(/^Listening on (.*)\n$/);
    const before = isLinux ? usageOf(echo.pid) : undefined;
    const large = pattern(3 * 1024 * 1024);
    const busy = Promise.withResolvers<void>();
    let count = 0;
    const talks = times(30, async (i) => {
      const ws = await connect(url);
      let answers = 0;
      try {
        for (;;) {
          const message = i % 3 === 0 ? large : `${i} ${answers}`;
          ws.send(message).catch(() => {});
          const answer = await ws.receive();
          if (answer === undefined) break;
          assertEquals(answer, message); // whole, or not at all
          answers++;
          if (++count === 200) busy.resolve();
        }
      } catch (error) {
        throw new Error(`client ${i}, ${answers} answers`, { cause: error });
      }
      return (await ws.closed).code;
    });
    // Some are owed what they do not read, some have stopped in mid-frame or in
    // mid-head, and some talk on after the goodbye.
    const port = Number(new URL(url).port);
    const owed = masked({ opcode: Opcode.Binary, payload: large });
    const hostile = await times(20, async (i) => {
      const client = new Client(
        await Deno.connect({ hostname: "127.0.0.1", port }),
      );
      await client.write(upgrade().slice(0, i % 4 === 0 ? 50 : undefined));
      if (i % 4 === 0) return { client, pouring: undefined };
      await client.readHead();
      if (i % 4 === 1) await client.write(owed.subarray(0, 1000));
      const pouring = i % 4 === 1 ? undefined : (async () => {
        for (let left = 100; left > 0; left--) {
          if (await pour(client, owed) !== undefined) break;
        }
      })();
      if (i % 4 === 3) swallow(client);
      return { client, pouring };
    });
    await within(busy.promise, 60_000);
    const during = isLinux ? usageOf(echo.pid) : undefined;
    tell(before, during);
    if (before !== undefined && during !== undefined) {
      assert(during.rss < before.rss + LOADED, `${during.rss} MiB are taken`);
    }
    const began = performance.now();
    echo.kill("SIGTERM");
    assertEquals(new Set(await within(talks, 30_000)), new Set([1001]));
    const { code, stderr } = await echo.ended();
    assertEquals([code, stderr], [0, ""]);
    const took = performance.now() - began;
    // Those that do not read are cut off then; and the machine may be slow.
    assert(took < GRACE + 3000, `it took ${took} ms`);
    for (const { client } of hostile) client[Symbol.dispose]();
    await Promise.all(hostile.map(({ pouring }) => pouring));
  },
);

Deno.test({
  name: "SIGTERM while messages are handled: all are answered before the 1001",
  ignore: isWindows,
}, async () => {
  const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
  await using echo = new Program(Deno.execPath(), [
    ...["run", `--config=${config}`, "--no-prompt", "--allow-net"],
    "tests/_slow_echo.ts",
  ]);
  const [, url = ""] = await echo.expect(/^Listening on (.*)\n/);
  const clients = await times(20, () => connect(url));
  for (const [i, ws] of clients.entries()) await ws.send(`message ${i}`);
  for (const i of clients.keys()) {
    await echo.expect(new RegExp(`took message ${i}\n`));
  }
  const before = isLinux ? usageOf(echo.pid) : undefined;
  echo.kill("SIGTERM");
  const began = performance.now();
  for (const [i, ws] of clients.entries()) {
    assertEquals(await within(ws.receive()), `message ${i}`);
    assertEquals(await within(ws.receive()), undefined);
    assertEquals((await within(ws.closed)).code, 1001);
  }
  const { code, stderr } = await echo.ended();
  assertEquals([code, stderr], [0, ""]);
  const took = performance.now() - began;
  assert(took < GRACE, `it took ${took} ms`);
  tell(before);
});

Deno.test(
  "out of file descriptors: whoever is there is served, and the crowd later",
  {
    ignore: !isLinux,
  },
  async () => {
    const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
    await using echo = new Program("sh", [
      ...["-c", 'ulimit -n 100; exec "$@"', "sh", Deno.execPath(), "run"],
      ...[
        `--config=${config}`,
        "--allow-net",
        "examples/echo.ts",
        "--port",
        "0",
      ],
    ]);
    const [, url = ""] = await echo.expect(/^Listening on (.*)\n$/);
    await using before = await connect(url);
    const atFirst = usageOf(echo.pid);
    const port = Number(new URL(url).port);
    // As many as there are files, and some more, which have to wait.
    const all = await times(
      140,
      async () =>
        new Client(await Deno.connect({ hostname: "127.0.0.1", port })),
    );
    for (let i = 0; i < 5; i++) await assertAnswers(before);
    // No file is left.
    const full = usageOf(echo.pid);
    assert(full.files >= 100);
    const crowd = all.splice(100);
    for (const client of crowd) await client.write(upgrade());
    await assertAnswers(before);
    // When others leave, the whole crowd is served.
    for (const client of all) client[Symbol.dispose]();
    for (const client of crowd) {
      assertEquals((await within(client.readHead(), 30_000)).status, 101);
    }
    await assertAnswers(before);
    for (const client of crowd) client[Symbol.dispose]();
    await using after = await within(connect(url), 30_000);
    await assertAnswers(after);
    await assertAnswers(before);
    let last = usageOf(echo.pid);
    for (let left = 100; last.files > atFirst.files + 1 && left > 0; left--) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      last = usageOf(echo.pid);
    }
    tell(atFirst, full, last);
    assert(last.files <= atFirst.files + 1, `${last.files} files are open`);
    assert(last.rss < atFirst.rss + 64, `${last.rss} MiB are taken`);
    echo.kill("SIGTERM");
    const { code, stderr } = await echo.ended();
    assertEquals(code, 0);
    // One line in 10 s.
    assertMatch(stderr, /^(.*(os error 24|[Tt]oo many open files).*\n){1,5}$/);
  },
);

Deno.test(
  "messages that come while a connection is cut off go to nobody else",
  {
    ignore: !isLinux,
  },
  async () => {
    // Memory is used again: no connection sees what another has sent.
    await using target = await Target.start();
    await target.attack("cut off", { growth: 150 }, async () => {
      await times(30, async (i) => {
        for (let round = 0; round < 3; round++) {
          const payload = new Uint8Array(150_000 + i * 1000).fill(i);
          const frame = masked({ opcode: Opcode.Binary, payload });
          using client = await target.open();
          if ((i + round) % 3 === 0) {
            // Goes away with an echo half out.
            await pour(client, frame);
            await client.read(1000);
            continue;
          }
          pour(client, frame);
          const expected = encodeFrame({ opcode: Opcode.Binary, payload });
          const answer = await client.read(expected.length);
          const wrong = answer.findIndex((byte, at) => byte !== expected[at]);
          assertEquals(wrong, -1, `byte ${wrong} is ${answer[wrong]}`);
        }
      });
    });
  },
);
