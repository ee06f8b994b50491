/**
 * A bridge from WebSocket to TCP, by streams: what arrives in binary messages
 * goes to a TCP server, and its bytes come back as messages. A side that does
 * not read slows the other one down; nothing piles up between them.
 *
 * ```sh
 * deno task recipe:bridge --to-port 5900 # VNC, for a viewer in a browser
 * ```
 *
 * @module
 */

import { CloseCode, type WebSocketConnection } from "../../mod.ts";
import {
  portFlag,
  readFlags,
  runServer,
  SERVER_FLAGS,
} from "../_command_line.ts";

/**
 * Connects a WebSocket, which has to have `textAs: "bytes"`, with a TCP server,
 * until one of them ends.
 */
export async function bridge(
  ws: WebSocketConnection,
  to: { hostname: string; port: number },
): Promise<void> {
  let tcp: Deno.TcpConn;
  try {
    tcp = await Deno.connect(to);
  } catch {
    await ws.close(CloseCode.BadGateway, "The TCP server cannot be reached");
    return;
  }
  tcp.setNoDelay(true);
  // pipeTo() waits for each write, and hands on how a stream ends: a Close frame
  // ends the TCP connection, its end closes the WebSocket with 1000, and what
  // breaks breaks the other one, which the pipe the other way fails by.
  const messages = ws.readable as ReadableStream<Uint8Array<ArrayBuffer>>;
  await Promise.allSettled([
    messages.pipeTo(tcp.writable),
    tcp.readable.pipeTo(ws.writable),
  ]);
}

if (import.meta.main) {
  const flags = readFlags("A bridge from WebSocket to a TCP server.", {
    port: portFlag(8005),
    ...SERVER_FLAGS,
    "to-hostname": {
      type: "text",
      default: "127.0.0.1",
      value: "HOST",
      help: "where the TCP server is",
    },
    "to-port": {
      type: "number",
      default: undefined,
      min: 1,
      max: 65535,
      help: "and at which port (7, where echoes used to be)",
    },
  });
  // Clients never say where to: they would reach whatever this machine can.
  const to = { hostname: flags["to-hostname"], port: flags["to-port"] ?? 7 };
  await runServer("ws", flags, {
    textAs: "bytes",
    protocols: ["binary"], // what noVNC asks for
    onConnection: (ws) => bridge(ws, to),
  });
}
