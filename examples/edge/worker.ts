/**
 * A gateway at the edge: a worker on Cloudflare's runtime that judges who may
 * connect, and relays to a server of ours behind it. The runtime has a WebSocket
 * client of its own, a `fetch()` with `Upgrade`, which sends any header fields and
 * compresses as well. Ours, over plain TCP, has limits, backpressure, pings, and
 * says with which parameters it compresses.
 *
 * ```sh
 * deno task echo --port 9001 --compress
 * deno task edge:bundle
 * SERVER=ws://127.0.0.1:9001/ TOKEN=secret npx workerd serve examples/edge/config.capnp
 * ```
 *
 * Then `http://127.0.0.1:8787/?say=hello` answers `hello`, and a WebSocket to
 * `ws://127.0.0.1:8787/` talks to the echo.
 *
 * @module
 */

import {
  connect,
  type StreamDuplex,
  type WebSocketConnection,
} from "../../mod.ts";
import { permessageDeflate } from "../../deflate.ts";
import { isValidCloseCode } from "../../frame.ts";
import {
  HandshakeError,
  isOriginAllowed,
  isUpgrade,
  readUpgrade,
  selectProtocol,
  type UpgradeRequest,
} from "../../handshake.ts";
// @ts-ignore: a module of the worker's runtime
import { connect as connectSocket } from "cloudflare:sockets";

/** The worker's variables; `null` where one is not set. */
interface Bindings {
  /** The server's address, such as `ws://127.0.0.1:9001/`. */
  readonly SERVER: string | null;
  /** The token that the worker shows to the server. */
  readonly TOKEN: string | null;
}

/** The variables when all are set. */
type Environment = { readonly [Name in keyof Bindings]: string };

/** Lets a worker go on after it has answered. */
interface Context {
  waitUntil(promise: Promise<unknown>): void;
}

/** The end of a `WebSocketPair` that the worker keeps. */
interface PageSocket extends WebSocket {
  accept(): void;
}

declare const WebSocketPair: new () => { 0: WebSocket; 1: PageSocket };

/** `connect()` of `cloudflare:sockets`, as far as it is used. */
const openSocket = connectSocket as (
  address: { hostname: string; port: number },
  options: { secureTransport: "on" | "off"; allowHalfOpen: boolean },
) => StreamDuplex;

const PROTOCOLS = ["chat"];

// How long the server may take to answer, in milliseconds.
const PATIENCE = 10_000;

/** Connects to the server on behalf of the client of a request. */
function dial(
  request: Request,
  env: Environment,
): Promise<WebSocketConnection> {
  return connect(env.SERVER, {
    headers: {
      "X-Token": env.TOKEN,
      "X-Forwarded-For": request.headers.get("cf-connecting-ip") ?? "unknown",
    },
    extensions: [permessageDeflate()],
    dial: ({ hostname, port, secure }) =>
      openSocket({ hostname, port }, {
        secureTransport: secure ? "on" : "off",
        allowHalfOpen: true,
      }),
  });
}

/** Sends one message, and returns the reply. */
async function ask(
  request: Request,
  env: Environment,
  context: Context,
): Promise<Response> {
  const ws = await dial(request, env);
  try {
    await ws.send(new URL(request.url).searchParams.get("say") ?? "hello");
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await ws.receive({ signal });
    if (answer === undefined) throw new Error("The server closed unasked");
    return new Response(answer, {
      headers: { "X-Compressed": String(ws.extension !== undefined) },
    });
  } finally {
    // The answer need not wait for the server's part of the closing handshake.
    context.waitUntil(ws.close());
  }
}

/** Refuses a request that may not become a WebSocket, as `accept()` does. */
function judge(request: Request): UpgradeRequest {
  const upgrade = readUpgrade(request);
  if (isOriginAllowed(upgrade.origin, [], upgrade.host)) return upgrade;
  const { host, origin } = upgrade;
  throw new HandshakeError(
    `Pages of this origin may not connect to [${host}], got [${origin}]`,
    { status: 403, kind: "origin" },
  );
}

/**
 * The code to pass on when the other side was closed with this one (RFC 6455
 * §7.4.1).
 */
function codeAfter(code: number): number {
  if (code === 1005) return 1000; // it said none
  return isValidCloseCode(code) ? code : 1011;
}

/** Closes towards a page, unless it is closed already. */
function closePage(page: PageSocket, code: number, reason?: string): void {
  try {
    page.close(code, reason);
  } catch {
    // It is.
  }
}

/** Answers with a WebSocket; the runtime itself makes the handshake. */
async function relay(
  { protocols }: UpgradeRequest,
  request: Request,
  env: Environment,
): Promise<Response> {
  const ws = await dial(request, env);
  const protocol = selectProtocol(protocols, PROTOCOLS);
  const { 0: theirs, 1: ours } = new WebSocketPair();
  ours.accept();
  ours.binaryType = "arraybuffer";
  ours.addEventListener("message", ({ data }) => {
    // A server that does not read is cut off: see maxBufferedAmount.
    ws.send(typeof data === "string" ? data : new Uint8Array(data))
      .catch(() => closePage(ours, 1011));
  });
  ours.addEventListener("close", ({ code, reason, wasClean }) => {
    // A page that has vanished needs no closing handshake.
    if (!wasClean) ws.terminate();
    else ws.close(codeAfter(code), reason);
  });
  ours.addEventListener("error", () => ws.terminate());
  // There is no backpressure this way: send() of a WebSocketPair takes
  // everything, and does not say how much waits for a slow page. A server that
  // sends much has to wait for replies of the page.
  ws.forEach((message) => ours.send(message)).catch(() => {}).then(async () => {
    const { code, reason } = await ws.closed;
    closePage(ours, codeAfter(code), reason);
  });
  return new Response(null, {
    status: 101,
    headers: protocol === undefined
      ? {}
      : { "Sec-WebSocket-Protocol": protocol },
    webSocket: theirs,
  } as ResponseInit);
}

export default {
  async fetch(
    request: Request,
    bindings: Bindings,
    context: Context,
  ): Promise<Response> {
    const { SERVER, TOKEN } = bindings;
    if (!SERVER || !TOKEN) throw new Error("SERVER and TOKEN have to be set");
    const env: Environment = { SERVER, TOKEN };
    let upgrade: UpgradeRequest | undefined;
    try {
      if (isUpgrade(request)) upgrade = judge(request);
    } catch (error) {
      if (!(error instanceof HandshakeError)) throw error;
      const { message, status, headers } = error;
      return new Response(`${message}\n`, { status, headers });
    }
    try {
      return upgrade === undefined
        ? await ask(request, env, context)
        : await relay(upgrade, request, env);
    } catch (error) {
      console.error(String(error)); // the client is not told the details
      return new Response("The server does not answer\n", { status: 502 });
    }
  },
};
