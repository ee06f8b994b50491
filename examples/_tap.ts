/**
 * A listener whose connections are wrapped by something that sees all bytes
 * of pages and of WebSockets.
 *
 * @module
 */

import {
  type ByteDuplex,
  type Listener,
  type RemoteAddress,
  serve,
  type ServeOptions,
  type Server,
} from "../mod.ts";

/** Passes everything on between a connection and its transport. */
export class Tap implements ByteDuplex {
  readonly #conn: Deno.Conn;

  /** @param conn The connection that is served. */
  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  get remoteAddr(): RemoteAddress {
    return this.#conn.remoteAddr;
  }

  read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    return this.#conn.read(into);
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#conn.write(bytes);
  }

  closeWrite(): Promise<void> {
    return this.#conn.closeWrite();
  }

  close(): void {
    this.#conn.close();
  }

  setNoDelay(noDelay?: boolean): void {
    if ("setNoDelay" in this.#conn) {
      (this.#conn as Deno.TcpConn).setNoDelay(noDelay);
    }
  }
}

/** Options of {@linkcode serveTapped}. */
export interface TappedOptions extends ServeOptions {
  /**
   * Wraps each connection.
   *
   * @default {undefined} (none is)
   */
  tap?: ((conn: Deno.Conn) => ByteDuplex) | undefined;
}

/** As `serve()`, with all connections wrapped. */
export function serveTapped(
  listener: Deno.Listener,
  { tap, ...options }: TappedOptions,
): Server {
  if (tap === undefined) return serve(listener, options);
  const tapped: Listener = {
    accept: async () => tap(await listener.accept()),
    close: () => listener.close(),
  };
  return serve(tapped, options);
}
