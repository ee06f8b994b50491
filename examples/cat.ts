/**
 * Talks to a WebSocket server: by hand, from a script, in a pipe.
 *
 * ```sh
 * deno task cat wss://example.com/chat
 * echo Hello | deno task cat ws://127.0.0.1:9001/
 * deno task cat ws://127.0.0.1:9001/ --execute Hello --wait 0
 * ```
 *
 * Messages go to stdout, one a line, and all else to stderr. It exits with 0
 * where the connection ended as it should, with 1000, 1001 or no code, and with
 * 1 where it did not, or was never opened.
 *
 * @module
 */

import { encodeHex } from "@std/encoding/hex";
import process from "node:process";
import * as readline from "node:readline";
import {
  CloseCode,
  type CloseInfo,
  connect,
  type ConnectOptions,
  HandshakeError,
  type Message,
  type WebSocketConnection,
} from "../mod.ts";
import {
  exitWith,
  type Flags,
  type FlagValues,
  readFlags,
  stopOnSignals,
  UsageError,
} from "./_command_line.ts";

const FLAGS = {
  url: { type: "operand", help: "where to: ws:// or wss://" },
  header: {
    type: "list",
    short: "H",
    value: "FIELD",
    help: 'a header field, such as "Cookie: a=b"; any number of them',
  },
  protocol: {
    type: "list",
    value: "NAME",
    help: "a subprotocol to offer; any number of them",
  },
  execute: {
    type: "list",
    short: "x",
    value: "MSG",
    help: "send this instead of stdin; any number of them",
  },
  wait: {
    type: "text",
    default: "1",
    value: "SECONDS",
    help: 'how long to stay for replies after the last message; or "forever"',
  },
  binary: { type: "switch", help: "send binary messages instead of text" },
  interactive: {
    type: "switch",
    short: "i",
    help: "take commands such as /ping though stdin is no terminal",
  },
  "no-compress": { type: "switch", help: "offer no permessage-deflate" },
  "ca-cert": {
    type: "text",
    default: undefined,
    value: "FILE",
    help: "trust this certificate (PEM) besides the usual ones",
  },
  unix: {
    type: "text",
    default: undefined,
    value: "PATH",
    help: "connect to a Unix socket, whatever host the URL names",
  },
} as const satisfies Flags;

type CatFlags = FlagValues<typeof FLAGS>;

const COMMANDS =
  `/ping                  send a ping, and tell how long the pong took
/close [CODE [REASON]]  close the connection
/help                  print this
//...                  send a message that begins with a slash`;

async function open(flags: CatFlags): Promise<WebSocketConnection> {
  const { url, unix } = flags;
  const options: ConnectOptions = {
    headers: flags.header.map(parseField),
    protocols: flags.protocol,
  };
  if (!flags["no-compress"]) {
    const { permessageDeflate } = await import("../deflate.ts");
    options.extensions = [permessageDeflate()];
  }
  if (flags["ca-cert"] !== undefined) {
    options.caCerts = [await readFile(flags["ca-cert"])];
  }
  if (unix !== undefined) {
    options.dial = ({ secure }) => {
      if (secure) throw new UsageError("--unix is without TLS");
      return Deno.connect({ transport: "unix", path: unix });
    };
  }
  try {
    return await connect(url, options);
  } catch (error) {
    if (error instanceof HandshakeError) throw withDetails(error);
    if (!(error instanceof Error) || error instanceof SyntaxError) throw error;
    throw new Error(`Cannot connect: ${error.message}`, { cause: error });
  }
}

async function readFile(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new UsageError(`Cannot read [${path}]: ${(error as Error).message}`);
  }
}

/** The header fields of a refusal that say how to go on. */
function withDetails(error: HandshakeError): Error {
  const details = ["location", "www-authenticate", "retry-after"]
    .filter((name) => error.headers.has(name))
    .map((name) => `; ${name}: ${error.headers.get(name)}`);
  return new Error(visible(error.message + details.join("")));
}

