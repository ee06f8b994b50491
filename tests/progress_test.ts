/** The three ways to learn how far a job is, without a browser. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  connect,
  ConnectionClosedError,
  type WebSocketConnection,
} from "../mod.ts";
import { Meter, newTally } from "../examples/_meter.ts";
import { Job, WAYS } from "../examples/progress/job.ts";
import { measure, tableOf } from "../examples/progress/measure.ts";
import {
  Progress,
  type ProgressOptions,
} from "../examples/progress/progress.ts";
import { duplexPair } from "../testing.ts";
import { concat, utf8 } from "./_bytes.ts";
import {
  dialFromElsewhere,
  ELSEWHERE,
  request,
  TestServer,
  upgrade,
  within,
} from "./_server.ts";
import { startTask } from "./_task.ts";

const ID = "0123456789abcdef0123456789abcdef";

function serveProgress(options?: ProgressOptions): TestServer {
  const progress = new Progress(() => new Response("A page"), options);
  return new TestServer(progress.serveOptions);
}

async function watch(
  server: TestServer,
  id = ID,
): Promise<WebSocketConnection> {
  const watcher = await connect(`${server.url}jobs/${id}/watch`);
  assertEquals(await within(watcher.receive()), '{"type":"ready"}');
  return watcher;
}

// deno-lint-ignore no-explicit-any
type Report = Record<string, any>;

async function nextReport(
  watcher: WebSocketConnection,
  isIt: (report: Report) => boolean,
): Promise<Report> {
  for (;;) {
    const report = JSON.parse(`${await within(watcher.receive())}`);
    if (isIt(report)) return report;
  }
}

const start = (seconds: number, steps: number): string =>
  JSON.stringify({ do: "start", seconds, steps });

Deno.test({
  name: "one address can't take all jobs",
  ignore: ELSEWHERE === undefined,
  fn: async () => {
    await using server = serveProgress();
    const id = (i: number) => `${i}`.padStart(32, "0");
    const watchers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => watch(server, id(i))),
    );
    await assertRejects(() => watch(server, id(100)), Error, "503");
    await using other = await connect(`${server.url}jobs/${ID}/watch`, {
      dial: () => dialFromElsewhere(server.port),
    });
    assertEquals(await within(other.receive()), '{"type":"ready"}');
    await Promise.all(watchers.map((watcher) => watcher.close()));
  },
});

// --- What is counted ---------------------------------------------------------

/** Passes bytes both ways through a meter, cut where one likes. */
async function meter(
  exchanges: [up: string | Uint8Array, down: string][],
  segment: (available: number) => number,
) {
  const tallies = { a: newTally(), b: newTally() };
  const [here, there] = duplexPair({ segment });
  const metered = new Meter(
    here as unknown as Deno.Conn,
    (target) => tallies[target.slice(1) as "a" | "b"],
  );
  const into = new Uint8Array(4096);
  for (const [up, down] of exchanges) {
    const sent = typeof up === "string" ? utf8(up) : up;
    await there.write(sent);
    for (let length = 0; length < sent.length;) {
      length += await metered.read(into) ?? NaN;
    }
    for (let rest = utf8(down); rest.length > 0;) {
      rest = rest.subarray(await metered.write(rest));
    }
  }
  return tallies;
}

Deno.test("bytes are booked to what was asked for, wherever they are cut", async () => {
  const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
  const switching = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
  const a = request("GET /a");
  const b = request("GET /b");
  for (const size of [1, 3, 7, 1000]) {
    const tallies = await meter([
      [a, answer],
      [b, answer],
      [request("GET /c"), answer],
      [a, answer],
      [b, switching],
      // Frames may look like anything; they are the WebSocket's.
      [concat(utf8("GET /a "), new Uint8Array(9)), "GET /a "],
    ], () => size);
    assertEquals(tallies.a, {
      requests: 2,
      up: 2 * a.length,
      down: 2 * answer.length,
    });
    assertEquals(tallies.b, {
      requests: 2,
      up: 2 * b.length + 16,
      down: answer.length + switching.length + 7,
    });
  }
});

Deno.test("bytes that are no request are booked to nobody", async () => {
  const noise = new Uint8Array(9000);
  const { a, b } = await meter([[noise, ""]], (available) => available);
  assertEquals([a, b], [newTally(), newTally()]);
});

// --- The job -------------------------------------------------------------------

Deno.test("a job takes as long as it should, in steps of different lengths", async () => {
  const job = new Job();
  assertEquals(job.state, { step: 0, of: 0 });
  const began = performance.now();
  job.start(0.2, 10);
  job.start(100, 1); // once is enough
  let changes = 0;
  while (!job.isOver) {
    await within(job.change);
    changes++;
  }
  assertEquals(job.state, { step: 10, of: 10 });
  assert(changes <= 10);
  assert(job.times.at(-1)! - began >= 195);
  assertEquals(job.times, job.times.toSorted((a, b) => a - b));
});

