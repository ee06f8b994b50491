/**
 * The WebSocket protocol, RFC 6455 with RFC 7692, in layers that can be used
 * apart: frames, the opening handshake, and one endpoint's state machine.
 *
 * @example A frame, there and back
 * ```ts
 * import { decodeFrame, encodeFrame, Opcode } from "@sansio/websocket";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = new TextEncoder().encode("Hello");
 * const bytes = encodeFrame({ opcode: Opcode.Text, payload });
 *
 * assertEquals(decodeFrame(bytes)?.frame.payload, payload);
 * ```
 *
 * @module
 */
export * from "./accept.ts";
export * from "./connect.ts";
export * from "./connection.ts";
export * from "./extension.ts";
export * from "./frame.ts";
export * from "./handshake.ts";
export * from "./hub.ts";
export * from "./prepared.ts";
export * from "./protocol.ts";
