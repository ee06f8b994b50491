/**
 * Behind nginx: an echo on a Unix socket, which tells its clients who they are.
 * What nginx needs is in `nginx.conf` beside this file.
 *
 * ```sh
 * deno task recipe:nginx --unix /run/websocket/websocket.sock
 * ```
 *
 * @module
 */

import {
  serve,
  type ServeOptions,
  type WebSocketConnection,
} from "../../mod.ts";
import {
  exitWith,
  listen,
  readFlags,
  stopOnSignals,
  urlOf,
} from "../_command_line.ts";

/** The address of a client. Whoever can open the socket could forge it. */
function addressOf(ws: WebSocketConnection): string {
  return ws.request?.headers.get("x-real-ip") ?? "unknown";
}

const OPTIONS: ServeOptions = {
  handler: () => new Response("A page through nginx\n"),
  onConnection: async (ws) => {
    await ws.send(`You are ${addressOf(ws)}`);
    await ws.forEach((message) => ws.send(message));
  },
};

if (import.meta.main) {
  const { unix } = readFlags("An echo on a Unix socket, for nginx.", {
    unix: {
      type: "text",
      default: "websocket.sock",
      value: "PATH",
      help: "the socket",
    },
  });
  try {
    const listener = await listen({ hostname: "", port: 0, unix });
    // For its owner and its group, which nginx has to belong to.
    await Deno.chmod(unix, 0o660);
    const server = serve(listener, OPTIONS);
    stopOnSignals(() => server.shutdown().then(() => 0));
    console.log(
      `Listening on ${urlOf("http", listener.addr, { hostname: "" })}`,
    );
  } catch (error) {
    exitWith(error);
  }
}