Deno.test("a job that is cancelled is over", async () => {
  const job = new Job();
  job.start(100, 10);
  const change = job.change;
  job.cancel();
  await change;
  await job.change;
  assert(job.isOver);
  const other = new Job();
  other.cancel();
  other.start(1, 1);
  assert(other.isOver);
});

// --- The three ways --------------------------------------------------------------

Deno.test("a poll is answered at once, a long one when there is news", async () => {
  await using server = serveProgress();
  await using watcher = await watch(server);
  const ask = (way: string) => server.ask(request(`GET /jobs/${ID}/${way}`));
  const { body, headers } = await ask("polling");
  assertEquals(body, '{"step":0,"of":0}');
  assertEquals(headers.get("cache-control"), "no-store");
  const long = ask("long?since=0");
  await watcher.send(start(0.1, 1));
  assertEquals((await within(long)).body, '{"step":1,"of":1}');
  // What is over is not waited for.
  assertEquals((await within(ask("long?since=1"))).body, '{"step":1,"of":1}');
});

Deno.test("a long poll is answered in time, news or not", async () => {
  await using server = serveProgress({ longestPoll: 50 });
  await using watcher = await watch(server);
  const began = performance.now();
  const ask = () => server.ask(request(`GET /jobs/${ID}/long?since=0`));
  assertEquals((await within(ask())).body, '{"step":0,"of":0}');
  await watcher.send(start(600, 1));
  await nextReport(watcher, ({ type }) => type === "report");
  assertEquals((await within(ask())).body, '{"step":0,"of":1}');
  assert(performance.now() - began >= 2 * 49);
});

Deno.test("a WebSocket is told each step, and closed after the last", async () => {
  await using server = serveProgress();
  await using watcher = await watch(server);
  await using ws = await connect(`${server.url}jobs/${ID}/push`);
  const states: unknown[] = [];
  const listening = (async () => {
    for await (const message of ws) states.push(JSON.parse(`${message}`).step);
  })();
  await watcher.send(start(0.5, 5));
  await within(listening);
  assertEquals(states[0], 0);
  assertEquals(states.at(-1), 5);
  assertEquals((await ws.closed).code, 1000);
});

Deno.test("a watcher is told what each way has cost, to the byte", async () => {
  await using server = serveProgress();
  await using watcher = await watch(server);
  using client = await server.dial();
  const poll = request(`GET /jobs/${ID}/polling`);
  let down = 0;
  for (let i = 0; i < 3; i++) {
    await client.write(poll);
    const { head, body } = await client.readAnswer();
    down += head.byteLength + body.length;
  }
  using upgraded = await server.dial();
  const handshake = upgrade(`/jobs/${ID}/push`);
  await upgraded.write(handshake);
  const { byteLength } = await upgraded.readHead();
  await upgraded.read(2 + '{"step":0,"of":0}'.length);
  const pushed = byteLength + 2 + 17;
  const { tallies, times } = await nextReport(
    watcher,
    // The last bytes are counted when they are known to be written.
    ({ type, tallies }) => type === "report" && tallies.push.down >= pushed,
  );
  assertEquals(times, []);
  assertEquals(tallies, {
    polling: { requests: 3, up: 3 * poll.length, down },
    long: { requests: 0, up: 0, down: 0 },
    push: { requests: 1, up: handshake.length, down: pushed },
  });
});

Deno.test("a watcher is told the time, and when each step was done", async () => {
  await using server = serveProgress();
  await using watcher = await watch(server);
  const before = performance.now();
  await watcher.send('{"do":"time"}');
  const { now } = await nextReport(watcher, ({ type }) => type === "time");
  assert(now >= before && now <= performance.now());
  await watcher.send(start(0.1, 3));
  const times: number[] = [];
  while (times.length < 3) {
    const report = await nextReport(watcher, ({ type }) => type === "report");
    times.push(...report.times);
  }
  assert(times[0]! > now && times[2]! <= performance.now());
});

Deno.test("a job ends with its watcher, and all who wait are answered", async () => {
  await using server = serveProgress();
  const watcher = await watch(server);
  await watcher.send(start(100, 10));
  const ws = await connect(`${server.url}jobs/${ID}/push`);
  const listening = ws.forEach(() => {});
  const long = server.ask(request(`GET /jobs/${ID}/long?since=99`));
  await within(server.ask(request(`GET /jobs/${ID}/polling`)));
  await watcher.close();
  assertEquals((await within(ws.closed)).code, 1000);
  await listening;
  // It may have come just before, or just after.
  assert([200, 404].includes((await within(long)).status));
  const gone = await server.ask(request(`GET /jobs/${ID}/polling`));
  assertEquals(gone.status, 404);
});

