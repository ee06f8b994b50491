/**
 * WebSocket, RFC 6455 with permessage-deflate (RFC 7692), in layers that can be
 * used apart: {@linkcode serve} for a server, {@linkcode accept} and
 * {@linkcode connect} for messages over any byte stream,
 * {@linkcode WebSocketProtocol} for the protocol without input and output, and
 * pure functions for frames and for the opening handshake.
 *
 * Compression is in `./deflate`, and helpers for tests are in `./testing`, so
 * that a program that needs neither loads neither.
 *
 * @example An echo, and who talks to it
 * ```ts
 * import { connect, serve } from "@sansio/websocket";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const server = serve(listener, {
 *   onConnection: async (ws) => {
 *     for await (const message of ws) await ws.send(message);
 *   },
 * });
 *
 * const ws = await connect(`ws://127.0.0.1:${listener.addr.port}/`);
 * await ws.send("Hello");
 * assertEquals(await ws.receive(), "Hello");
 * await ws.close();
 * await server.shutdown();
 * ```
 *
 * @module
 */

// A connection, and the two ways to one.
export * from "./accept.ts";
export * from "./connect.ts";
export * from "./connection.ts";

// A server of both, and of pages beside them.
export * from "./serve.ts";

// One message for many connections.
export * from "./hub.ts";
export * from "./prepared.ts";

// The protocol without input and output (RFC 6455 §5.4 to §9).
export * from "./extension.ts";
export * from "./protocol.ts";

// Bytes: the opening handshake (§4), and frames (§5).
export * from "./frame.ts";
export * from "./handshake.ts";
