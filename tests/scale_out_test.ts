/** Many processes on one port, joined by a Redis that comes and goes. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Hub, type PreparedMessage } from "../mod.ts";
import {
  reasonOf,
  RedisBackplane,
} from "../examples/scale_out/redis_backplane.ts";
import { Viewer } from "./_danmaku.ts";
import { type Outcome, Program } from "./_program.ts";
import { redisTest, type TestRedis } from "./_redis.ts";
import { within } from "./_server.ts";
import { type Usage, usageOf } from "./_usage.ts";

const decoder = new TextDecoder();

/** A hub on a connection to Redis, and a subscriber. */
class Member implements AsyncDisposable {
  readonly hub: Hub;
  readonly received: string[] = [];
  readonly said: string[] = [];
  #onChange = () => {};

  private constructor(readonly redis: TestRedis, backplane: RedisBackplane) {
    this.hub = new Hub({ backplane });
  }

  static async join(redis: TestRedis): Promise<Member> {
    // deno-lint-ignore prefer-const
    let member: Member;
    const backplane = await RedisBackplane.connect(redis.url, {
      backoff: [10, 100],
      onStatus: (line) => {
        member.said.push(line);
        member.#onChange();
      },
    });
    member = new Member(redis, backplane);
    await within(member.hub.subscribe("tea", {
      bufferedAmount: 0,
      send: ({ data }: PreparedMessage) => {
        member.received.push(decoder.decode(data));
        member.#onChange();
      },
      close: () => {},
    }));
    return member;
  }

  async until(holds: (member: Member) => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onChange = () => holds(this) && resolve();
    this.#onChange();
    await within(promise);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.close();
  }
}

redisTest("hubs share what they publish, in order and once", async (redis) => {
  await using here = await Member.join(redis);
  await using there = await Member.join(redis);
  const texts = Array.from({ length: 2000 }, (_, i) => `${i} 弹`);
  for (const text of texts) here.hub.publish("tea", text);
  here.hub.publish("milk", "not for them");
  const bytes = new Uint8Array([0xe2, 0x82, 0xac]);
  await within(here.hub.publish("tea", bytes).forwarded);
  texts.push("€");
  await there.until(({ received }) => received.length >= texts.length);
  assertEquals(there.received, texts);
  assertEquals(here.received, texts);
});

redisTest(
  "what is published while Redis is away stays here, and never comes late",
  async (redis) => {
    await using here = await Member.join(redis);
    await using there = await Member.join(redis);
    await redis.kill();
    for (const member of [here, there]) {
      await member.until(({ said }) => said.length === 1);
      assertMatch(member.said[0]!, /^Redis is away \(.+\): trying again/);
    }
    const { sent, forwarded } = here.hub.publish("tea", "away");
    assertEquals(sent, 1);
    await assertRejects(() => within(forwarded));
    // Topics that are left and joined meanwhile are as they should be after.
    const late = { bufferedAmount: 0, send: () => {}, close: () => {} };
    const joined = there.hub.subscribe("milk", late);
    there.hub.subscribe("sugar", late);
    there.hub.unsubscribe("sugar", late);

    await redis.start();
    for (const member of [here, there]) {
      await member.until(({ said }) => said.length === 2);
      assertMatch(member.said[1]!, /^Redis is back after \d+\.\d s$/);
    }
    await within(joined);
    await within(there.hub.subscribe("tea", late));
    await within(here.hub.publish("tea", "back").forwarded);
    await there.until(({ received }) => received.includes("back"));
    assertEquals(here.received, ["away", "back"]);
    assertEquals(there.received, ["back"]);
  },
);

redisTest("what no hub has published is passed over", async (redis) => {
  await using here = await Member.join(redis);
  const { createClient } = await import("redis");
  const client = createClient({ url: redis.url });
  await client.connect();
  for (const junk of ["", "{", "[]", "null", '{"publisher":1,"data":"x"}']) {
    await client.publish("hub:tea", junk);
  }
  const fine = { publisher: "x", data: "fine", type: "text" };
  await client.publish("hub:tea", JSON.stringify(fine));
  await here.until(({ received }) => received.length > 0);
  assertEquals(here.received, ["fine"]);
  client.destroy();
});

redisTest("a backplane that is closed leaves nobody waiting", async (redis) => {
  const here = await Member.join(redis);
  await redis.kill();
  await here.until(({ said }) => said.length === 1);
  const late = { bufferedAmount: 0, send: () => {}, close: () => {} };
  const joined = here.hub.subscribe("milk", late);
  await here.hub.close();
  await assertRejects(() => within(joined), Error, "left");
});

