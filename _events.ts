/**
 * The events of a protocol: messages, pings and pongs, and the close.
 *
 * @module
 */

/** A text message (RFC 6455 §5.6). */
export interface TextMessage {
  /** Tells the events apart. */
  readonly type: "text";
  /** The text; as bytes with `textAs: "bytes"`. */
  readonly data: string | Uint8Array<ArrayBuffer>;
}

/** A binary message (RFC 6455 §5.6). */
export interface BinaryMessage {
  /** Tells the events apart. */
  readonly type: "binary";
  /** The payload. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/**
 * A part of a message, where
 * {@linkcode WebSocketProtocol.prototype.chunks | chunks} is set. Parts are
 * what has arrived, not the peer's fragments (RFC 6455 §5.4).
 */
export interface MessageChunk {
  /** Tells the events apart. */
  readonly type: "chunk";
  /** What the message is. */
  readonly of: "text" | "binary";
  /** The part; a string for text, unless `textAs: "bytes"`. */
  readonly data: string | Uint8Array<ArrayBuffer>;
  /** Whether the message ends here. */
  readonly fin: boolean;
}

/**
 * A ping or a pong; a ping is answered by the protocol itself (RFC 6455
 * §5.5.2).
 */
export interface PingOrPong {
  /** Tells the events apart. */
  readonly type: "ping" | "pong";
  /** The application data, at most 125 bytes. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** How a connection ended (RFC 6455 §7.1). */
export interface CloseInfo {
  /**
   * The code in the peer's Close frame, 1005 if it had none. Where this side
   * failed the connection, the code for that fault, which it sent unless it had
   * sent a Close frame before; 1006 if the transport ended with no Close frame
   * at all (RFC 6455 §7.1.5).
   */
  readonly code: number;
  /** The reason that came with the code, for a log; often empty. */
  readonly reason: string;
  /** Whether the peer's Close frame was received, and all was well (§7.1.4). */
  readonly wasClean: boolean;
  /** What was wrong, if the connection failed. */
  readonly error?: Error | undefined;
}

/** The end of the connection, exactly once, after all messages. */
export interface Closed extends CloseInfo {
  /** Tells the events apart. */
  readonly type: "close";
}

/** What {@linkcode WebSocketProtocol.prototype.receive | receive()} yields. */
export type ProtocolEvent =
  | TextMessage
  | BinaryMessage
  | MessageChunk
  | PingOrPong
  | Closed;

/**
 * Who is closing (RFC 6455 §7.1): nobody; this side, which has sent Close and
 * waits for the peer's; both, Close frames having gone both ways; this side,
 * after a fault of the peer's; and at last the transport has ended.
 */
export type ProtocolState =
  | "open"
  | "local-closing"
  | "handshake-closed"
  | "failed"
  | "closed";
