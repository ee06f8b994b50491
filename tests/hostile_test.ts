/** Attacks on `deno task echo`. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { connect as connectTcp } from "node:net";
import { deflateRawSync } from "node:zlib";
import { connect } from "../connect.ts";
import { Opcode, RSV1 } from "../frame.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
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
import { Program } from "./_program.ts";
import { type Client, request, upgrade, within } from "./_server.ts";

const MIB = 1024 * 1024;
const UPGRADE = upgradeBytes();
const HEAD = UPGRADE.length;

function attackTest(
  name: string,
  flags: string[],
  attacks: Attacks,
): void {
  Deno.test({ name, ignore: !isLinux }, async (t) => {
    await using target = await Target.start(...flags);
    await attackEach(t, target, attacks);
  });
}

attackTest("echo under attack", [], {
  "random bytes, before and after the handshake": {
    async act(target) {
      await times(200, async (i) => {
        using client = await (i % 2 === 0 ? target.dial() : target.open());
        const bytes = noise(14 + Math.floor(random() * 4000));
        if (i % 4 > 1) bytes.set(hex`82 fe 10 00`); // as far as a payload
        await pour(client, bytes);
        if (i % 3 === 0) return;
        await client.conn.closeWrite().catch(() => {});
        await within(swallow(client), 30_000);
      });
    },
  },
  "an end at every byte offset of a handshake and of frames": {
    async act(target) {
      const bytes = concat(
        UPGRADE,
        masked({ opcode: Opcode.Text, fin: false, payload: utf8("\u00e9") }),
        masked({ opcode: Opcode.Ping, payload: utf8("ping") }),
        masked({ opcode: Opcode.Continuation, payload: pattern(200) }),
      );
      for (let from = 0; from <= bytes.length; from += 50) {
        await times(Math.min(50, bytes.length + 1 - from), async (i) => {
          using client = await target.dial();
          await pour(client, bytes.subarray(0, from + i));
          await client.conn.closeWrite();
          await within(swallow(client), 30_000);
        });
      }
    },
  },
  "a reset at every byte offset of a handshake and of frames": {
    async act(target) {
      const bytes = concat(
        UPGRADE,
        masked({ opcode: Opcode.Binary, payload: pattern(200) }),
      );
      for (let from = 0; from <= bytes.length; from += 50) {
        const count = Math.min(50, bytes.length + 1 - from);
        const sockets = await times(count, async (i) => {
          const socket = await target.dialToReset();
          const end = from + i;
          await writeAll(socket, bytes.subarray(0, Math.min(end, HEAD)));
          if (end < HEAD) return socket;
          await within(new Promise((resolve) => socket.once("data", resolve)));
          await writeAll(socket, bytes.subarray(HEAD, end));
          return socket;
        });
        // All that was sent has been read.
        await target.comesRound();
        for (const socket of sockets) socket.resetAndDestroy();
        // And once more, so that it may come while the connection is accepted.
        await times(count, async (i) => {
          const socket = await target.dialToReset();
          await writeAndReset(socket, bytes.subarray(0, from + i));
        });
      }
    },
  },
  "resets before accept() do not keep others out": {
    async act(target) {
      let isOver = false;
      const attackers = times(8, async () => {
        while (!isOver) {
          const socket = await target.dialToReset();
          socket.resetAndDestroy();
        }
      });
      const took: number[] = [];
      for (let i = 0; i < 5; i++) {
        const began = performance.now();
        const ws = await within(connect(target.url), 30_000);
        took.push(performance.now() - began);
        await ws.close();
      }
      isOver = true;
      await attackers;
      took.sort((a, b) => a - b);
      assert(took[2]! < 1000, `new connections took ${took} ms`);
    },
  },
  "frames that announce what can never come": {
    async act(target) {
      const announcements: [Uint8Array, number][] = [
        [hex`82 ff 40 00 00 00 00 00 00 00  00 00 00 00`, 1009], // 2^62
        [hex`82 ff ff ff ff ff ff ff ff ff  00 00 00 00`, 1002],
        [hex`82 ff 00 1f ff ff ff ff ff ff  00 00 00 00`, 1009], // 2^53 - 1
        [hex`82 ff 00 00 00 00 01 00 00 01  00 00 00 00`, 1009], // 16 MiB + 1
        [hex`82 ff 00 00 00 00 00 00 ff ff  00 00 00 00`, 1002], // not minimal
        [hex`89 fe 00 7e  00 00 00 00`, 1002], // a ping of 126 bytes
      ];
      await times(30, async (i) => {
        const [bytes, code] = announcements[i % announcements.length]!;
        using client = await target.open();
        await pour(client, bytes);
        await client.conn.closeWrite();
        assertEquals(await closeCode(client), code);
      });
    },
  },
  "300 frames of 16 MiB that are announced and never come": {
    growth: 100,
    async act(target) {
      const clients = await times(300, async (i) => {
        const client = await target.open();
        const payload = pattern(1 + i % 20);
        await client.write(hex`82 ff 00 00 00 00 01 00 00 00  00 00 00 00`);
        await client.write(payload);
        return client;
      });
      return () => closeAll(clients);
    },
  },
  "endless fragments": {
    growth: 150,
    async act(target) {
      const first = masked({ opcode: Opcode.Binary, fin: false });
      const more = [0, 1, 3000].map((length) =>
        masked({
          opcode: Opcode.Continuation,
          fin: false,
          payload: new Uint8Array(length),
        })
      );
      await times(6, async (i) => {
        const batch = repeat(more[i % 3]!, i % 3 === 2 ? 100 : 4000);
        using client = await target.open();
        const code = closeCode(client);
        await pour(client, first);
        for (let left = 100; left > 0; left--) {
          if (await pour(client, batch) !== undefined) break;
        }
        await client.conn.closeWrite().catch(() => {});
        assertEquals(await code, i % 3 === 2 ? 1009 : 1008);
      });
    },
  },
  "floods of pings, whose pongs nobody reads": {
    async act(target) {
      const pings = repeat(
        masked({ opcode: Opcode.Ping, payload: pattern(125) }),
        500,
      );
      const clients = await times(10, async () => {
        const client = await target.open();
        const end = performance.now() + 1500;
        while (performance.now() < end) await pour(client, pings);
        return client;
      });
      return () => closeAll(clients);
    },
  },
  "readers that stop, with 256 MiB owed to them": {
    growth: 100,
    async act(target) {
      const message = masked({ opcode: Opcode.Binary, payload: pattern(MIB) });
      const small = repeat(
        masked({ opcode: Opcode.Text, payload: utf8("Hello") }),
        100_000,
      );
      const clients = await times(8, () => target.open());
      let taken = 0;
      const left = clients.map(() => 256 * MIB);
      const pouring = clients.map(async ({ conn }, i) => {
        const batch = i % 2 === 0 ? message : small;
        try {
          for (let rest = batch; left[i]! > 0;) {
            const length = await conn.write(rest);
            taken += length;
            left[i]! -= length;
            rest = length < rest.length ? rest.subarray(length) : batch;
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
      for (const length of left) {
        assert(length > 200 * MIB, `${256 * MIB - length} bytes were taken`);
      }
      return async () => {
        closeAll(clients);
        await Promise.all(pouring);
      };
    },
  },
  "200 frames that come a byte at a time": {
    async act(target) {
      const clients = await times(200, async () => {
        const client = await target.open();
        await client.write(hex`81 ff 00 00 00 00 00 10 00 00  00 00 00 00`);
        return client;
      });
      // No end of them: each byte comes with a packet, and a read, of its own.
      let isOver = false;
      const dripping = (async () => {
        while (!isOver) {
          await Promise.all(clients.map((client) => pour(client, hex`61`)));
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      })();
      return async () => {
        isOver = true;
        await dripping;
        closeAll(clients);
      };
    },
  },
  "closing handshakes that are never completed": {
    async act(target) {
      const before = target.usage().files;
      const clients = await times(150, async (i) => {
        const client = await target.open();
        // A fault, or a goodbye; the connection is then kept, and talked on.
        await client.write(
          i % 2 === 0 ? hex`83 80 00000000` : hex`88 80 00000000`,
        );
        if (i % 4 === 0) await pour(client, repeat(noise(1024), 1024));
        return client;
      });
      // The server gives all of them up, though this side does nothing.
      const began = performance.now();
      while (target.usage().files > before) {
        assert(performance.now() - began < 20_000, "they are kept");
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      closeAll(clients);
    },
  },
  "half-closed in the middle of a message": {
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
  "pages asked for by the thousand, and not read, or read": {
    async act(target) {
      const requests = utf8(request("GET /").repeat(1000));
      const clients = await times(10, () => target.dial());
      const pouring = clients.map(async (client, i) => {
        if (i % 2 === 1) swallow(client);
        for (let left = 50; left > 0; left--) {
          if (await pour(client, requests) !== undefined) break;
        }
      });
      await new Promise((resolve) => setTimeout(resolve, 1500));
      return async () => {
        closeAll(clients);
        await Promise.all(pouring);
      };
    },
  },
  "heads above every limit": {
    async act(target) {
      const heads: [head: string, status: number][] = [
        [request("GET /", ...Array(101).fill("A: b")), 431],
        [request("GET /", `A: ${"b".repeat(20_000)}`), 431],
        [`GET /${"a".repeat(20_000)}`, 431],
        ["A".repeat(20_000), 431],
        [request("POST /", "Content-Length: 99999999999999999999"), 413],
        [request("POST /", "Content-Length: 1048577"), 413],
        [request("POST /", "Transfer-Encoding: chunked"), 411],
        [request("POST /", "Content-Length: -1"), 400],
      ];
      await times(120, async (i) => {
        const [head, status] = heads[i % heads.length]!;
        using client = await target.dial();
        await pour(client, utf8(head));
        await client.conn.closeWrite().catch(() => {});
        const answer = await client.readAnswer();
        assertEquals(answer.status, status, head.slice(0, 60));
      });
    },
  },
  "2,000 connections that say nothing, and 200 that say little": {
    growth: 100,
    async act(target) {
      const slow = await times(200, () => target.dial());
      const silent: Client[] = [];
      for (let i = 0; i < 20; i++) {
        silent.push(...await times(100, () => target.dial()));
      }
      let isOver = false;
      const slowloris = (async () => {
        const head = utf8(upgrade("/", `X: ${"x".repeat(500)}`));
        for (let i = 0; i < head.length && !isOver; i++) {
          await Promise.all(
            slow.map((client) => pour(client, head.subarray(i, i + 1))),
          );
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      })();
      return async () => {
        // The server gives them up after 10 s, whatever they do.
        for (const client of [...slow, ...silent]) {
          await within(swallow(client), 30_000);
        }
        isOver = true;
        await slowloris;
        closeAll([...slow, ...silent]);
      };
    },
  },
});

/** A message in one frame, compressed to the utmost. */
function bomb(payload: Uint8Array, fin = true): Uint8Array<ArrayBuffer> {
  const deflated = deflateRawSync(payload, { level: 9, finishFlush: 2 });
  return masked({
    opcode: Opcode.Binary,
    fin,
    reservedBits: RSV1,
    payload: new Uint8Array(deflated.subarray(0, -4)),
  });
}

