/**
 * A gateway at the edge: a worker on Cloudflare's runtime that judges who may
 * connect, and relays to a server of ours behind it, over TCP, with header fields
 * and compression, which the runtime's own WebSocket client cannot do.
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

/** What the configuration gives to the worker. */
interface Environment {
  /** The server's address, such as `ws://127.0.0.1:9001/`. */
  readonly SERVER: string;
  /** Shows the server that it is this worker that connects. */
  readonly TOKEN: string;
}

/** What a worker may go on with once it has answered. */
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

/** Opens a connection to the server, in the name of who asks. */
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

/** One message there, and one back. */
async function ask(
  request: Request,
  env: Environment,
  context: Context,
): Promise<Response> {
  const ws = await dial(request, env);
  try {
    await ws.send(new URL(request.url).searchParams.get("say") ?? "hello");
    const answer = await ws.receive();
    return new Response(answer, {
      headers: { "X-Compressed": String(ws.extension !== undefined) },
    });
  } finally {
    // The answer need not wait for the server's part of the closing handshake.
    context.waitUntil(ws.close());
  }
}

/** Refuses whoever may have no WebSocket, as the library's own server does. */
function judge(request: Request): UpgradeRequest {
  const upgrade = readUpgrade(request);
  if (isOriginAllowed(upgrade.origin, [], upgrade.host)) return upgrade;
  throw new HandshakeError("Pages of this origin may not connect", {
    status: 403,
    kind: "origin",
  });
}

/** A WebSocket for those who may. The runtime itself shakes hands. */
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
    // What does not fit in the server's connection ends it: see maxBufferedAmount.
    ws.send(typeof data === "string" ? data : new Uint8Array(data))
      .catch(() => ours.close(1011));
  });
  ours.addEventListener("close", ({ code, wasClean }) => {
    // A page that is gone, and has not closed, is nobody to be polite for.
    if (!wasClean) ws.terminate();
    else ws.close(code >= 3000 ? code : 1000);
  });
  ours.addEventListener("error", () => ws.terminate());
  ws.forEach((message) => ours.send(message)).catch(() => {}).then(async () => {
    const { code, reason } = await ws.closed;
    ours.close(code === 1005 || code === 1006 ? 1011 : code, reason);
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
    env: Environment,
    context: Context,
  ): Promise<Response> {
    let upgrade: UpgradeRequest | undefined;
    try {
      if (isUpgrade(request)) upgrade = judge(request);
    } catch (error) {
      const { message, status, headers } = error as HandshakeError;
      return new Response(`${message}\n`, { status, headers });
    }
    try {
      return upgrade === undefined
        ? await ask(request, env, context)
        : await relay(upgrade, request, env);
    } catch (error) {
      return new Response(`The server: ${error}\n`, { status: 502 });
    }
  },
};
