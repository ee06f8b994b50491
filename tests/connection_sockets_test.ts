/** Connections on real sockets: TCP, TLS, Unix; memory, resets, many at once. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { accept } from "../accept.ts";
import { connect } from "../connect.ts";
import { ConnectionClosedError } from "../connection.ts";
import { encodeFrame, Opcode } from "../frame.ts";
import { bounded, withoutUnhandled } from "./_connection.ts";
import { hasOpenssl, makeCertificate } from "./_certificate.ts";
import { bytesOf, isSame, LENGTHS, OurServer, textOf } from "./_interop.ts";

const HERE = { hostname: "127.0.0.1", port: 0 };

Deno.test(
  "TCP: messages of every boundary length, there and back",
  bounded(async () => {
    await using server = new OurServer();
    await using ws = await connect(server.url);
    for (const length of LENGTHS) {
      for (const data of [bytesOf(length), textOf(length)]) {
        const [back] = await Promise.all([ws.receive(), ws.send(data)]);
        assert(isSame(back, data), `${length}`);
      }
    }
  }, 60_000),
);

Deno.test(
  "TCP: who is at the other end",
  bounded(async () => {
    await using server = new OurServer();
    const accepted = server.next();
    await using ws = await connect(`${server.url}path`);
    const theirs = await accepted;
    assertEquals(ws.remoteAddr?.transport, "tcp");
    assertEquals(ws.remoteAddr?.hostname, "127.0.0.1");
    assertEquals(ws.remoteAddr?.port, server.port);
    assertEquals(theirs.remoteAddr?.hostname, "127.0.0.1");
    assertEquals(theirs.request?.target, "/path");
  }),
);

Deno.test(
  "TCP: nobody listens, or nobody answers",
  bounded(async () => {
    const listener = Deno.listen(HERE);
    const { port } = listener.addr;
    await assertRejects(
      () => connect(`ws://127.0.0.1:${port}/`, { handshakeTimeout: 50 }),
      Error,
      "50 ms",
    );
    await assertRejects(
      () =>
        connect(`ws://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(20) }),
      DOMException,
    );
    listener.close();
    await assertRejects(
      () => connect(`ws://127.0.0.1:${port}/`),
      Deno.errors.ConnectionRefused,
    );
  }),
);

Deno.test(
  "TCP: a peer that resets the connection, with messages on the way",
  bounded(() =>
    withoutUnhandled(async () => {
      const listener = Deno.listen(HERE);
      const { port } = listener.addr;
      for (const unread of [0, 100_000]) {
        const accepting = listener.accept().then((conn) => accept(conn));
        const conn = await Deno.connect({ ...HERE, port });
        await conn.write(
          new TextEncoder().encode(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n" +
              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
          ),
        );
        const ws = await accepting;
        const payload = new TextEncoder().encode("last");
        const opcode = Opcode.Text;
        await conn.write(encodeFrame({ opcode, payload, maskingKey: 1 }));
        assertEquals(await ws.receive(), "last");
        await ws.send(new Uint8Array(unread));
        // To close with bytes unread is a reset.
        conn.close();
        await assertRejects(() => ws.receive(), ConnectionClosedError);
        const { code, wasClean } = await ws.closed;
        assertEquals([code, wasClean], [1006, false]);
        await assertRejects(() => ws.send("late"), ConnectionClosedError);
      }
      listener.close();
    })
  ),
);

Deno.test(
  "TCP: five hundred connections come and go, and leave nothing open",
  bounded(async () => {
    const isLinux = Deno.build.os === "linux";
    const count = async () => {
      const args = [`/proc/${Deno.pid}/fd`];
      const { stdout } = await new Deno.Command("ls", { args }).output();
      return new TextDecoder().decode(stdout).split("\n").length;
    };
    await using server = new OurServer();
    const before = isLinux ? await count() : 0;
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 100 }, async (_, i) => {
        const ws = await connect(server.url);
        await ws.send(`${i}`);
        assertEquals(await ws.receive(), `${i}`);
        if (i % 3 === 0) ws.terminate();
        else await ws.close();
      }));
    }
    while (server.ended.length < 500) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const after = isLinux ? await count() : 0;
    assert(after <= before + 5, `${after} files are open, ${before} were`);
  }, 60_000),
);

Deno.test(
  "TCP: 256 MiB echoed to a peer that reads nothing cost less than 50 MB",
  bounded(async () => {
    await using server = new OurServer();
    const conn = await Deno.connect({
      hostname: "127.0.0.1",
      port: server.port,
    });
    const accepted = server.next();
    await conn.write(
      new TextEncoder().encode(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n" +
          "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      ),
    );
    const ws = await accepted;
    const frame = encodeFrame({
      opcode: Opcode.Binary,
      payload: new Uint8Array(65536),
      maskingKey: 1,
    });
    const { rss } = Deno.memoryUsage();
    let sent = 0;
    let highest = rss;
    for (let stuck = false; !stuck && sent < 256 * 1024 * 1024;) {
      let timer: ReturnType<typeof setTimeout>;
      const waiting = new Promise<boolean>((resolve) => {
        timer = setTimeout(() => resolve(true), 500);
      });
      const writing = (async () => {
        let rest = frame;
        while (rest.length > 0) {
          const length = await conn.write(rest);
          sent += length;
          rest = rest.subarray(length);
        }
        return false;
      })();
      writing.catch(() => {});
      stuck = await Promise.race([writing, waiting]);
      clearTimeout(timer!);
      highest = Math.max(highest, Deno.memoryUsage().rss);
    }
    const grown = (highest - rss) / 1e6;
    assert(grown < 50, `${grown} MB more, after ${sent} bytes`);
    assert(sent < 64 * 1024 * 1024, "it goes on reading what it cannot send");
    assert(ws.bufferedAmount < 1024 * 1024, `${ws.bufferedAmount} wait`);
    conn.close();
    assertEquals((await ws.closed).code, 1006);
  }, 60_000),
);

Deno.test({
  name: "TLS: wss:, with a certificate that is trusted, and one that is not" +
    (hasOpenssl ? "" : " (needs OpenSSL)"),
  ignore: !hasOpenssl,
  fn: bounded(async () => {
    await using certificate = await makeCertificate();
    const listener = certificate.listen();
    await using server = new OurServer({}, undefined, listener);
    const url = `wss://localhost:${server.port}/`;
    {
      await using ws = await connect(url, { caCerts: [certificate.pem] });
      for (const length of LENGTHS) {
        const data = bytesOf(length);
        const [back] = await Promise.all([ws.receive(), ws.send(data)]);
        assert(isSame(back, data), `${length}`);
      }
      assertEquals(await ws.close(3000), {
        code: 3000,
        reason: "",
        wasClean: true,
      });
    }
    const dropped = await connect(url, { caCerts: [certificate.pem] });
    dropped.terminate();
    await assertRejects(() => connect(url), Error);
  }, 60_000),
});

Deno.test({
  name: "TLS: the end of a message does not wait for an acknowledgement" +
    (hasOpenssl ? "" : " (needs OpenSSL)"),
  ignore: !hasOpenssl,
  fn: bounded(async () => {
    await using certificate = await makeCertificate();
    await using server = new OurServer({}, undefined, certificate.listen());
    const dial = Deno.connect;
    const told: unknown[] = [];
    Deno.connect = (async (options: Deno.ConnectOptions) => {
      const conn = await dial(options);
      const setNoDelay = conn.setNoDelay.bind(conn);
      conn.setNoDelay = (noDelay) => {
        told.push(noDelay);
        setNoDelay(noDelay);
      };
      return conn;
    }) as typeof Deno.connect;
    try {
      const url = `wss://localhost:${server.port}/`;
      await using ws = await connect(url, { caCerts: [certificate.pem] });
      await ws.ping();
    } finally {
      Deno.connect = dial;
    }
    // Nagle's algorithm makes 64 KiB take 40 ms longer.
    assertEquals(told, [true]);
  }, 60_000),
});

Deno.test({
  name: "TLS: certificates that are none leave nothing open" +
    (hasOpenssl ? "" : " (needs OpenSSL)"),
  ignore: !hasOpenssl,
  fn: bounded(async () => {
    await using certificate = await makeCertificate();
    using listener = certificate.listen();
    const url = `wss://localhost:${listener.addr.port}/`;
    await assertRejects(
      () =>
        connect(url, {
          caCerts: [
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
          ],
        }),
      Error,
    );
    (await listener.accept()).close();
  }, 60_000),
});

Deno.test({
  name: "Unix: a socket in the file system",
  ignore: Deno.build.os === "windows",
  fn: bounded(async () => {
    const folder = await Deno.makeTempDir();
    try {
      const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          `--config=${config}`,
          "--no-prompt",
          "--no-check",
          `--allow-read=${folder}`,
          `--allow-write=${folder}`,
          `--allow-net=unix:${folder}/socket`,
          "tests/_unix_talk.ts",
          `${folder}/socket`,
        ],
        cwd: new URL("../", import.meta.url),
        env: { NO_COLOR: "1" },
        stdin: "null",
      }).output();
      const said = new TextDecoder().decode(stdout);
      assertEquals(said, "unix\ngood\n", new TextDecoder().decode(stderr));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }, 60_000),
});
