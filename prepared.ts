/**
 * Messages that are encoded once and sent to many connections.
 *
 * @example One message to all who are connected
 * ```ts
 * import { accept, connect, PreparedMessage } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * async function open() {
 *   const [here, there] = duplexPair();
 *   const accepting = accept(here);
 *   const client = await connect("ws://test/", { dial: () => there });
 *   return { client, server: await accepting };
 * }
 * const connections = [await open(), await open(), await open()];
 *
 * const message = new PreparedMessage("The kettle boils");
 * for (const { server } of connections) server.send(message);
 *
 * for (const { client } of connections) {
 *   assertEquals(await client.receive(), "The kettle boils");
 *   await client.close();
 * }
 * ```
 *
 * @module
 */

import { encodeFrame, Opcode } from "./frame.ts";
import type { NegotiatedExtension } from "./extension.ts";
import { bytesOf } from "./_bytes_of.ts";

/**
 * What a message can be made of: text, or bytes in any form. Those of a
 * `Uint16Array` and its like go out as they lie in memory, on all common machines
 * the low byte first; write to a `DataView` to have them in network byte order.
 * A view may be on a `SharedArrayBuffer`, which is not taken by itself.
 */
export type MessageData = string | ArrayBuffer | ArrayBufferView;

/** How a message is sent. */
export interface MessageOptions {
  /**
   * Whether to send the data as text or as binary. Bytes sent as text have to
   * be UTF-8: that is not checked.
   *
   * @default {"text" for a string, "binary" for bytes}
   */
  type?: "text" | "binary" | undefined;
  /**
   * Whether an extension that compresses is applied. Without effect where none
   * was agreed on.
   *
   * @default {as the extension decides}
   */
  compress?: boolean | undefined;
}

/**
 * A message that is encoded once for all connections that receive it, and
 * compressed at most once for each set of parameters. Under context takeover a
 * compressed message depends on the connection's earlier ones, and is
 * compressed for each (RFC 7692 §7.1.1).
 *
 * @example What is sent
 * ```ts
 * import { PreparedMessage } from "@sansio/websocket/prepared";
 * import { assertEquals, assertStrictEquals } from "@std/assert";
 *
 * const message = new PreparedMessage("Hello", { compress: false });
 * assertEquals(message.type, "text");
 * assertEquals(message.data, new TextEncoder().encode("Hello"));
 * assertEquals(message.compress, false);
 *
 * assertEquals(
 *   message.frame(),
 *   new Uint8Array([0x81, 5, 72, 101, 108, 108, 111]),
 * );
 * assertStrictEquals(message.frame(), message.frame());
 * ```
 */
export class PreparedMessage {
  /** Whether it is sent as text or as binary. */
  readonly type: "text" | "binary";
  /** The payload, as bytes; it must not be changed. */
  readonly data: Uint8Array;
  /** Whether an extension that compresses is applied, if its sender said. */
  readonly compress: boolean | undefined;
  // Frames by the key under which an extension shares them; "" for none.
  readonly #frames = new Map<string, Uint8Array>();

  /**
   * Prepares a message for many receivers.
   *
   * @param data The message. Bytes are not copied, and must not change
   * afterwards.
   * @param options How it is sent.
   * @throws {TypeError} If the message is neither text nor bytes.
   */
  constructor(data: MessageData, options: MessageOptions = {}) {
    this.type = options.type ?? (typeof data === "string" ? "text" : "binary");
    this.data = typeof data === "string"
      ? new TextEncoder().encode(data)
      : bytesOf(data, "A message", "a string, ");
    this.compress = options.compress;
  }

  /**
   * The whole frame as a server sends it, unmasked (RFC 6455 §5.2), encoded on
   * first use.
   *
   * @param extension Transforms the payload, if it is to be transformed and the
   * result can be shared: has a {@linkcode NegotiatedExtension.sharingKey}.
   * @returns Header and payload; it must not be changed.
   * @throws {TypeError} If what the extension makes of it can't be shared.
   *
   * @example Compressed once for two connections
   * ```ts
   * import { permessageDeflate } from "@sansio/websocket/deflate";
   * import { PreparedMessage } from "@sansio/websocket/prepared";
   * import { assertStrictEquals } from "@std/assert";
   *
   * const deflate = permessageDeflate({ serverNoContextTakeover: true });
   * const anna = deflate.accept([]);
   * const bert = deflate.accept([]);
   *
   * const message = new PreparedMessage("tick, tock, ".repeat(100));
   * assertStrictEquals(message.frame(anna), message.frame(bert));
   * ```
   */
  frame(extension?: NegotiatedExtension): Uint8Array {
    if (extension !== undefined && extension.sharingKey === undefined) {
      throw new TypeError(
        `The extension makes something else of it for each connection (${extension.name})`,
      );
    }
    const key = extension === undefined ? "" : `+${extension.sharingKey}`;
    let frame = this.#frames.get(key);
    if (frame === undefined) {
      const opcode = this.type === "text" ? Opcode.Text : Opcode.Binary;
      const payload = extension?.encode(this.data, true, true);
      frame = payload === undefined
        ? encodeFrame({ opcode, payload: this.data })
        : encodeFrame({
          opcode,
          payload,
          reservedBits: extension!.reservedBits,
        });
      this.#frames.set(key, frame);
    }
    return frame;
  }
}