redisTest("a topic that Redis refuses is asked for again", async (redis) => {
  await using here = await Member.join(redis);
  const { createClient } = await import("redis");
  const client = createClient({ url: redis.url });
  await client.connect();
  const allow = (...rules: string[]) =>
    client.sendCommand(["ACL", "SETUSER", "default", ...rules]);
  await allow("resetchannels", "&hub:tea");
  const received: string[] = [];
  const joined = here.hub.subscribe("milk", {
    bufferedAmount: 0,
    send: ({ data }: PreparedMessage) => {
      received.push(decoder.decode(data));
    },
    close: () => {},
  });
  await here.until(({ said }) => said.length > 0);
  assertMatch(
    here.said[0]!,
    /^Redis does not let hub:milk be subscribed to \(NOPERM .*\): trying again$/,
  );
  await allow("allchannels");
  await within(joined);
  const message = { publisher: "x", data: "with sugar", type: "text" };
  assertEquals(await client.publish("hub:milk", JSON.stringify(message)), 1);
  await within((async () => {
    while (received.length === 0) await new Promise((done) => setTimeout(done));
  })());
  assertEquals([received, here.said.length], [["with sugar"], 1]);
  client.destroy();
});

Deno.test("what is wrong with Redis is told in a few words", () => {
  const refused = new Error("connect ECONNREFUSED 127.0.0.1:6379");
  assertEquals(reasonOf(refused), "nobody listens");
  assertEquals(reasonOf(new AggregateError([refused])), "nobody listens");
  assertEquals(reasonOf(new Error("NOAUTH")), "NOAUTH");
});

// --- The program -------------------------------------------------------------

/** `deno task scale-out`, with the permissions that it has. */
function scaleOut(...args: string[]): Program {
  const config = Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json";
  return new Program(Deno.execPath(), [
    "run",
    `--config=${config}`,
    "--no-prompt",
    "--allow-net",
    "--allow-env=DENO_TASK_CONFIG",
    `--allow-run=${Deno.execPath()}`,
    "examples/scale_out/main.ts",
    ...args,
  ]);
}

/** Enters until there is a viewer on each of the processes. */
async function enterAll(url: string, processes: number): Promise<Viewer[]> {
  const viewers = new Map<string, Viewer>();
  for (let i = 0; viewers.size < processes; i++) {
    assert(i < 100, "the kernel gives all connections to the same process");
    const viewer = await Viewer.enter(url);
    const { server = "" } = viewer.welcome;
    if (viewers.has(server)) await viewer[Symbol.asyncDispose]();
    else viewers.set(server, viewer);
  }
  return Array.from(viewers.keys()).sort().map((name) => viewers.get(name)!);
}

/** Each says something until the other has heard it, as it does once joined. */
async function meet(anna: Viewer, ben: Viewer, text: string): Promise<void> {
  for (const [one, other] of [[anna, ben], [ben, anna]] as const) {
    const say = () => one.say(`${text} ${one.welcome.server}`);
    const saying = setInterval(say, 100);
    say();
    await other.hears(`${text} ${one.welcome.server}`);
    clearInterval(saying);
  }
}

const isLinux = Deno.build.os === "linux";

/** How much memory a Redis that comes and goes may cost a process, in MiB. */
const GROWTH = 100;

/** The ids of the processes, once all are ready. */
async function processesOf(program: Program, count: number): Promise<number[]> {
  const ids: number[] = [];
  for (let i = 1; i <= count; i++) {
    const ready = new RegExp(`\\[${i}\\] Process (\\d+) is ready`);
    ids.push(Number((await program.expect(ready))[1]));
  }
  return ids;
}

function usage(pid: number): Usage | undefined {
  return isLinux ? usageOf(pid) : undefined;
}

/**
 * Prints what processes hold, and asserts that it is little more than before.
 */
async function assertKept(
  workers: number[],
  before: (Usage | undefined)[],
): Promise<void> {
  for (const [i, pid] of workers.entries()) {
    const [had, has] = [before[i], usage(pid)];
    if (had === undefined || has === undefined) return;
    let { files } = has;
    for (let left = 100; files > had.files && left > 0; left--) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      files = usageOf(pid).files;
    }
    console.log(
      `[${i + 1}]: RSS ${had.rss.toFixed(0)} -> ${
        has.rss.toFixed(0)
      } MiB, files ${had.files} -> ${files}`,
    );
    assert(has.rss < had.rss + GROWTH, "memory has grown");
    assert(files <= had.files, "files are left open");
  }
}

/** Asserts that no comment has come twice to anybody. */
function assertHeardOnce(viewers: Viewer[]): void {
  for (const viewer of viewers) {
    const ids = viewer.comments.map(({ id }) => id);
    assertEquals(new Set(ids).size, ids.length, "a comment came twice");
  }
}