function parseField(field: string): [string, string] {
  const [, name, value] = field.match(/^([^:]*?)\s*:\s*(.*?)\s*$/s) ?? [];
  if (!name) {
    throw new UsageError(`--header must be "Name: value", got [${field}]`);
  }
  return [name, value!];
}

/** In milliseconds. */
function parseWait(text: string): number {
  if (text === "forever") return Infinity;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  throw new UsageError(
    `--wait must be a number of seconds, or forever, got [${text}]`,
  );
}

/** Where lines come from, and where messages go to. */
interface Screen {
  /** Called when the user presses Ctrl-C. */
  onInterrupt: () => void;
  /** The lines that the user enters. */
  lines(): AsyncIterable<string | Uint8Array>;
  /** Prints a message that was received; awaited before the next one. */
  show(message: string): void;
  /** Prints a line about the connection. */
  tell(notice: string): void;
  /** Restores the terminal. */
  close(): void;
}

/** A terminal at both ends: a line can be edited while messages arrive. */
class Terminal implements Screen {
  readonly #editor = readline.createInterface({
    input: process.stdin,
    output: process.stdout,
    prompt: "> ",
  });
  #isClosed = false;
  onInterrupt = (): void => {};

  constructor() {
    this.#editor.on("SIGINT", () => this.onInterrupt());
    this.#editor.on("close", () => this.#isClosed = true);
  }

  lines(): AsyncIterable<string> {
    return new ReadableStream<string>({
      start: (controller) => {
        this.#editor.on("line", (line: string) => {
          controller.enqueue(line);
          this.#editor.prompt();
        });
        this.#editor.on("close", () => controller.close());
        this.#editor.prompt();
      },
    });
  }

  show(message: string): void {
    this.#print(`< ${visible(message)}`);
  }

  tell(notice: string): void {
    this.#print(visible(notice));
  }

  // Above what is being typed
  #print(text: string): void {
    readline.cursorTo(process.stdout, 0);
    readline.clearLine(process.stdout, 0);
    console.log(text);
    if (!this.#isClosed) this.#editor.prompt(true);
  }

  close(): void {
    this.#editor.close();
  }
}

/** Files or pipes; messages are printed as they are, unless to a terminal. */
class Pipe implements Screen {
  readonly #visible = Deno.stdout.isTerminal()
    ? visible
    : (text: string) => text;
  onInterrupt = (): void => {};

  async *lines(): AsyncIterable<Uint8Array> {
    let rest = new Uint8Array(0);
    for await (const chunk of Deno.stdin.readable) {
      const bytes = new Uint8Array(rest.length + chunk.length);
      bytes.set(rest);
      bytes.set(chunk, rest.length);
      let start = 0;
      let end = bytes.indexOf(NEWLINE, rest.length);
      for (; end >= 0; end = bytes.indexOf(NEWLINE, start)) {
        yield bytes.subarray(start, bytes[end - 1] === RETURN ? end - 1 : end);
        start = end + 1;
      }
      rest = bytes.subarray(start);
    }
    if (rest.length > 0) yield rest;
  }

  show(message: string): void {
    let bytes = encoder.encode(`${this.#visible(message)}\n`);
    while (bytes.length > 0) {
      bytes = bytes.subarray(Deno.stdout.writeSync(bytes));
    }
  }

  tell(notice: string): void {
    console.error(visible(notice));
  }

  close(): void {}
}

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** The text without control characters, which a terminal would obey. */
function visible(text: string): string {
  return text.replace(/(?![\t\n])\p{Cc}/gu, (control) => {
    const code = control.charCodeAt(0);
    return `\\x${code.toString(16).padStart(2, "0")}`;
  });
}

function describe(ws: WebSocketConnection, url: string): string {
  const details = [ws.protocol, ws.extension?.name].filter(Boolean);
  return `Connected to ${url.replace(/\/\/[^/]*@/, "//")}` +
    (details.length > 0 ? ` (${details.join(", ")})` : "") +
    "; /help lists commands";
}

