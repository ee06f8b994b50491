/** Attacks on `deno task recipe:tls`. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { connect } from "../connect.ts";
import { Opcode } from "../frame.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import {
  attackEach,
  type Attacks,
  closeAll,
  closeCode,
  isLinux,
  masked,
  noise,
  pour,
  random,
  repeat,
  swallow,
  Target,
  times,
  upgradeBytes,
  writeAll,
  writeAndReset,
} from "./_hostile.ts";
import { assertAnswers } from "./_measured.ts";
import { Program } from "./_program.ts";
import { Client, request, within } from "./_server.ts";
import { startServer } from "./_task.ts";
import { usageOf } from "./_usage.ts";

const MIB = 1024 * 1024;

/** A record of TLS that says no (RFC 8446 §5.1, §6). */
const ALERT = 21;

/** What a client begins with. */
async function clientHello(): Promise<Uint8Array<ArrayBuffer>> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const dialling = Deno.connectTls({ hostname: "localhost", port });
  using conn = await listener.accept();
  const bytes = new Uint8Array(4096);
  const length = await conn.read(bytes);
  conn.close();
  await dialling.then((it) => it.handshake()).catch(() => {});
  return bytes.slice(0, length ?? 0);
}

const HELLO = hasOpenssl && isLinux ? await clientHello() : hex``;

/** Waits for the end, and asserts what came first; nothing may have. */
async function assertRefused({ conn }: Client): Promise<void> {
  const buffer = new Uint8Array(65536);
  let first: number | undefined;
  try {
    for (let length; (length = await within(conn.read(buffer), 30_000));) {
      first ??= buffer[0];
      assert(length > 0);
    }
  } catch (error) {
    assert(!`${error}`.includes("Not settled"), "it is kept");
  }
  assert(first === undefined || first === ALERT, `${first}`);
}

/** A WebSocket by TLS whose TCP connection can be reset. */
async function openToReset(
  target: Target,
): Promise<{ tcp: Socket; tls: TLSSocket }> {
  const tcp = await target.dialToReset();
  const tls = connectTls({
    socket: tcp,
    ca: target.caCerts,
    servername: "localhost",
  });
  tls.on("error", () => {});
  const opened = new Promise((resolve) => tls.once("data", resolve));
  await writeAll(tls, upgradeBytes());
  await within(opened, 30_000);
  tls.pause();
  return { tcp, tls };
}

/** A WebSocket by TLS which reads nothing once it is told to stop. */
class Reader {
  readonly client: Client;
  readonly #ends: Deno.TcpConn[];
  #isReading = true;

  private constructor(client: Client, near: Deno.TcpConn, far: Deno.TcpConn) {
    this.client = client;
    this.#ends = [near, far];
    this.#handOn(near, far, () => true);
    this.#handOn(far, near, () => this.#isReading);
  }

  static async open(target: Target): Promise<Reader> {
    const hostname = "127.0.0.1";
    using listener = Deno.listen({ hostname, port: 0 });
    const { caCerts } = target;
    const { port } = listener.addr;
    const [tls, near, far] = await Promise.all([
      Deno.connectTls({ hostname, port, caCerts }),
      listener.accept(),
      Deno.connect({ hostname, port: target.port }),
    ]);
    const client = new Client(tls);
    const reader = new Reader(client, near, far);
    await client.write(upgradeBytes());
    await client.readHead();
    return reader;
  }

  async #handOn(
    from: Deno.TcpConn,
    to: Deno.TcpConn,
    mayGoOn: () => boolean,
  ): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      for (let length; mayGoOn() && (length = await from.read(buffer));) {
        for (let rest = buffer.subarray(0, length); rest.length > 0;) {
          rest = rest.subarray(await to.write(rest));
        }
      }
    } catch {
      // It is over.
    }
  }

  stop(): void {
    this.#isReading = false;
  }

  cut(): void {
    for (const end of this.#ends) end.close();
    closeAll([this.client]);
  }
}

