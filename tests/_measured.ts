/** Tests of attacks that must not cost other connections anything. */
import { assert, assertEquals } from "@std/assert";
import { cpuUsage } from "node:process";
import { connect } from "../connect.ts";
import type { WebSocketConnection } from "../connection.ts";
import { TestServer, within } from "./_server.ts";
import { type Usage, usageOf } from "./_usage.ts";

const isLinux = Deno.build.os === "linux";

/** How long an answer may take, in milliseconds. */
const ANSWER_WITHIN = 1000;
/**
 * The same on a machine that has others to serve: if this process has not worked
 * for longer than {@linkcode ANSWER_WITHIN} meanwhile.
 */
const ANSWER_AT_LAST = 5000;

// The test looks at it later.
const now = performance.now.bind(performance);

/** Asserts that the connection is answered in time. */
export async function assertAnswers(ws: WebSocketConnection): Promise<void> {
  const began = now();
  const before = cpuUsage();
  await ws.send("still there");
  assertEquals(await within(ws.receive()), "still there");
  const took = now() - began;
  const { user, system } = cpuUsage(before);
  const worked = (user + system) / 1000;
  assert(
    took < ANSWER_WITHIN || took < ANSWER_AT_LAST && worked < ANSWER_WITHIN,
    `an answer took ${took} ms, and work of ${worked} ms`,
  );
}

/** Asks again and again until it is stopped. */
async function witness(
  ws: WebSocketConnection,
  isOver: () => boolean,
): Promise<void> {
  while (!isOver()) {
    await assertAnswers(ws);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await assertAnswers(ws);
}

function usage(): Usage {
  return usageOf(Deno.pid);
}

export interface MeasuredOptions {
  /** How many files may be left open. */
  files?: number;
  /** How much memory it may cost this process, in MiB: 150. */
  growth?: number;
}

/**
 * A test during which, and after which, a connection that was there before is
 * answered within a second. It tells what this process holds before and after;
 * all files are closed again.
 */
export function measuredTest(
  name: string,
  act: () => void | Promise<void>,
  { files = 0, growth = 150 }: MeasuredOptions = {},
): void {
  Deno.test(name, async () => {
    await using server = new TestServer();
    await using ws = await connect(server.url);
    const before = isLinux ? usage() : undefined;
    let isOver = false;
    const watching = witness(ws, () => isOver);
    watching.catch(() => {}); // told below
    try {
      await act();
    } finally {
      isOver = true;
    }
    await watching;
    if (before === undefined) return;
    let after = usage();
    const most = before.files + files;
    for (let left = 100; after.files > most && left > 0; left--) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      after = usage();
    }
    const memory = [before.rss, after.rss].map((rss) => rss.toFixed(0));
    console.log(
      `RSS ${memory.join(" -> ")} MiB, files ${before.files} -> ${after.files}`,
    );
    assert(after.files <= most, "files are left open");
    assert(after.rss < before.rss + growth, "memory has grown");
  });
}
