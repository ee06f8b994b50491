/**
 * What fragments of code in the guide take for granted: a connection called
 * `ws`, a hub called `hub`. For the type checker alone.
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
  /** Some more. */
  var everybody: Iterable<Connection>;
  var hub: Hub;
  var backplane: Backplane;
  /** A TCP connection that has been accepted, and who accepts them. */
  var conn: Deno.Conn;
  var listener: Deno.Listener;
  var server: Server;
  /** Where to connect to. */
  var url: string;
  /** What an application does, and what it sends. */
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
