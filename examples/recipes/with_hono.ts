/**
 * An app of [Hono](https://hono.dev), or any other with a `fetch` of its own, and
 * WebSockets at the same port. What is posted to a room reaches all who are in it.
 *
 * ```sh
 * deno task recipe:hono --port 8010
 * curl -d 'Hello' http://127.0.0.1:8010/rooms/blue
 * ```
 *
 * @module
 */

import { Hono } from "hono";
import { html } from "hono/html";
import {
  HandshakeError,
  Hub,
  type ServeOptions,
  type WebSocketConnection,
} from "../../mod.ts";
import { HOST_FLAG, portFlag, readFlags, runServer } from "../_command_line.ts";

/** The options for `serve()`. */
export function rooms(): ServeOptions {
  const hub = new Hub();

  const app = new Hono();
  app.get("/rooms/:room{\\w+}", (context) => {
    return context.html(html`<h1>${context.req.param("room")}</h1>`);
  });
  app.post("/rooms/:room{\\w+}", async (context) => {
    const room = `/rooms/${context.req.param("room")}`;
    const { sent } = hub.publish(room, await context.req.text());
    return context.json({ reached: sent });
  });

  return {
    handler: (request) => app.fetch(request),
    // The app does not get the requests for WebSockets.
    onRequest({ target }): void {
      if (!/^\/rooms\/\w+$/.test(target)) {
        throw new HandshakeError(`There is no such room, got [${target}]`, {
          status: 404,
        });
      }
    },
    async onConnection(ws: WebSocketConnection): Promise<void> {
      const room = ws.request!.target;
      await hub.subscribe(room, ws);
      await ws.forEach((text) => {
        hub.publish(room, text); // waits for nobody
      });
    },
  };
}

if (import.meta.main) {
  const about = "Serves an app of Hono, and WebSockets at the same port.";
  const flags = readFlags(about, { port: portFlag(8010), ...HOST_FLAG });
  await runServer("http", flags, rooms());
}