attackTest("echo --compress under attack", ["--compress"], {
  "bombs of 16 MiB, one after the other": {
    growth: 400,
    async act(target) {
      const bytes = bomb(new Uint8Array(16 * MIB));
      const clients = await times(6, () => target.openCompressed());
      const pouring = clients.map(async (client) => {
        const reading = swallow(client);
        for (let left = 1000; left > 0; left--) {
          if (await pour(client, bytes) !== undefined) break;
        }
        await reading;
      });
      return async () => {
        closeAll(clients);
        await Promise.all(pouring);
      };
    },
  },
  "bombs above the limit": {
    growth: 200,
    async act(target) {
      const bytes = bomb(new Uint8Array(200 * MIB));
      await times(10, async () => {
        using client = await target.openCompressed();
        await pour(client, bytes);
        await client.conn.closeWrite();
        assertEquals(await closeCode(client), 1009);
      });
    },
  },
  "16 MiB that take long to compress": {
    growth: 300,
    async act(target) {
      const payload = Uint8Array.from(noise(MIB), (byte) => byte & 3);
      const bytes = masked({
        opcode: Opcode.Binary,
        payload: repeat(payload, 16),
      });
      const clients = await times(3, () => target.openCompressed());
      await Promise.all(clients.map(async (client) => {
        const reading = swallow(client);
        await pour(client, bytes);
        await client.write(hex`88 80 00000000`);
        await within(reading, 60_000);
      }));
      closeAll(clients);
    },
  },
  "noise that claims to be compressed": {
    async act(target) {
      await times(200, async () => {
        using client = await target.openCompressed();
        const payload = noise(Math.floor(random() * 2000));
        await pour(
          client,
          masked({ opcode: Opcode.Text, reservedBits: RSV1, payload }),
        );
        await client.conn.closeWrite().catch(() => {});
        const code = await closeCode(client);
        assert([1007, 1008, 1009, 0].includes(code), `${code}`);
      });
    },
  },
  "compressed fragments without end, of one byte or none": {
    async act(target) {
      const first = masked({
        opcode: Opcode.Binary,
        fin: false,
        reservedBits: RSV1,
      });
      await times(4, async (i) => {
        const payload = new Uint8Array(i % 2).fill(0xaa);
        const more = repeat(
          masked({ opcode: Opcode.Continuation, fin: false, payload }),
          4000,
        );
        using client = await target.openCompressed();
        const code = closeCode(client);
        await pour(client, first);
        for (let left = 100; left > 0; left--) {
          if (await pour(client, more) !== undefined) break;
        }
        await client.conn.closeWrite().catch(() => {});
        assert([1007, 1008].includes(await code));
      });
    },
  },
  "messages of empty blocks": {
    async act(target) {
      // Blocks of every kind that hold nothing: stored, fixed, last ones.
      const blocks = [
        hex`00 00 00 ff ff`,
        hex`02 00`,
        hex`03 00`,
        hex`12 08 20 80`,
      ];
      await times(8, async (i) => {
        const payload = repeat(blocks[i % blocks.length]!, 60_000);
        const bytes = masked({
          opcode: Opcode.Binary,
          reservedBits: RSV1,
          payload,
        });
        using client = await target.openCompressed();
        const reading = swallow(client);
        for (let left = 5; left > 0; left--) await pour(client, bytes);
        await client.conn.closeWrite().catch(() => {});
        await within(reading, 30_000);
      });
    },
  },
});