Deno.test("what is no job, no order, or taken, is refused", async () => {
  await using server = serveProgress();
  for (
    const path of [`jobs/${ID}/push`, `jobs/${ID}/polling`, "jobs/1/watch"]
  ) {
    assertEquals((await server.ask(upgrade(`/${path}`))).status, 404, path);
  }
  assertEquals(
    (await server.ask(request(`GET /jobs/${ID}/watch`))).status,
    404,
  );
  const orders = [
    ...["", "null", "[]", '{"do":"stop"}'],
    ...[start(0, 1), start(1e9, 1), start(1, 0.5), start(1, 1e9)],
  ];
  for (const [i, order] of orders.entries()) {
    const watcher = await watch(server, `${i}${ID.slice(1)}`);
    await watcher.send(order);
    // Reports that were on their way come first.
    const reading = watcher.forEach(() => {}).catch(() => {});
    assertEquals((await within(watcher.closed)).code, 1003, order);
    await reading;
  }
  await using _watcher = await watch(server, ID);
  await using second = await connect(`${server.url}jobs/${ID}/watch`);
  assertEquals((await within(second.closed)).code, 1008);
});

// --- The figures -------------------------------------------------------------------

Deno.test("progress:measure prints the figures", async () => {
  await using program = await startTask(
    "progress:measure",
    ...["--seconds", "2", "--steps", "8", "--interval", "400"],
  );
  const { code, stdout, stderr } = await program.ended();
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^A job of 2 s in 8 steps, polled every 400 ms\n\n\| /);
  const rows = stdout.trim().split("\n").slice(4).map((row) =>
    row.split("|").slice(1, -1).map((cell) => cell.trim())
  );
  assertEquals(rows.map(([name]) => name), [
    ...["polling", "long polling", "WebSocket"],
  ]);
  const figures = rows.map((row) =>
    row.slice(1).map((cell) => Number(cell.replace(/,| ms$/g, "")))
  );
  for (const figure of figures.flat()) assert(figure > 0, stdout);
  const [polling, long, push] = figures as [number[], number[], number[]];
  assert(polling[0]! >= 3 && long[0]! > 1 && long[0]! <= 9, stdout);
  assertEquals(push[0], 1);
  // Heads weigh more than frames do.
  assert(push[1]! < long[1]! && push[2]! < long[2]!, stdout);
});

Deno.test("a measurement that cannot be made ends", {
  // Its last polls end by themselves, a moment later.
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const error = await assertRejects(
    () => within(measure({ seconds: 1, steps: 0, interval: 10 })),
    ConnectionClosedError,
  );
  assertEquals(error.code, 1003);
});

Deno.test("the figures are a table", () => {
  const figures = { requests: 1, up: 23456, down: 1, delays: [1, 2] };
  const text = tableOf({
    polling: { ...figures, delays: [1000, 3000] },
    long: figures,
    push: figures,
  });
  const lines = text.split("\n");
  assertEquals(lines.length, 2 + WAYS.length);
  assertEquals(new Set(lines.map(({ length }) => length)).size, 1);
  assertMatch(
    lines[2]!,
    /^\| polling +\| +1 \| +23,456 \| .* 2,000 ms \| +3,000 ms \|$/,
  );
  assertMatch(lines[4]!, /^\| WebSocket .* 1\.5 ms \| +2\.0 ms \|$/);
});

Deno.test("progress and its measurement help, and say what is wrong", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const outcome = async (task: string, ...flags: string[]) => {
    await using program = await startTask(task, ...flags);
    return await program.ended();
  };
  for (const task of ["progress", "progress:measure"]) {
    const { code, stdout } = await outcome(task, "--help");
    assertEquals(code, 0);
    assertMatch(stdout, /--help +print this\n$/);
    const wrong = await outcome(task, "--wrong");
    assertEquals([wrong.code, wrong.stdout], [1, ""]);
    assertMatch(wrong.stderr, /^error: [^\n]+\n$/);
  }
  for (const interval of ["9", "600001", "1e3"]) {
    const { code, stderr } = await outcome(
      ...["progress:measure", "--interval", interval] as const,
    );
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /^error: --interval [^\n]+ from 10 to 600000, [^\n]+\n$/,
    );
  }
  // It serves no files, so that it may read none.
  const socket = await outcome("progress", "--unix", "progress.sock");
  assertEquals(socket.code, 1);
  assertMatch(socket.stderr, /^error: Unknown option '--unix'[^\n]*\n$/);
  const busy = await outcome("progress", "--port", `${port}`);
  assertEquals(busy.code, 1);
  assertMatch(busy.stderr, /^error: Cannot listen at port \d+ [^\n]+\n$/);
});
