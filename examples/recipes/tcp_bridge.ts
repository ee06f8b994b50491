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
import { HOST_FLAG, portFlag, readFlags, runServer } from "../_command_line.ts";

/** The address of the TCP server. */
export interface Destination {
  hostname: string;
  port: number;
  /**
   * How long it may take to connect to it, in milliseconds.
   *
   * @default {10000}
   */
  timeout?: number;
}

/**
 * Connects a WebSocket, which has to have `textAs: "bytes"`, with a TCP server,
 * until one of them ends.
 */
export async function bridge(
  ws: WebSocketConnection,
  { timeout = 10_000, ...to }: Destination,
): Promise<void> {
  let tcp: Deno.TcpConn;
  try {
    // It is given up, too, when the WebSocket is closed meanwhile.
    const gone = new AbortController();
    ws.closed.then(() => gone.abort());
    const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(timeout)]);
    tcp = await Deno.connect({ ...to, signal });
  } catch {
    await ws.close(CloseCode.BadGateway, "The TCP server cannot be reached");
    return;
  }
  tcp.setNoDelay(true);
  // pipeTo() waits for each write, and passes on how a stream ends: a Close
  // frame ends the TCP connection, its end closes the WebSocket with 1000, and
  // an error of one side aborts the other, so that the pipe in the other
  // direction fails.
  const messages = ws.readable as ReadableStream<Uint8Array<ArrayBuffer>>;
  await Promise.allSettled([
    messages.pipeTo(tcp.writable),
    tcp.readable.pipeTo(ws.writable),
  ]);
}

if (import.meta.main) {
  const flags = readFlags("A bridge from WebSocket to a TCP server.", {
    port: portFlag(8005),
    ...HOST_FLAG,
    "to-hostname": {
      type: "text",
      default: "127.0.0.1",
      value: "HOST",
      help: "where the TCP server is",
    },
    "to-port": {
      type: "number",
      default: 7, // the port of the echo service
      min: 1,
      max: 65535,
      help: "and its port",
    },
  });
  // Clients cannot choose where to: they could reach whatever this machine can.
  const to = { hostname: flags["to-hostname"], port: flags["to-port"] };
  await runServer("ws", flags, {
    textAs: "bytes",
    protocols: ["binary"], // what noVNC asks for
    onConnection: (ws) => bridge(ws, to),
  });
}
