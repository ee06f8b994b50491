/**
 * What a WebSocket extension (RFC 6455 §9) is to this library: something that
 * negotiates parameters, claims reserved bits, and transforms the payload of
 * messages. `deflate.ts` is one; others can be written outside.
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

/** An extension that can be negotiated on any number of connections. */
export interface Extension {
  /** The registered name, such as `permessage-deflate`. */
  readonly name: string;
  /** A client's offers, in order of preference. */
  offers(): ExtensionParameters[];
  /**
   * A server's answer to one offer.
   *
   * @returns The extension as agreed, or `undefined` to decline the offer,
   * whatever is wrong with it: an offer is never fatal (RFC 6455 §9.1).
   */
  accept(offer: ExtensionParameters): NegotiatedExtension | undefined;
  /**
   * A client's judgement of the server's answer.
   *
   * @throws {Error} If the answer does not fit what was offered; the
   * connection is then failed (RFC 6455 §9.1).
   */
  confirm(response: ExtensionParameters): NegotiatedExtension;
}

/** An extension as agreed for one connection, with its state. */
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
   * connections, or `undefined` where it depends on earlier messages.
   */
  readonly sharingKey: string | undefined;
  /**
   * Whether to transform an outgoing message when its sender did not say.
   *
   * @param byteLength Its length in bytes, or `undefined` if not yet known.
   */
  wants(byteLength: number | undefined): boolean;
  /**
   * Transforms the next part of an outgoing message.
   *
   * @param data The part; not changed, and not kept.
   * @param fin Whether it is the last part.
   * @param whole Whether it is the whole message; `undefined` may then be
   * returned to have it sent as it is.
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