/** Stops the program, and asserts that it and its viewers end as they should. */
async function assertEndsWell(
  program: Program,
  viewers: Viewer[],
): Promise<void> {
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended();
  assertEquals([code, stderr], [0, ""]);
  await within(Promise.all(viewers.map(({ ended }) => ended)));
}

/** Asserts that what each says comes back to it within a second. */
async function comesBack(viewers: Viewer[], text: string): Promise<void> {
  for (const viewer of viewers) {
    const began = performance.now();
    viewer.say(`${text} ${viewer.welcome.server}`);
    await viewer.hears(`${text} ${viewer.welcome.server}`);
    const took = performance.now() - began;
    assert(took < 1000, `a comment took ${took} ms`);
  }
}

redisTest(
  "viewers of two processes watch together, whether Redis or a process goes",
  async (redis) => {
    const flags = [
      ...["--processes", "2", "--port", "0"],
      ...["--rate", "1000", "--room-rate", "1000"],
    ];
    await using program = scaleOut(...flags, "--redis", redis.url);
    const [, pid] = await program.expect(/\[2\] Process (\d+) is ready/);
    const [, url] = await program.expect(/Listening on (http:\S+)/);
    const address = url!.replace("http", "ws");
    const [anna, ben] = await enterAll(address, 2) as [Viewer, Viewer];
    await using cleo = await Viewer.enter(address);
    await meet(anna, ben, "hello");
    await anna.until(() => anna.viewers === 3);

    // In order, and once.
    const texts = Array.from({ length: 200 }, (_, i) => `ordered ${i}`);
    for (const text of texts) anna.say(text);
    await ben.hears(texts.at(-1)!);
    const ordered = (viewer: Viewer) =>
      viewer.texts.filter((text) => text.startsWith("ordered"));
    assertEquals(ordered(ben), texts);
    assertEquals(ordered(anna), texts);

    // Redis goes: all stay, and those of a process still hear each other.
    await redis.kill();
    for (const name of ["1", "2"]) {
      await program.expect(new RegExp(`\\[${name}\\] Redis is away \\(.*\\)`));
    }
    const neighbour = cleo.welcome.server === "1" ? anna : ben;
    neighbour.say("still here");
    await cleo.hears("still here");
    assert([anna, ben, cleo].every(({ ws }) => ws.isOpen));

    // It is back: they find each other, and nothing comes late.
    await redis.start();
    for (const name of ["1", "2"]) {
      await program.expect(new RegExp(`\\[${name}\\] Redis is back after`));
    }
    await meet(anna, ben, "hello again");
    const other = neighbour === anna ? ben : anna;
    assert(!other.texts.includes("still here"));
    assertHeardOnce([anna, ben, cleo]);

    // A process goes: another takes its place, and the port is served all along.
    Deno.kill(Number(pid), "SIGKILL");
    await within(ben.ended);
    const again = new RegExp(
      `Process ${pid} is ready[^]*\\[2\\] Process (\\d+) is ready`,
    );
    const [, next] = await program.expect(again);
    assert(next !== pid);
    assert(anna.ws.isOpen);
    const [dora, emil] = await enterAll(address, 2) as [Viewer, Viewer];
    await meet(dora, emil, "welcome");

    program.kill("SIGTERM");
    const { code, stderr } = await program.ended();
    assertEquals(code, 0);
    assertEquals(stderr, "[2] It ended with code 137: starting another\n");
    await within(
      Promise.all([anna, ben, cleo, dora, emil].map((it) => it.ended)),
    );
  },
  { sharesPort: true },
);

redisTest(
  "Redis is killed while 50 viewers comment: all stay, and their neighbours hear them",
  async (redis) => {
    const flags = [
      ...["--processes", "2", "--port", "0"],
      ...["--rate", "1000", "--room-rate", "1000"],
    ];
    await using program = scaleOut(...flags, "--redis", redis.url);
    const workers = await processesOf(program, 2);
    const [, url] = await program.expect(/Listening on (http:\S+)/);
    const address = url!.replace("http", "ws");
    const [anna, ben] = await enterAll(address, 2) as [Viewer, Viewer];
    await meet(anna, ben, "hello");

    const viewers = await Promise.all(
      Array.from({ length: 50 }, () => Viewer.enter(address)),
    );
    const had = workers.map(usage);
    let said = 0;
    const talking = setInterval(() => {
      for (const viewer of viewers) viewer.say(`load ${said++}`);
    }, 20);
    const witness = (text: string) => comesBack([anna, ben], text);
    for (let round = 1; round <= 2; round++) {
      await witness(`before ${round}`);
      await redis.kill();
      for (let i = 0; i < 5; i++) await witness(`meanwhile ${round} ${i}`);
      for (const name of ["1", "2"]) {
        const away = `(\\[${name}\\] Redis is away [^]*){${round}}`;
        await program.expect(new RegExp(away));
      }
      await redis.start();
      for (const name of ["1", "2"]) {
        const back = `(\\[${name}\\] Redis is back after [^]*){${round}}`;
        await program.expect(new RegExp(back));
      }
      await witness(`after ${round}`);
      await meet(anna, ben, `again ${round}`);
    }
    clearInterval(talking);
    const all = [anna, ben, ...viewers];
    assert(all.every(({ ws }) => ws.isOpen));
    assertHeardOnce(all);
    for (const { comments: { length } } of all) {
      assert(length > 1000, `${length} comments were heard`);
    }
    await assertKept(workers, had);
    await assertEndsWell(program, all);
  },
  { sharesPort: true },
);

