/**
 * Adapters for Node, and Bun, which has the same modules: sockets
 * as byte streams, and the request of an `upgrade` event.
 *
 * `Duplex.toWeb()` would not do: its `readable` does not end before both
 * directions have, and its `writable` takes for written what Node still holds.
 *
 * @module
 */

import type { IncomingMessage } from "node:http";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type {
  ByteDuplex,
  DialTarget,
  ReceivedUpgrade,
  RemoteAddress,
} from "../../mod.ts";

// How much is written at once, in bytes: each write that the system takes shows
// that the peer reads.
const LARGEST_WRITE = 65536;

/** A socket of `node:net` or `node:tls` as a byte duplex. */
export function toDuplex(socket: Socket): ByteDuplex {
  return new SocketDuplex(socket);
}

class SocketDuplex implements ByteDuplex {
  readonly #socket: Socket;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    const wake = () => this.#wake?.();
    socket.on("readable", wake).on("end", wake).on("close", wake);
    socket.on("error", (error) => {
      this.#error = error;
      wake();
    });
  }

  /** Unknown before it is connected. */
  get remoteAddr(): RemoteAddress | undefined {
    const { remoteAddress: hostname, remotePort: port } = this.#socket;
    return hostname === undefined
      ? undefined
      : { transport: "tcp", hostname, port };
  }

  async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    const socket = this.#socket;
    for (;;) {
      const length = Math.min(into.length, socket.readableLength);
      // Where nothing has arrived, this makes Node read on.
      const bytes: Uint8Array | null = socket.read(length || undefined);
      if (bytes !== null) {
        into.set(bytes);
        return bytes.length;
      }
      if (this.#error !== undefined) throw this.#error;
      if (socket.readableEnded || socket.destroyed) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  write(bytes: Uint8Array): Promise<number> {
    const part = bytes.subarray(0, LARGEST_WRITE);
    return new Promise((resolve, reject) => {
      // Called when the system has taken it, unlike the events of streams.
      this.#socket.write(part, (error) => {
        if (!error) return resolve(part.length);
        // This error may say no more than that the socket is closed; the event
        // "error" says why.
        const fail = () => reject(this.#error ?? error);
        if (this.#socket.closed) fail();
        else this.#socket.once("close", fail);
      });
    });
  }

  closeWrite(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.end((error?: Error | null) =>
        error ? reject(error) : resolve()
      );
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  setNoDelay(noDelay?: boolean): void {
    this.#socket.setNoDelay(noDelay);
  }
}

/**
 * The request of an `upgrade` event, for the option `request` of `accept()`.
 */
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
export function dial({ hostname, port, secure }: DialTarget): ByteDuplex {
  // What is owed to a peer that has ended its direction still goes out.
  const target = { host: hostname, port, allowHalfOpen: true };
  if (!secure) return toDuplex(connectTcp(target));
  // A server's name is told to it, but an address is none (RFC 6066 §3).
  const servername = isIP(hostname) ? "" : hostname;
  return toDuplex(connectTls({ ...target, servername }));
}