/** Waits until the target has no more files open than it had. */
async function lessFiles(target: Target, files: number): Promise<void> {
  const began = performance.now();
  while (target.usage().files > files) {
    assert(performance.now() - began < 20_000, "they are kept");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const ATTACKS: Attacks = {
  "500 connections that say nothing, and a ClientHello cut at each offset": {
    growth: 100,
    async act(target) {
      const { files } = target.usage();
      const silent: Client[] = [];
      for (let i = 0; i < 10; i++) {
        silent.push(...await times(50, () => target.dialTcp()));
      }
      const begun: Client[] = [];
      for (let end = 1; end <= HELLO.length; end++) {
        const client = await target.dialTcp();
        await pour(client, HELLO.subarray(0, end));
        begun.push(client);
      }
      return async () => {
        // The server gives them up after 10 s, though this side does nothing.
        await lessFiles(target, files);
        for (const client of silent) await assertRefused(client);
        for (const client of begun) await within(swallow(client), 30_000);
        closeAll([...silent, ...begun]);
      };
    },
  },
  "HTTP and WebSockets without TLS": {
    async act(target) {
      const texts = [
        utf8(request("GET /")),
        upgradeBytes(),
        concat(upgradeBytes(), masked({ opcode: Opcode.Text })),
      ];
      await times(100, async (i) => {
        using client = await target.dialTcp();
        await pour(client, texts[i % texts.length]!);
        await assertRefused(client);
      });
    },
  },
  "random bytes, before, in and after the TLS handshake": {
    async act(target) {
      await times(200, async (i) => {
        using client = await (i % 4 === 0 ? target.dial() : target.dialTcp());
        const bytes = noise(6 + Math.floor(random() * 4000));
        if (i % 4 === 1) bytes.set(hex`16 03 01 0f ff 01`); // as far as a hello
        if (i % 4 === 2) await pour(client, HELLO);
        await pour(client, bytes);
        if (i % 3 === 0) return;
        await client.conn.closeWrite().catch(() => {});
        await within(swallow(client), 30_000);
      });
    },
  },
  "a reset at every byte offset of the TLS handshake": {
    async act(target) {
      for (let from = 0; from <= HELLO.length; from += 50) {
        const count = Math.min(50, HELLO.length + 1 - from);
        await times(count, async (i) => {
          const socket = await target.dialToReset();
          const answered = new Promise((resolve) =>
            socket.once("data", resolve)
          );
          await writeAll(socket, HELLO.subarray(0, from + i));
          if (from + i === HELLO.length) await within(answered, 30_000);
          socket.resetAndDestroy();
        });
        await times(count, async (i) => {
          const socket = await target.dialToReset();
          await writeAndReset(socket, HELLO.subarray(0, from + i));
        });
      }
    },
  },
  "TLS handshakes by the hundred, and nothing more": {
    async act(target) {
      await times(200, async () => {
        using client = await target.dial();
        await (client.conn as Deno.TlsConn).handshake();
      });
    },
  },
  "resets in the middle of a frame": {
    async act(target) {
      const frame = masked({ opcode: Opcode.Binary, payload: pattern(70_000) });
      await times(100, async (i) => {
        const { tcp, tls } = await openToReset(target);
        await writeAll(tls, frame.subarray(0, 1 + i * 700));
        tcp.resetAndDestroy();
      });
    },
  },
  "an end without close_notify in the middle of a message": {
    async act(target) {
      const frame = masked({ opcode: Opcode.Binary, payload: pattern(70_000) });
      await times(50, async (i) => {
        const { tcp, tls } = await openToReset(target);
        const closed = new Promise((resolve) => tcp.once("close", resolve));
        await writeAll(tls, frame.subarray(0, 1 + i * 1400));
        tls.resume();
        tcp.end();
        await within(closed, 30_000);
      });
    },
  },
  "close_notify in the middle of a message": {
    async act(target) {
      await times(100, async (i) => {
        using client = await target.open();
        await pour(
          client,
          [
            hex`81 85 00000000 48 65`,
            hex`01 82 00000000 48 65`,
            hex`82 ff 00 00 00 00 00 10 00 00  00 00 00 00 01`,
            hex`88 82 00000000 03`,
          ][i % 4]!,
        );
        await client.conn.closeWrite();
        await within(swallow(client), 30_000);
      });
    },
  },
  "floods of pings, whose pongs nobody reads": {
    async act(target) {
      const pings = repeat(
        masked({ opcode: Opcode.Ping, payload: pattern(125) }),
        500,
      );
      const readers = await times(8, () => Reader.open(target));
      const end = performance.now() + 1500;
      await Promise.all(readers.map(async (reader) => {
        reader.stop();
        while (performance.now() < end) await pour(reader.client, pings);
      }));
      return () => {
        for (const reader of readers) reader.cut();
      };
    },
  },
  "readers that stop, with 256 MiB owed to them": {
    growth: 100,
    async act(target) {
      const message = masked({ opcode: Opcode.Binary, payload: pattern(MIB) });
      const readers = await times(8, () => Reader.open(target));
      let taken = 0;
      const pouring = readers.map(async (reader) => {
        reader.stop();
        try {
          for (let left = 256; left > 0; left--) {
            await reader.client.write(message);
            taken++;
          }
        } catch {
          // It is over.
        }
      });
      // Nothing more is taken from them, long before the end.
      const began = performance.now();
      for (let before = -1; taken > before;) {
        before = taken;
        assert(performance.now() - began < 30_000, "it is taken for ever");
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
      assert(taken < 8 * 100, `${taken} MiB were taken`);
      return async () => {
        for (const reader of readers) reader.cut();
        await Promise.all(pouring);
      };
    },
  },
  "readers that stop, and break a rule: no file is kept for them": {
    growth: 200,
    async act(target) {
      const { files } = target.usage();
      // What is owed is more than the system takes.
      const bytes = concat(
        masked({ opcode: Opcode.Binary, payload: pattern(16 * MIB) }),
        hex`83 80 00000000`,
      );
      const readers = await times(4, async () => {
        const reader = await Reader.open(target);
        reader.stop();
        pour(reader.client, bytes);
        return reader;
      });
      // The connections are given up after 5 s, though this side does nothing.
      await lessFiles(target, files);
      for (const reader of readers) reader.cut();
    },
  },
  "what is wrong is said by TLS, too": {
    async act(target) {
      const wrong: [Uint8Array, number][] = [
        [hex`82 ff 40 00 00 00 00 00 00 00  00 00 00 00`, 1009],
        [hex`81 81 00000000 ff`, 1007],
        [hex`83 80 00000000`, 1002],
      ];
      await times(30, async (i) => {
        const [bytes, code] = wrong[i % wrong.length]!;
        using client = await target.open();
        await pour(client, bytes);
        assertEquals(await closeCode(client), code);
      });
      const { caCerts } = target;
      const ws = await connect(target.url, { caCerts });
      assertEquals((await ws.close(3000)).code, 3000);
    },
  },
};

Deno.test({
  name: "TLS under attack" + (hasOpenssl ? "" : " (needs OpenSSL)"),
  ignore: !isLinux || !hasOpenssl,
}, async (t) => {
  await using certificate = await makeCertificate();
  const { cert, key, pem } = certificate;
  await using target = await Target.of({
    task: "recipe:tls",
    flags: ["--hostname", "127.0.0.1", "--cert", cert, "--key", key],
    caCerts: [pem],
  });
  await attackEach(t, target, ATTACKS);
});

Deno.test({
  name: "TLS, and out of file descriptors: the crowd is served later" +
    (hasOpenssl ? "" : " (needs OpenSSL)"),
  ignore: !isLinux || !hasOpenssl,
}, async () => {
  await using certificate = await makeCertificate();
  const { cert, key, pem } = certificate;
  const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
  await using program = new Program("sh", [
    ...["-c", 'ulimit -n 100; exec "$@"', "sh", Deno.execPath(), "run"],
    ...[`--config=${config}`, "--no-prompt", "--allow-net", "--allow-read"],
    ...["examples/recipes/tls.ts", "--port", "0", "--hostname", "127.0.0.1"],
    ...["--cert", cert, "--key", key],
  ]);
  const [, url = ""] = await program.expect(/^Listening on (.*)\n$/);
  const hostname = "127.0.0.1";
  const port = Number(new URL(url).port);
  const caCerts = [pem];
  await using before = await connect(url, { caCerts });
  const atFirst = usageOf(program.pid);
  const silent = await times(
    60,
    async () => new Client(await Deno.connect({ hostname, port })),
  );
  for (let i = 0; i < 5; i++) await assertAnswers(before);
  const full = usageOf(program.pid);
  // A connection takes three of them.
  assert(full.files >= 97, `${full.files} files are open`);
  const crowd = times(20, async () => {
    // The first, which had to wait for too long, may be refused.
    for (let left = 20; left > 0; left--) {
      try {
        return await connect(url, { caCerts });
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
    throw new Error("It was never let in");
  });
  await assertAnswers(before);
  closeAll(silent);
  for (const ws of await within(crowd, 60_000)) {
    await assertAnswers(ws);
    await ws.close();
  }
  await assertAnswers(before);
  const began = performance.now();
  let last = usageOf(program.pid);
  while (last.files > atFirst.files) {
    assert(performance.now() - began < 20_000, `${last.files} files are open`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    last = usageOf(program.pid);
  }
  console.log(
    [atFirst, full, last].map(({ rss, files }) =>
      `RSS ${rss.toFixed(0)} MiB, files ${files}`
    ).join(" -> "),
  );
  assert(last.rss < atFirst.rss + 64);
  program.kill("SIGTERM");
  assertEquals((await within(before.closed)).code, 1001);
  const { code, stderr } = await program.ended();
  assertEquals(code, 0);
  // One line in 10 s.
  assertMatch(stderr, /^(.*(os error 24|[Tt]oo many open files).*\n){1,5}$/);
});

Deno.test({
  name: "SIGTERM by TLS: what was taken is answered, and all get 1001" +
    (hasOpenssl ? "" : " (needs OpenSSL)"),
  ignore: !isLinux || !hasOpenssl,
}, async () => {
  await using certificate = await makeCertificate();
  const { cert, key, pem } = certificate;
  const { program, url } = await startServer(
    ...["recipe:tls", "--cert", cert, "--key", key] as const,
  );
  await using _ = program;
  const clients = await times(20, () => connect(url, { caCerts: [pem] }));
  const message = pattern(300_000);
  const answers = clients.map(async (ws) => {
    let count = 0;
    for await (const answer of ws) {
      assertEquals((answer as Uint8Array).length, message.length);
      count++;
    }
    return count;
  });
  for (const ws of clients) {
    ws.send(message);
    ws.send(message);
  }
  for (const ws of clients) await ws.ping(); // all has been taken
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended();
  assertEquals([code, stderr], [0, ""]);
  for (const ws of clients) {
    const { code, wasClean } = await within(ws.closed);
    assertEquals([code, wasClean], [1001, true]);
  }
  assertEquals(await within(Promise.all(answers)), Array(20).fill(2));
});
