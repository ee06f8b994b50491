/**
 * The tests that need nothing but JavaScript, for runtimes other than Deno:
 * `_hosts.ts` bundles this file and runs it in each.
 */
import { listTests, runTests, type TestResult } from "./_deno_shim.ts";
import { chooseDeflater, NodeDeflater } from "../_deflater.ts";
import { areTimersShared } from "../_platform.ts";
import { nextMaskingKey } from "../_masking_keys.ts";
import { sha1Source } from "../_sha1.ts";
import { chooseIsUtf8, isUtf8Natively, isUtf8Portable } from "../_utf8.ts";
import { accept } from "../accept.ts";
import { connect } from "../connect.ts";
import { utf8 } from "./_bytes.ts";
import { duplexPair } from "./_duplex_pair.ts";
import { type Suite, SUITES } from "./_suites.ts";

/** What is reported, as one line of JSON each. */
export interface Told {
  /** The result of a test. */
  test?: TestResult;
  /** The names of each file's tests. */
  names?: Record<string, string[]>;
  /** Which features of the runtime the modules use. */
  choices?: Record<string, string>;
  /** The results of `accept()`, and of a `connect()` that is answered. */
  handshake?: string[];
  /** The error that ended the run. */
  error?: string;
}

/** Runs the tests of a file, or makes one of the other reports. */
export function run(
  what: string,
  tell: (line: string) => void | Promise<void>,
): Promise<void> {
  return runFrom(SUITES, what, tell);
}

/**
 * The same.
 *
 * @param suites Where the file is.
 * @param tell Takes what comes of it, line by line.
 */
export async function runFrom(
  suites: Record<string, Suite>,
  what: string,
  tell: (line: string) => void | Promise<void>,
): Promise<void> {
  const files: Suite = Object.assign({}, ...Object.values(suites));
  const say = (told: Told) => tell(JSON.stringify(told));
  try {
    if (what === "names") await say({ names: await listFiles(files) });
    else if (what === "choices") await say({ choices: describeChoices() });
    else if (what === "handshake") await say({ handshake: await shakeHands() });
    else {
      await files[what]!();
      await runTests((test) => say({ test }));
    }
  } catch (error) {
    await say({ error: `${(error as Error).stack}` });
  }
}

async function listFiles(files: Suite): Promise<Record<string, string[]>> {
  const names: Record<string, string[]> = {};
  for (const [file, load] of Object.entries(files)) {
    await load();
    names[file] = listTests();
  }
  return names;
}

// Those of RFC 6455 §1.3.
const REQUEST = `GET / HTTP/1.1\r
Host: test\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Version: 13\r
\r
`;
const ANSWER = `HTTP/1.1 101 Switching Protocols\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r
\r
`;

/** Both sides of a handshake, each with a peer that does its part. */
async function shakeHands(): Promise<string[]> {
  const [server, request] = duplexPair();
  const [client, response] = duplexPair();
  await request.write(utf8(REQUEST));
  await response.write(utf8(ANSWER));
  const ends = await Promise.allSettled([
    accept(server),
    connect("ws://test/", { dial: () => client }),
  ]);
  return ends.map((end) => {
    if (end.status === "rejected") return `${end.reason.message}`;
    end.value.terminate();
    return "open";
  });
}

/** Where the random numbers of masking keys come from. */
function maskingKeySource(): string {
  let source = "none";
  const { getRandomValues } = crypto;
  Object.defineProperty(crypto, "getRandomValues", {
    value(into: Uint32Array<ArrayBuffer>) {
      source = "crypto.getRandomValues";
      return getRandomValues.call(crypto, into);
    },
    configurable: true,
  });
  try {
    // They are drawn in bulk.
    for (let i = 0; i < 10_000 && source === "none"; i++) nextMaskingKey();
  } finally {
    Reflect.deleteProperty(crypto, "getRandomValues");
  }
  return source;
}

function describeChoices(): Record<string, string> {
  const settings = { level: undefined, memLevel: 1, windowBits: 9 };
  const deflater = chooseDeflater()(settings);
  deflater.close();
  const isUtf8 = chooseIsUtf8();
  return {
    "masking keys": maskingKeySource(),
    "SHA-1": sha1Source ?? "none",
    "compression": deflater instanceof NodeDeflater ? "node:zlib" : "pako",
    "UTF-8": isUtf8 === isUtf8Natively
      ? "node:buffer"
      : isUtf8 === isUtf8Portable
      ? "a loop"
      : "WebAssembly",
    "timers": areTimersShared ? "shared" : "one for each wait",
  };
}
