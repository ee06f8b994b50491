/**
 * What fragments of code in the guide take for granted: a connection called
 * `ws`, a hub called `hub`. Only the type checker reads it.
 *
 * @module
 */

import type {
  Backplane,
  Hub,
  PreparedMessage as Prepared,
  Server,
  WebSocketConnection as Connection,
} from "../mod.ts";

declare global {
  /** A connection. */
  var ws: Connection;
  /** Several connections. */
  var everybody: Iterable<Connection>;
  var hub: Hub;
  var backplane: Backplane;
  /** A TCP connection that was accepted, and its listener. */
  var conn: Deno.Conn;
  var listener: Deno.Listener;
  var server: Server;
  /** Where to connect to. */
  var url: string;
  /** Functions and data of an application. */
  var work: (message: unknown) => Promise<void>;
  var isWanted: (message: Prepared) => boolean;
  var price: string;
  var token: string;
  var largeJson: string;
  var lastSeen: number;
  var handle: (message: unknown) => Promise<void>;
  /** An app with a `fetch`-style handler. */
  var app: { fetch(request: Request): Response | Promise<Response> };
}