/**
 * A TCP connection from an address of this machine's that is never ended from
 * here; what comes first, and all that comes until the other side ends it.
 */
async function dialFrom(
  localAddress: string,
  port: number,
  request = "",
): Promise<{ first: Promise<string>; answer: Promise<string>; end(): void }> {
  const socket = connectTcp({
    ...{ host: "127.0.0.1", port, localAddress },
    allowHalfOpen: true,
  });
  let text = "";
  socket.setEncoding("latin1");
  socket.on("data", (data) => text += data);
  const first = new Promise<string>((resolve) =>
    socket.once("data", () => resolve(text))
  );
  const answer = new Promise<string>((resolve) => {
    for (const event of ["error", "end", "close"]) {
      socket.on(event, () => resolve(text));
    }
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  if (request !== "") socket.write(request);
  return { first, answer, end: () => socket.destroy() };
}

/** How many files are kept open for those who are refused (`_opening.ts`). */
const LINGERING = 100;

interface Crowd {
  /** The last numbers of the addresses that it comes from. */
  addresses: number[];
  /** How many come from each. */
  each: number;
  /** How many of them get a place. */
  stay: number;
  /** What the others are answered. */
  reason: RegExp;
}

/** Connects all, and asserts that some are refused with a reason. */
async function crowd(
  target: Target,
  { addresses, each, stay, reason }: Crowd,
): Promise<() => void> {
  const before = target.usage();
  const all: Awaited<ReturnType<typeof dialFrom>>[] = [];
  const answers: string[] = [];
  for (let left = each; left > 0; left -= 50) {
    for (const address of addresses) {
      const some = await times(
        Math.min(left, 50),
        () => dialFrom(`127.0.0.${address}`, target.port),
      );
      for (const { answer } of some) answer.then((text) => answers.push(text));
      all.push(...some);
    }
  }
  const began = performance.now();
  while (answers.length < all.length - stay) {
    assert(performance.now() - began < 8000, `${answers.length} answers`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { files } = target.usage();
  assert(files <= before.files + stay + LINGERING, `${files} files`);
  assertEquals(answers.length, all.length - stay);
  for (const text of answers) {
    assertMatch(text, /^HTTP\/1\.1 503 [^]*\r\nRetry-After: 10\r\n/i);
    assertMatch(text, reason);
  }
  return () => {
    for (const { end } of all) end();
  };
}

attackTest(
  "echo with limits under attack",
  ["--max-connections", "50", "--max-connections-per-address", "15"],
  {
    "crowds from three addresses: 15 of each stay": {
      async act(target) {
        return await crowd(target, {
          addresses: [2, 3, 4],
          each: 200,
          stay: 45,
          reason: /Your address has as many/,
        });
      },
    },
    "13 from each of four addresses: 48 stay, beside the two witnesses": {
      async act(target) {
        return await crowd(target, {
          addresses: [1, 2, 3, 4],
          each: 13,
          stay: 48,
          reason: /The server has as many/,
        });
      },
    },
    "upgrades that are refused, and go on": {
      async act(target) {
        const before = target.usage();
        const request = upgrade("/", "Content-Length: 1") + "x".repeat(1000);
        const refused: Awaited<ReturnType<typeof dialFrom>>[] = [];
        for (let i = 0; i < 20; i++) {
          const some = await times(
            15,
            () => dialFrom(`127.0.0.${2 + i % 3}`, target.port, request),
          );
          for (const { answer } of some) {
            assertMatch(await within(answer), /^HTTP\/1\.1 400 /);
          }
          refused.push(...some);
          const { files } = target.usage();
          assert(files <= before.files + LINGERING + 15, `${files} files`);
        }
        for (const { end } of refused) end();
      },
    },
  },
);

Deno.test({
  name: "danmaku keeps the limits that it is given",
  ignore: !isLinux,
}, async () => {
  const limits = ["--max-connections", "3"]
    .concat(["--max-connections-per-address", "2"]);
  const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
  await using danmaku = new Program(Deno.execPath(), [
    ...["run", `--config=${config}`, "--no-prompt", "--allow-net"],
    ...["--allow-read=examples/danmaku", "examples/danmaku/main.ts"],
    ...["--port", "0", ...limits],
  ]);
  const [, port] = await danmaku.expect(/^Listening on http:.*:(\d+)\/\n/);
  const ends: (() => void)[] = [];
  const enter = async (address: string): Promise<string> => {
    const request = upgrade("/rooms/lobby");
    const { first, end } = await dialFrom(address, Number(port), request);
    ends.push(end);
    return await within(first);
  };
  const entered = /^HTTP\/1\.1 101 /;
  assertMatch(await enter("127.0.0.2"), entered);
  assertMatch(await enter("127.0.0.2"), entered);
  assertMatch(await enter("127.0.0.2"), /^HTTP\/1\.1 503 [^]*Your address has/);
  assertMatch(await enter("127.0.0.3"), entered);
  assertMatch(await enter("127.0.0.3"), /^HTTP\/1\.1 503 [^]*The server has/);
  for (const end of ends) end();
  danmaku.kill("SIGTERM");
  const { code, stderr } = await danmaku.ended();
  assertEquals([code, stderr], [0, ""]);
});