/** Prints messages until the connection is closed; resolves to the exit code. */
async function untilEnd(
  ws: WebSocketConnection,
  screen: Screen,
): Promise<number> {
  try {
    await ws.forEach((message) => screen.show(printed(message)));
  } catch {
    // Standard output is closed, or the connection failed, which is reported
    // below.
    ws.close();
  }
  const closed = await ws.closed;
  screen.close();
  screen.tell(`Closed: ${toLine(closed)}`);
  const isFine = closed.code === CloseCode.NormalClosure ||
    closed.code === CloseCode.GoingAway ||
    closed.code === CloseCode.NoStatusReceived;
  return isFine ? 0 : 1;
}

function printed(message: Message): string {
  return typeof message === "string" ? message : encodeHex(message);
}

function toLine({ code, reason, error }: CloseInfo): string {
  const why = reason || error?.message ||
    (code === CloseCode.AbnormalClosure
      ? "It ended without a Close frame"
      : "");
  return `${code} ${why.replaceAll("\n", " ")}`.trimEnd();
}

interface SendOptions {
  binary: boolean;
  isByHand: boolean;
  wait: number;
}

/** Sends what there is to send, waits, and closes the connection. */
async function sendAll(
  ws: WebSocketConnection,
  screen: Screen,
  source: Iterable<string> | AsyncIterable<string | Uint8Array>,
  { binary, isByHand, wait }: SendOptions,
): Promise<void> {
  for await (const line of source) {
    if (!ws.isOpen) return;
    let message = line;
    if (isByHand) {
      const text = toText(line);
      if (text === "") continue;
      if (/^\/(?!\/)/.test(text)) {
        obey(text, ws, screen);
        continue;
      }
      message = text.replace(/^\/\//, "/");
    }
    // That it cannot be sent any more is reported with the close code.
    await ws.send(binary ? toBytes(message) : toText(message)).catch(() => {});
  }
  // Ctrl-D at a terminal closes the connection.
  if (screen instanceof Pipe) await delay(wait);
  await ws.close();
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

function toText(data: string | Uint8Array): string {
  return typeof data === "string" ? data : decoder.decode(data);
}

function toBytes(data: string | Uint8Array): Uint8Array {
  return typeof data === "string" ? encoder.encode(data) : data;
}

/** Waits, for ever where that is longer than a timer can. */
function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    if (milliseconds < 2 ** 31) setTimeout(resolve, milliseconds);
  });
}

/** Runs a command. */
function obey(
  command: string,
  ws: WebSocketConnection,
  screen: Screen,
): void {
  const [name, ...rest] = command.split(" ");
  switch (name) {
    case "/ping":
      ws.ping().then(
        (time) => screen.tell(`Pong after ${time.toFixed(2)} ms`),
        () => {}, // the close code is reported
      );
      break;
    case "/close":
      close(rest, ws).catch((error) => screen.tell(`error: ${error.message}`));
      break;
    case "/help":
      screen.tell(COMMANDS);
      break;
    default:
      screen.tell(`error: No such command [${name}]; see /help`);
  }
}

async function close(
  [code, ...reason]: string[],
  ws: WebSocketConnection,
): Promise<void> {
  if (code === undefined) await ws.close();
  else await ws.close(Number(code), reason.join(" ") || undefined);
}

if (import.meta.main) {
  const flags = readFlags(
    "Talks to a WebSocket server. Binary messages are printed in hexadecimal.",
    FLAGS,
  );
  await main(flags).catch(exitWith);
}

async function main(flags: CatFlags): Promise<never> {
  const { binary, execute } = flags;
  const wait = parseWait(flags.wait);
  const ws = await open(flags);
  const isByHand = execute.length === 0 &&
    (flags.interactive || Deno.stdin.isTerminal());
  const screen = isByHand && Deno.stdin.isTerminal() && Deno.stdout.isTerminal()
    ? new Terminal()
    : new Pipe();
  screen.onInterrupt = stopOnSignals(() => {
    ws.close();
    return ended;
  });
  const ended = untilEnd(ws, screen);
  if (isByHand) screen.tell(describe(ws, flags.url));
  const source = execute.length > 0 ? execute : screen.lines();
  sendAll(ws, screen, source, { binary, isByHand, wait }).catch(exitWith);
  Deno.exit(await ended);
}
