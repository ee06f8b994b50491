/**
 * What a connection needs of Node, or of Bun, which has the same modules: sockets
 * as web streams, and the request of an `upgrade` event.
 *
 * @module
 */

import type { IncomingMessage } from "node:http";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { DialTarget, ReceivedUpgrade, StreamDuplex } from "../../mod.ts";

/** A socket of `node:net` or `node:tls` as what a connection runs on. */
export function toStreams(socket: Socket): StreamDuplex {
  socket.setNoDelay(true);
  const { readable, writable } = Duplex.toWeb(socket);
  return {
    readable: readable as ReadableStream<Uint8Array>,
    writable,
    close: () => socket.destroy(),
    remoteAddr: {
      transport: "tcp",
      hostname: socket.remoteAddress ?? "",
      port: socket.remotePort ?? 0,
    },
  };
}

/** What an `upgrade` event tells, for the option `request` of `accept()`. */
export function toUpgrade(
  request: IncomingMessage,
  head: Uint8Array,
): ReceivedUpgrade {
  const headers = new Headers();
  const { rawHeaders } = request;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    headers.append(rawHeaders[i]!, rawHeaders[i + 1]!);
  }
  return {
    head: {
      method: request.method!,
      target: request.url!,
      version: request.httpVersion,
      headers,
    },
    rest: new Uint8Array(head),
  };
}

/** Opens a socket, for the option `dial` of `connect()`. */
export function dial({ hostname, port, secure }: DialTarget): StreamDuplex {
  if (!secure) return toStreams(connectTcp({ host: hostname, port }));
  // A server's name is told to it, but an address is none (RFC 6066 §3).
  const servername = isIP(hostname) ? "" : hostname;
  return toStreams(connectTls({ host: hostname, port, servername }));
}
