/** The server for what examples/echo.ts does not do: broadcast, work, close. */

import { Hub, serve, type WebSocketConnection } from "../../mod.ts";

const [mode, port] = Deno.args;
const hub = new Hub();

function broadcast(ws: WebSocketConnection): Promise<void> {
  hub.subscribe("all", ws);
  return ws.forEach((message) => {
    hub.publish("all", message);
  });
}

function parse(ws: WebSocketConnection): Promise<void> {
  return ws.forEach((message) =>
    ws.send(JSON.stringify(JSON.parse(message as string)))
  );
}

function close(ws: WebSocketConnection): Promise<void> {
  return ws.forEach(() => void ws.close(1000));
}

const HANDLERS: Record<string, (ws: WebSocketConnection) => Promise<void>> = {
  broadcast,
  close,
  json: parse,
};

const listener = Deno.listen({
  hostname: "127.0.0.1",
  port: Number(port),
  reusePort: true,
});
serve(listener, { onConnection: HANDLERS[mode!]! });
console.log(`Listening on ws://127.0.0.1:${listener.addr.port}/`);
