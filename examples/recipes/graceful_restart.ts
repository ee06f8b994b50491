/**
 * A restart that every client gets over: the next server listens at the same
 * port before this one stops to; then this one, told by SIGTERM, closes its
 * connections with 1012, some at a time, and ends when all are through. Those
 * that it has not accepted yet are reset by the system. The clients of either
 * kind come back, as `reconnect.ts` does.
 *
 * ```sh
 * deno task recipe:restart --name one & # and later
 * deno task recipe:restart --name two & kill %1
 * ```
 *
 * @module
 */

import {
  CloseCode,
  serve,
  type ServeOptions,
  type Server,
  type WebSocketConnection,
} from "../../mod.ts";
import {
  exitWith,
  HOST_FLAG,
  portFlag,
  readFlags,
  stopOnSignals,
  tryToListen,
  urlOf,
} from "../_command_line.ts";

/** Options of {@linkcode DrainingServer.drain}. */
export interface DrainOptions {
  /**
   * Over how long the connections are closed, in milliseconds: their clients do
   * not come back all at once then.
   */
  spread: number;
}

/** A server that can be drained. */
export class DrainingServer {
  readonly server: Server;
  readonly #listener: Deno.Listener;
  readonly #connections = new Set<WebSocketConnection>();
  #isDraining = false;

  constructor(listener: Deno.Listener, options: ServeOptions) {
    this.#listener = listener;
    this.server = serve(listener, {
      ...options,
      onConnection: async (ws) => {
        if (this.#isDraining) return await dismiss(ws);
        this.#connections.add(ws);
        try {
          await options.onConnection(ws);
        } finally {
          this.#connections.delete(ws);
        }
      },
    });
  }

  /**
   * Stops accepting, closes all connections, and resolves when none is left.
   */
  async drain({ spread }: DrainOptions): Promise<void> {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#listener.close();
    const pause = spread / this.#connections.size;
    await Promise.all(
      Array.from(this.#connections, async (ws, i) => {
        await new Promise((resolve) => setTimeout(resolve, i * pause));
        // Messages that the client has sent meanwhile are still received.
        await dismiss(ws);
      }),
    );
    await this.server.shutdown();
  }
}

async function dismiss(ws: WebSocketConnection): Promise<void> {
  await ws.close(CloseCode.ServiceRestart, "The server restarts");
}

if (import.meta.main) {
  const flags = readFlags("An echo that can be restarted.", {
    port: portFlag(8007),
    ...HOST_FLAG,
    name: {
      type: "text",
      default: `${Deno.pid}`,
      value: "NAME",
      help: "what to greet clients with",
    },
    spread: {
      type: "number",
      default: 2000,
      max: 600_000,
      help: "over how many ms connections are closed",
    },
  });
  const { hostname, port } = flags;
  try {
    // Linux hands each new connection to one of the listeners. (Deno wants
    // --unstable-net for it.)
    const listener = tryToListen(
      flags,
      () => Deno.listen({ hostname, port, reusePort: true }),
    );
    const draining = new DrainingServer(listener, {
      onConnection: async (ws) => {
        await ws.send(`This is ${flags.name}`);
        await ws.forEach((message) => ws.send(message));
      },
    });
    stopOnSignals(async () => {
      await draining.drain(flags);
      return 0;
    });
    console.log(`Listening on ${urlOf("ws", listener.addr, flags)}`);
  } catch (error) {
    exitWith(error);
  }
}