redisTest(
  "Redis hangs while viewers comment: all stay, and their neighbours hear them",
  async (redis) => {
    const flags = ["--processes", "2", "--port", "0", "--rate", "1000"];
    await using program = scaleOut(...flags, "--redis", redis.url);
    const workers = await processesOf(program, 2);
    const [, url] = await program.expect(/Listening on (http:\S+)/);
    const address = url!.replace("http", "ws");
    const [anna, ben] = await enterAll(address, 2) as [Viewer, Viewer];
    await meet(anna, ben, "hello");
    const before = workers.map(usage);

    redis.hang();
    let said = 0;
    const talking = setInterval(() => anna.say(`load ${said++}`), 10);
    for (let i = 0; i < 20; i++) {
      await comesBack([anna, ben], `meanwhile ${i}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    // A room that exists, and one that nobody has been to: that Redis cannot be
    // asked for it keeps nobody out.
    for (const room of ["lobby", "another"]) {
      await using late = await Viewer.enter(address, room);
      await comesBack([late], `late in ${room}`);
    }
    clearInterval(talking);

    redis.goOn();
    await meet(anna, ben, "hello again");
    const all = [anna, ben];
    assert(all.every(({ ws }) => ws.isOpen));
    assertHeardOnce(all);
    await assertKept(workers, before);
    await assertEndsWell(program, all);
  },
  { sharesPort: true },
);

redisTest(
  "processes never outlive the one that has started them",
  async (redis) => {
    const flags = ["--processes", "2", "--port", "0"];
    const program = scaleOut(...flags, "--redis", `unix:${redis.socket}`);
    const [, url] = await program.expect(/Listening on (http:\S+)/);
    const viewer = await Viewer.enter(url!.replace("http", "ws"));
    program.kill("SIGKILL");
    assertEquals((await within(viewer.ws.closed)).code, 1001);
    await program.ended();
    await viewer.ended;
  },
  { sharesPort: true },
);

/**
 * The outcome of a program that can't start. Where processes cannot share a port,
 * it is asked for one.
 */
async function outcomeOf(...args: string[]): Promise<Outcome> {
  const one = isLinux ? [] : ["--processes=1"];
  await using program = scaleOut(...one, ...args);
  return await program.ended();
}

Deno.test("no Redis is one line that says how to start one", async () => {
  const url = "redis://:secret@127.0.0.1:1";
  const { code, stderr, stdout } = await outcomeOf("--port=0", "--redis", url);
  assertEquals([code, stdout], [1, ""]);
  assertEquals(
    stderr,
    'error: No Redis at redis://127.0.0.1:1 (nobody listens): start one with "redis-server", or say where one is with --redis redis://HOST:PORT\n',
  );
});

Deno.test("a busy port, and a wrong flag, are one line", async () => {
  using busy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = busy.addr;
  for (
    const [args, line] of [
      [
        [`--port=${port}`],
        `error: Cannot listen at port ${port} of 127.0.0.1: it is in use\n`,
      ],
      [
        ["--processes=0"],
        "error: --processes must be a whole number from 1 to 64, got [0]\n",
      ],
    ] as const
  ) {
    const { code, stderr } = await outcomeOf(...args);
    assertEquals([code, stderr], [1, line]);
  }
});

if (!isLinux) {
  Deno.test("that processes cannot share a port is one line", async () => {
    const { code, stderr } = await outcomeOf("--processes=2");
    assertEquals([code, stderr], [
      1,
      "error: Processes can share a port on Linux alone: --processes 1, please\n",
    ]);
  });
}

for (const task of ["danmaku/main", "scale_out/main", "scale_out/measure"]) {
  Deno.test(`${task}.ts --help says what it takes`, async () => {
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        `--config=${Deno.env.get("DENO_TASK_CONFIG") ?? "deno.json"}`,
        "--no-prompt",
        `examples/${task}.ts`,
        "--help",
      ],
      cwd: new URL("../", import.meta.url),
    }).output();
    assertEquals(code, 0);
    assertMatch(decoder.decode(stdout), /--help +print this/);
  });
}
