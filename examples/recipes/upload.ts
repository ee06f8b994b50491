/**
 * An upload of any size as one message, in constant memory: it is received in
 * parts, and each is done with before the next one is read. The page shows how
 * far the server is.
 *
 * ```sh
 * deno task recipe:upload
 * deno task recipe:upload --try 1024 # sends itself 1 GiB, and prints figures
 * ```
 *
 * @module
 */

import { createHash } from "node:crypto";
import {
  connect,
  serve,
  type ServeOptions,
  type WebSocketConnection,
} from "../../mod.ts";
import {
  exitWith,
  HOST_FLAG,
  portFlag,
  readFlags,
  runServer,
} from "../_command_line.ts";
import { readPage } from "../_page.ts";

/** How often the client is told how far it is, in milliseconds. */
const INTERVAL = 100;
const MEBIBYTE = 1024 * 1024;

/** The messages to the client. */
interface Report {
  /** How many bytes of this upload have been processed. */
  received: number;
  /** The memory of the server's process, in bytes. */
  memory: number;
  /** The SHA-256 of all bytes, in hex digits, at the end. */
  sha256?: string;
}

/** Takes uploads, one after the other. */
async function receiveAll(ws: WebSocketConnection): Promise<void> {
  const tell = (report: Omit<Report, "memory">) => {
    const { rss: memory } = Deno.memoryUsage();
    return ws.send(JSON.stringify({ ...report, memory }));
  };
  for (;;) {
    const upload = await ws.receiveStream();
    if (upload === undefined) return;
    const hash = createHash("sha256");
    let received = 0;
    let toldAt = -Infinity;
    for await (const part of upload.readable) {
      hash.update(part); // or write it to a file, and wait until it is written
      received += part.length;
      if (performance.now() - toldAt < INTERVAL) continue;
      toldAt = performance.now();
      await tell({ received });
    }
    await tell({ received, sha256: hash.digest("hex") });
  }
}

/** The options for `serve()`. */
async function uploads(maxMessageSize: number): Promise<ServeOptions> {
  return {
    handler: await readPage(new URL("upload.html", import.meta.url)),
    textAs: "bytes",
    maxMessageSize,
    maxFragments: Infinity, // browsers send 64 KiB in each, more or less
    onConnection: receiveAll,
  };
}

/** The result of an upload. */
interface Figures {
  seconds: number;
  /** The memory of this process in MiB: before it, and at most in its halves. */
  memory: [before: number, firstHalf: number, secondHalf: number];
}

/** Uploads that many MiB to a server in this process. */
async function tryOut(
  mebibytes: number,
  options: ServeOptions,
): Promise<Figures> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = serve(listener, options);
  const ws = await connect(`ws://127.0.0.1:${listener.addr.port}/`);
  const part = crypto.getRandomValues(new Uint8Array(65536));
  const hash = createHash("sha256");
  function* parts(): Generator<Uint8Array> {
    for (let i = 0; i < mebibytes * 16; i++) {
      part.set([i, i >> 8, i >> 16]);
      hash.update(part);
      // The stream may reuse its memory: each part is a copy.
      yield part.slice();
    }
  }
  const memory: Figures["memory"] = [Deno.memoryUsage().rss, 0, 0];
  const began = performance.now();
  const sending = ws.sendStream(parts());
  for await (const message of ws) {
    const report = JSON.parse(`${message}`) as Report;
    const half = report.received < mebibytes * MEBIBYTE / 2 ? 1 : 2;
    memory[half] = Math.max(memory[half], report.memory);
    if (report.sha256 === undefined) continue;
    if (report.sha256 === hash.digest("hex")) break;
    throw new Error("It arrived changed");
  }
  await sending;
  const seconds = (performance.now() - began) / 1000;
  await ws.close();
  await server.shutdown();
  for (const i of memory.keys()) memory[i] = Math.round(memory[i]! / MEBIBYTE);
  return { seconds, memory };
}

if (import.meta.main) {
  const flags = readFlags("Takes uploads of any size in constant memory.", {
    port: portFlag(8006),
    ...HOST_FLAG,
    "max-mebibytes": {
      type: "number",
      default: 4096,
      min: 1,
      help: "the largest upload, in MiB",
    },
    try: {
      type: "number",
      default: undefined,
      min: 1,
      max: 1 << 20,
      help: "upload so many MiB to itself, print what it took, and exit",
    },
  });
  const mebibytes = flags.try;
  if (mebibytes === undefined) {
    const options = await uploads(flags["max-mebibytes"] * MEBIBYTE);
    await runServer("http", flags, options);
  } else {
    try {
      const options = await uploads(mebibytes * MEBIBYTE);
      const { seconds, memory } = await tryOut(mebibytes, options);
      console.log(
        `${mebibytes} MiB in one message, both ends in one process: ` +
          `${seconds.toFixed(1)} s, ${(mebibytes / seconds).toFixed(0)} MiB/s`,
      );
      console.log(
        `Memory: ${memory[0]} MiB before, at most ${memory[1]} MiB in the ` +
          `first half, ${memory[2]} MiB in the second`,
      );
    } catch (error) {
      exitWith(error);
    }
  }
}
