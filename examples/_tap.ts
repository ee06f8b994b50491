/**
 * A listener whose connections are looked into: what wraps them sees all bytes
 * of pages and of WebSockets.
 *
 * @module
 */

import {
  type ByteDuplex,
  type Listener,
  serve,
  type ServeOptions,
  type Server,
} from "../mod.ts";

/** Options of {@linkcode serveTapped}. */
export interface TappedOptions extends ServeOptions {
  /**
   * Wraps each connection.
   *
   * @default {undefined} (none is)
   */
  tap?: ((conn: Deno.Conn) => ByteDuplex) | undefined;
}

/** Serves all who connect, through what wraps their connections. */
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
