/**
 * What a WebSocket extension (RFC 6455 §9) is to this library: something that
 * negotiates parameters, claims reserved bits, and transforms the payload of
 * messages. `permessageDeflate()` is one; others can be written outside: see
 * {@linkcode NegotiatedExtension}.
 *
 * @example How two sides agree on one
 * ```ts
 * import { permessageDeflate } from "@sansio/websocket/deflate";
 * import type { Extension } from "@sansio/websocket/extension";
 * import { assertEquals } from "@std/assert";
 *
 * // What accept() and connect() do with those of their option `extensions`.
 * const extension: Extension = permessageDeflate();
 * const [offer = []] = extension.offers();
 * const server = extension.accept(offer)!;
 * const client = extension.confirm(server.parameters);
 *
 * assertEquals(client.name, "permessage-deflate");
 * assertEquals(client.parameters, [["client_max_window_bits", "12"]]);
 * ```
 *
 * @module
 */

/**
 * Parameters of an extension, in order, as in `Sec-WebSocket-Extensions`
 * (RFC 6455 §9.1). Names may occur twice; whether that is allowed is for the
 * extension to say. A parameter without a value has `undefined`.
 */
export type ExtensionParameters = ReadonlyArray<
  readonly [name: string, value: string | undefined]
>;

/**
 * An extension that can be negotiated on any number of connections (RFC 6455
 * §9.1).
 *
 * @example Compression for none but clients that can limit their window
 * ```ts
 * import { permessageDeflate } from "@sansio/websocket/deflate";
 * import type { Extension } from "@sansio/websocket/extension";
 * import { assertEquals } from "@std/assert";
 *
 * const deflate = permessageDeflate();
 * const thrifty: Extension = {
 *   name: deflate.name,
 *   offers: () => deflate.offers(),
 *   accept: (offer) =>
 *     offer.some(([name]) => name === "client_max_window_bits")
 *       ? deflate.accept(offer)
 *       : undefined,
 *   confirm: (response) => deflate.confirm(response),
 * };
 *
 * assertEquals(thrifty.accept([]), undefined);
 * assertEquals(
 *   thrifty.accept([["client_max_window_bits", undefined]])?.parameters,
 *   [["client_max_window_bits", "12"]],
 * );
 * ```
 */
export interface Extension {
  /** The registered name, such as `permessage-deflate`. */
  readonly name: string;
  /**
   * What a client offers.
   *
   * @returns The parameters of each offer, in order of preference.
   */
  offers(): ExtensionParameters[];
  /**
   * A server's answer to one offer.
   *
   * @param offer The parameters in the client's request.
   * @returns The extension as agreed, or `undefined` to decline the offer,
   * whatever is wrong with it: an offer is never fatal (RFC 6455 §9.1).
   */
  accept(offer: ExtensionParameters): NegotiatedExtension | undefined;
  /**
   * A client's judgement of the server's answer.
   *
   * @param response The parameters in the server's response.
   * @returns The extension as agreed.
   * @throws {Error} If the answer does not fit what was offered; the
   * connection is then failed (RFC 6455 §9.1).
   */
  confirm(response: ExtensionParameters): NegotiatedExtension;
}

/**
 * An extension as agreed for one connection, with its state: what it does to
 * messages (RFC 6455 §5.8).
 *
 * @example An extension of one's own
 * ```ts
 * import type { NegotiatedExtension } from "@sansio/websocket/extension";
 * import { RSV2 } from "@sansio/websocket/frame";
 * import { WebSocketProtocol } from "@sansio/websocket/protocol";
 * import { assertEquals } from "@std/assert";
 *
 * function invert(data: Uint8Array): Uint8Array<ArrayBuffer> {
 *   return Uint8Array.from(data, (byte) => byte ^ 0xff);
 * }
 *
 * const extension: NegotiatedExtension = {
 *   name: "x-invert",
 *   parameters: [],
 *   reservedBits: RSV2,
 *   sharingKey: "", // what it makes is the same for all connections
 *   wants: () => true,
 *   encode: (data) => invert(data),
 *   decode: (data, _fin, output) => output(invert(data)),
 * };
 *
 * const server = new WebSocketProtocol({ role: "server", extension });
 * server.sendText("Hi");
 * const bytes = server.takeOutput()!.slice();
 * assertEquals(bytes, new Uint8Array([0xa1, 2, 0xb7, 0x96]));
 *
 * const client = new WebSocketProtocol({ role: "client", extension });
 * client.receive(bytes);
 * assertEquals(client.nextEvent(), { type: "text", data: "Hi" });
 * ```
 */
export interface NegotiatedExtension {
  /** The registered name, such as `permessage-deflate`. */
  readonly name: string;
  /** What was agreed, as it stands in the server's response. */
  readonly parameters: ExtensionParameters;
  /**
   * The reserved bits that mark a transformed message on its first frame, as
   * in {@linkcode FrameHeader.reservedBits}.
   */
  readonly reservedBits: number;
  /**
   * Under which key the transformed form of a message can be shared between
   * connections.
   *
   * @default {undefined} (it depends on earlier messages, and is for one alone)
   */
  readonly sharingKey?: string | undefined;
  /**
   * Whether to transform an outgoing message when its sender did not say.
   *
   * @param byteLength Its length in bytes, or `undefined` if not yet known.
   * @returns Whether it goes through this extension.
   */
  wants(byteLength: number | undefined): boolean;
  /**
   * Transforms the next part of an outgoing message.
   *
   * @param data The part; not changed, and not kept.
   * @param fin Whether it is the last part.
   * @param whole Whether it is the whole message.
   * @returns What to send in its place; where the message is whole, `undefined`
   * to have it sent as it is, without the reserved bits.
   */
  encode(
    data: Uint8Array,
    fin: boolean,
    whole: boolean,
  ): Uint8Array | undefined;
  /**
   * Transforms the next part of an incoming message back.
   *
   * @param data The part; not changed, and not kept.
   * @param fin Whether the message ends with it.
   * @param output Takes what comes out, piece by piece; it may keep a piece,
   * and throws when it becomes too much.
   * @throws {ProtocolError} If the data is malformed.
   */
  decode(
    data: Uint8Array,
    fin: boolean,
    output: (piece: Uint8Array<ArrayBuffer>) => void,
  ): void;
  /** Gives up memory that is not needed while nothing is sent or received. */
  idle?(): void;
  /** Gives up everything; nothing is called after it. */
  dispose?(): void;
}
