/**
 * An open WebSocket connection: messages over any byte stream, with
 * backpressure both ways. `accept()` and `connect()` shake hands and return
 * one; {@linkcode WebSocketConnection} itself takes a stream on which hands have
 * been shaken.
 *
 * @example Both ends, on a stream in memory
 * ```ts
 * import { WebSocketConnection } from "@sansio/websocket/connection";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const [here, there] = duplexPair();
 * const server = new WebSocketConnection(here, { role: "server" });
 * const client = new WebSocketConnection(there, { role: "client" });
 *
 * await client.send("Hello");
 * assertEquals(await server.receive(), "Hello");
 * await client.close();
 * ```
 *
 * @module
 */

import { CloseCode, ProtocolError, type Role } from "./frame.ts";
import type { NegotiatedExtension } from "./extension.ts";
import type { ExtensionElement, ParseHeadOptions } from "./handshake.ts";
import {
  type MessageData,
  type MessageOptions,
  PreparedMessage,
} from "./prepared.ts";
import {
  type CloseInfo,
  type MessageLimits,
  WebSocketProtocol,
} from "./protocol.ts";
import { bytesOf } from "./_bytes_of.ts";
import { ConnectionClosedError } from "./_connection_closed_error.ts";
import { type Duplex, type RemoteAddress, toByteDuplex } from "./_duplex.ts";
import { setFinishedOf } from "./_finished.ts";
import { checkLimits } from "./_limits.ts";
import { Liveness } from "./_liveness.ts";
import { REFERENCE_FROM } from "./_output.ts";
import { PartReader, typeOfPart } from "./_part_reader.ts";
import { DONE, Pump, type Received } from "./_pump.ts";
import { mayGoOn } from "./_turns.ts";
import { handled, Turnstile } from "./_waiter.ts";

export { ConnectionClosedError } from "./_connection_closed_error.ts";
export type {
  ByteDuplex,
  Duplex,
  RemoteAddress,
  StreamDuplex,
} from "./_duplex.ts";

/** Limits and times of a connection, the same for servers and clients. */
export interface ConnectionOptions extends MessageLimits {
  /**
   * How much may wait to be written, in bytes, before `send()` makes its caller
   * wait.
   *
   * @default {131072}
   */
  highWaterMark?: number | undefined;
  /**
   * How much may wait to be written at all, in bytes. The connection of a peer
   * that reads so little, to a program that does not wait for `send()`, is
   * terminated. Where it is waited for, a message may be larger. Nothing is
   * terminated before `highWaterMark` is passed.
   *
   * @default {33554432}
   */
  maxBufferedAmount?: number | undefined;
  /**
   * How much is read ahead while nobody asks for messages, in bytes. Up to
   * there pings are answered; then the peer has to wait.
   *
   * @default {65536}
   */
  maxReadAhead?: number | undefined;
  /**
   * How many messages are read ahead while nobody asks for them.
   *
   * @default {64}
   */
  maxReadAheadMessages?: number | undefined;
  /**
   * After how long a silence a ping is sent, in milliseconds; 0 for never.
   *
   * @default {30000}
   */
  heartbeatInterval?: number | undefined;
  /**
   * How long the peer may stay silent after that ping, in milliseconds, before
   * the connection is terminated; 0 for ever.
   *
   * @default {20000}
   */
  heartbeatTimeout?: number | undefined;
  /**
   * How long the closing handshake, and the end of the transport after it, may
   * take, in milliseconds (RFC 6455 §7.1.1); 0 for ever.
   *
   * @default {5000}
   */
  closeTimeout?: number | undefined;
  /**
   * After how long without a message in either direction the connection is
   * closed with 1001, in milliseconds; 0 for never.
   *
   * @default {0}
   */
  idleTimeout?: number | undefined;
}

/** Limits of an opening handshake, the same for servers and clients. */
export interface HandshakeOptions extends ParseHeadOptions {
  /**
   * How long the handshake may take, in milliseconds; 0 for ever.
   *
   * @default {10000}
   */
  handshakeTimeout?: number | undefined;
  /**
   * Gives the handshake up. It has no say afterwards.
   *
   * @default {undefined}
   */
  signal?: AbortSignal | undefined;
}

/** Options of {@linkcode WebSocketConnection}. */
export interface WebSocketConnectionOptions extends ConnectionOptions {
  /** Which end of the connection this is. */
  role: Role;
  /**
   * The subprotocol that was agreed on.
   *
   * @default {undefined} (none)
   */
  protocol?: string | undefined;
  /**
   * The extension that was agreed on.
   *
   * @default {undefined} (none)
   */
  extension?: NegotiatedExtension | undefined;
  /**
   * The request that opened the connection.
   *
   * @default {undefined} (unknown)
   */
  request?: ConnectionRequest | undefined;
  /**
   * What has been read behind the handshake already. The bytes belong to the
   * connection from now on: it unmasks them where they are, and messages are
   * views on them.
   *
   * @default {undefined} (nothing)
   */
  rest?: Uint8Array<ArrayBuffer> | undefined;
}

/** The request that opened a connection (RFC 6455 §4.1). */
export interface ConnectionRequest {
  /** Path and query of the request target, beginning with `/`. */
  readonly target: string;
  /** The header fields of the request. */
  readonly headers: Headers;
  /**
   * What the server's `onRequest` has found out, such as who the user is: the
   * `data` that it has returned.
   *
   * @default {undefined}
   */
  readonly data?: unknown;
}

/** Options of {@linkcode WebSocketConnection.prototype.forEach | forEach()}. */
export interface ForEachOptions {
  /**
   * Whether the memory of a message is used again as soon as the function has
   * returned, or its promise has resolved. Large messages then cost much less;
   * but one that is kept has to be copied.
   *
   * @default {false}
   */
  reuseMemory?: boolean | undefined;
}

/** Options of the methods of a connection that can be cancelled. */
export interface AbortOptions {
  /**
   * Cancels the call, not the connection.
   *
   * @default {undefined}
   */
  signal?: AbortSignal | undefined;
}

/** Options of {@linkcode WebSocketConnection.prototype.send | send()}. */
export interface SendOptions extends MessageOptions, AbortOptions {}

/**
 * A message as {@linkcode WebSocketConnection.prototype.receive | receive()}
 * returns it. Bytes may be a view on memory that others are in as well, and that
 * is still read into: do not transfer its `buffer`.
 */
export type Message = string | Uint8Array<ArrayBuffer>;

/** A binary message that is received in parts. */
export interface IncomingBinary {
  /** What the message is. */
  readonly type: "binary";
  /**
   * Its parts as they arrive. Cancelling it, or leaving its iteration, skips the
   * rest of the message.
   */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** A text message that is received in parts. */
export interface IncomingText {
  /** What the message is. */
  readonly type: "text";
  /**
   * Its parts as they arrive, none of which ends within a character: strings, or
   * bytes with `textAs: "bytes"`. Cancelling it, or leaving its iteration, skips
   * the rest of the message.
   */
  readonly readable: ReadableStream<Message>;
}

/** A message that is received in parts. */
export type IncomingStream = IncomingBinary | IncomingText;

const encoder = new TextEncoder();

const AS_GIVEN: SendOptions = {};

// Stands for a message in parts of which nothing has arrived.
const AWAITED = {} as IncomingStream;

/**
 * An open connection. Iterate over it to receive, and `await` what `send()`
 * returns to be slowed down to the peer's pace.
 *
 * `accept()` and `connect()` return one. The examples here make two, of the
 * ends of a stream in memory, so that each of them shows both sides.
 *
 * @example Receive and send
 * ```ts
 * import { WebSocketConnection } from "@sansio/websocket/connection";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * async function shout(ws: WebSocketConnection): Promise<void> {
 *   for await (const message of ws) await ws.send(`${message}!`);
 * }
 *
 * const [here, there] = duplexPair();
 * const shouting = shout(new WebSocketConnection(here, { role: "server" }));
 * {
 *   await using ws = new WebSocketConnection(there, { role: "client" });
 *   await ws.send("Hello");
 *   assertEquals(await ws.receive(), "Hello!");
 * } // it is closed here
 * await shouting; // whose iteration has ended
 * ```
 *
 * @example What is known of a connection
 * ```ts
 * import { accept, connect } from "@sansio/websocket";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const [here, there] = duplexPair();
 * const accepting = accept(here, { protocols: "chat" });
 * const client = await connect("ws://test/lobby", {
 *   protocols: "chat",
 *   dial: () => there,
 * });
 * const ws = await accepting;
 *
 * assertEquals(ws.role, "server");
 * assertEquals(ws.protocol, "chat");
 * assertEquals(ws.extension, undefined); // no compression
 * assertEquals(ws.request?.target, "/lobby");
 * assertEquals(ws.remoteAddr?.transport, "memory");
 * assertEquals([ws.isOpen, ws.bufferedAmount], [true, 0]);
 *
 * await client.close(1000, "Bye");
 * const { code, reason } = await ws.closed;
 * assertEquals({ code, reason }, { code: 1000, reason: "Bye" });
 * assertEquals(ws.isOpen, false);
 * ```
 */
export class WebSocketConnection
  implements AsyncDisposable, AsyncIterable<Message> {
  /** Which end of the connection this is. */
  readonly role: Role;
  /** The subprotocol that was agreed on, if any. */
  readonly protocol: string | undefined;
  /** The extension that was agreed on, with its parameters, if any. */
  readonly extension: ExtensionElement | undefined;
  /** The request that opened the connection, where it is known. */
  readonly request: ConnectionRequest | undefined;
  /** Who the peer is, where the transport says so. */
  readonly remoteAddr: RemoteAddress | undefined;

  readonly #protocol: WebSocketProtocol;
  readonly #pump: Pump;
  readonly #liveness: Liveness;
  readonly #highWaterMark: number;
  readonly #maxBufferedAmount: number;

  // The message that is being received in parts.
  #incoming: IncomingStream | undefined;
  // Held by a message that is being sent in fragments, and made for the first.
  #turnstile: Turnstile | undefined;
  #closed: Promise<CloseInfo> | undefined;
  #readable: ReadableStream<Message> | undefined;
  #writable: WritableStream<MessageData | PreparedMessage> | undefined;

  static {
    setFinishedOf((it) => (it as WebSocketConnection).#pump.finished());
  }

  /**
   * Takes over a stream on which hands have been shaken.
   *
   * @param duplex The stream; nobody else may read, write or close it.
   * @param options The role, what was negotiated, and the limits.
   * @throws {RangeError} If a limit is out of range.
   * @throws {TypeError} If there is no such role.
   */
  constructor(duplex: Duplex, options: WebSocketConnectionOptions) {
    const transport = toByteDuplex(duplex);
    checkLimits(options);
    this.role = options.role;
    this.protocol = options.protocol;
    const { extension } = options;
    // Not the negotiated extension itself: its state is not for others to
    // change.
    this.extension = extension &&
      { name: extension.name, parameters: extension.parameters };
    this.request = options.request;
    this.remoteAddr = transport.remoteAddr;
    this.#highWaterMark = options.highWaterMark ?? 128 * 1024;
    this.#maxBufferedAmount = options.maxBufferedAmount ?? 32 * 1024 * 1024;
    this.#protocol = new WebSocketProtocol({
      ...options,
      inPlace: true,
      mayGoOn,
    });
    // One object, shared by the pump and the liveness.
    const limits = {
      maxReadAhead: options.maxReadAhead ?? 64 * 1024,
      maxReadAheadMessages: options.maxReadAheadMessages ?? 64,
      highWaterMark: this.#highWaterMark,
      closeTimeout: options.closeTimeout ?? 5000,
      heartbeatInterval: options.heartbeatInterval ?? 30_000,
      heartbeatTimeout: options.heartbeatTimeout ?? 20_000,
      idleTimeout: options.idleTimeout ?? 0,
    };
    this.#liveness = new Liveness(this.#protocol, limits);
    this.#pump = new Pump(transport, this.#protocol, limits, this.#liveness);
    this.#liveness.start(this.#pump);
    const { rest } = options;
    if (rest !== undefined && rest.length > 0) this.#protocol.receive(rest);
    this.#pump.start();
  }

  /** How many bytes wait to be written, headers of frames included. */
  get bufferedAmount(): number {
    return this.#pump.writer.bufferedAmount;
  }

  /** Whether messages can be sent: nobody has begun to close the connection. */
  get isOpen(): boolean {
    return this.#protocol.state === "open";
  }

  /**
   * How the connection ended, once its transport is closed too. It never
   * rejects.
   */
  get closed(): Promise<CloseInfo> {
    return this.#closed ??= this.#pump.ended();
  }

  // --- Receiving -----------------------------------------------------------

  /**
   * Waits for the next message.
   *
   * @param options A signal that cancels the call; no message is lost.
   * @returns The message, or `undefined` if the connection was closed as it
   * should be: by this side, or by the peer with 1000, 1001 or no code.
   * @throws {ConnectionClosedError} If it was closed otherwise.
   * @throws {DOMException} "InvalidStateError" while a message is being
   * received by `receiveStream()`, or all are by `forEach()`.
   * @throws {unknown} The signal's reason.
   *
   * @example Not for ever
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * const signal = AbortSignal.timeout(10); // milliseconds
   * await assertRejects(() => client.receive({ signal }), DOMException);
   *
   * await server.send("I am late"); // the connection has not suffered
   * assertEquals(await client.receive(), "I am late");
   * await client.close();
   * ```
   */
  receive(options: AbortOptions = {}): Promise<Message | undefined> {
    return handled(this.#receive(options.signal));
  }

  async #receive(signal?: AbortSignal): Promise<Message | undefined> {
    this.#assertWhole();
    const message = await this.#pump.next(signal);
    if (message === undefined) this.#assertClosedWell();
    return message?.data;
  }

  /**
   * The messages, one after the other, until the connection is closed. While
   * nobody asks for the next one, the peer is slowed down. Leaving the iteration
   * does not close the connection.
   *
   * @returns An iterator that ends when `receive()` returns `undefined`.
   * @throws {ConnectionClosedError} As `receive()` does.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Message> {
    let isLeft = false;
    const iterator: AsyncIterableIterator<Message> = {
      next: (): Promise<IteratorResult<Message>> => {
        if (isLeft) return iterator.return!();
        if (
          this.#incoming === undefined && !this.#pump.isConsumed &&
          !this.#pump.isAwaited
        ) {
          // A message that has arrived needs no further promise.
          const message = this.#pump.take();
          if (message !== undefined) {
            return Promise.resolve({ value: message.data, done: false });
          }
        }
        return handled(this.#receive().then(resultOf));
      },
      return: (): Promise<IteratorResult<Message>> => {
        isLeft = true;
        return Promise.resolve({ value: undefined, done: true });
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  /**
   * Calls a function for each message until the connection is closed: the
   * fastest way to receive, since nobody waits between messages that have
   * arrived together, and the one that tells text from binary with
   * `textAs: "bytes"`.
   *
   * @param handle Called with each message, in order. If it returns a promise,
   * it is waited for, and the peer slowed down; return what `send()` returns.
   * @param options What may be done with a message's memory afterwards.
   * @returns Resolved when the connection was closed as it should be.
   * @throws {ConnectionClosedError} As `receive()` does.
   * @throws {DOMException} "InvalidStateError" while somebody else receives.
   * @throws {unknown} What `handle` throws; the connection stays open.
   *
   * @example An echo
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * const echoing = server.forEach((message) => server.send(message));
   * await client.send("Hello");
   * assertEquals(await client.receive(), "Hello");
   * await client.close();
   * await echoing;
   * ```
   */
  forEach(
    handle: (message: Message, type: "text" | "binary") => unknown,
    options: ForEachOptions = {},
  ): Promise<void> {
    try {
      this.#assertUnshared();
    } catch (error) {
      return handled(Promise.reject(error));
    }
    return this.#pump.consume(handle, options.reuseMemory ?? false);
  }

  /**
   * Waits for the next message, to receive it in parts as they arrive: memory
   * stays constant, whatever its size. `maxMessageSize` holds all the same.
   *
   * @param options A signal that cancels the call; no message is lost.
   * @returns The message, or `undefined` as `receive()` does.
   * @throws {ConnectionClosedError} As `receive()` does.
   * @throws {DOMException} "InvalidStateError" while another message is being
   * received in parts, or somebody waits for one already.
   * @throws {unknown} The signal's reason.
   *
   * @example Count an upload that is not kept
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * client.send(new Uint8Array(5_000_000));
   * const { type, readable } = (await server.receiveStream())!;
   * assertEquals(type, "binary");
   *
   * let length = 0;
   * for await (const part of readable) length += part.length;
   * assertEquals(length, 5_000_000);
   * await client.close();
   * ```
   */
  receiveStream(
    options: AbortOptions = {},
  ): Promise<IncomingStream | undefined> {
    return handled(this.#receiveStream(options.signal));
  }

  async #receiveStream(
    signal?: AbortSignal,
  ): Promise<IncomingStream | undefined> {
    this.#assertUnshared();
    signal?.throwIfAborted();
    this.#incoming = AWAITED;
    this.#takeParts(true);
    // Not only in `finally`, before which messages may be parsed.
    const onAbort = () => this.#takeParts(false);
    signal?.addEventListener("abort", onAbort);
    let first: Received | undefined;
    try {
      first = await this.#pump.next(signal);
    } finally {
      this.#incoming = undefined;
      this.#takeParts(false);
      signal?.removeEventListener("abort", onAbort);
    }
    if (first === undefined) {
      this.#assertClosedWell();
      return undefined;
    }
    const stream = {
      type: first.type === "chunk" ? first.of : first.type,
      readable: this.#readParts(first, () => {
        if (this.#incoming !== stream) return;
        this.#incoming = undefined;
        this.#pump.takeParts(false);
      }),
    } as IncomingStream;
    if (!isLast(first)) {
      this.#incoming = stream;
      this.#pump.takeParts(true);
    }
    return stream;
  }

  #takeParts(inParts: boolean): void {
    this.#protocol.chunks = inParts;
    this.#pump.takeParts(inParts);
  }

  #readParts(first: Received, onEnd: () => void): ReadableStream<Message> {
    // The part that pull() waits for: cancel() must not skip past it.
    let waiting: Promise<Received> | undefined = Promise.resolve(first);
    let isCancelled = false;
    const next = async (): Promise<Received> => {
      const next = await this.#pump.next();
      if (next !== undefined) return next;
      throw new ConnectionClosedError(this.#pump.closed!);
    };
    return new ReadableStream<Message>({
      pull: async (controller) => {
        let part: Received;
        try {
          part = await (waiting ??= next());
        } catch (error) {
          onEnd();
          throw error;
        }
        if (isCancelled) return;
        waiting = undefined;
        if (part.data.length > 0) controller.enqueue(part.data);
        if (isLast(part)) {
          onEnd();
          controller.close();
        }
      },
      cancel: async () => {
        isCancelled = true;
        try {
          while (!isLast(await (waiting ??= next()))) waiting = undefined;
        } catch {
          // The message ends with the connection.
        }
        onEnd();
      },
    }, { highWaterMark: 0 });
  }

  /**
   * The messages as a stream: it ends where `receive()` returns `undefined`,
   * and errors where that throws. Cancelling it closes the connection with
   * 1000.
   *
   * @example Answer through a transformation
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * const upperCase = new TransformStream({
   *   transform: (message, controller) =>
   *     controller.enqueue(message.toUpperCase()),
   * });
   * const answering = server.readable
   *   .pipeThrough(upperCase)
   *   .pipeTo(server.writable);
   *
   * await client.send("Hello");
   * assertEquals(await client.receive(), "HELLO");
   * await client.close();
   * await answering;
   * ```
   */
  get readable(): ReadableStream<Message> {
    return this.#readable ??= new ReadableStream<Message>({
      pull: async (controller) => {
        const message = await this.receive();
        if (message === undefined) controller.close();
        else controller.enqueue(message);
      },
      cancel: async () => {
        await this.close();
      },
    }, { highWaterMark: 0 });
  }

  // --- Sending -------------------------------------------------------------

  /**
   * Sends a message (RFC 6455 §6.1). What is sent in one go is written in one
   * go.
   *
   * @param message A string goes out as text, bytes in any form as binary, a
   * prepared message as it was prepared. Bytes must not change before the
   * promise resolves.
   * @param options Whether to compress, what type it has, and a signal that
   * stops the waiting. A message that is queued already goes out all the same.
   * @returns Resolved at once while little waits to be written, and otherwise
   * when it has drained: awaiting it slows the sender down to the peer's pace.
   * @throws {ConnectionClosedError} If the connection is closing or closed.
   * @throws {TypeError} If the message is none of these, such as a `Blob`, of
   * which `sendStream(blob.stream())` makes one.
   * @throws {unknown} The signal's reason.
   *
   * @example Text, and binary
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * await server.send("Hello");
   * await server.send(new Uint8Array([1, 2, 3]));
   * await server.send(new Uint8Array([4, 5]).buffer);
   * assertEquals(await client.receive(), "Hello");
   * assertEquals(await client.receive(), new Uint8Array([1, 2, 3]));
   * assertEquals(await client.receive(), new Uint8Array([4, 5]));
   *
   * // Text that is UTF-8 already
   * await server.send(new Uint8Array([72, 105]), { type: "text" });
   * assertEquals(await client.receive(), "Hi");
   * await client.close();
   * ```
   */
  send(
    message: MessageData | PreparedMessage,
    options: SendOptions = AS_GIVEN,
  ): Promise<void> {
    if (this.#turnstile?.isFree === false) {
      return handled(this.#sendLater(message, options));
    }
    try {
      this.#assertSendable(options.signal);
      const before = this.#pump.writer.bufferedAmount;
      const referenced = this.#queue(message, options);
      return this.#afterQueueing(before, referenced, options.signal);
    } catch (error) {
      return handled(Promise.reject(error));
    }
  }

  /**
   * Queues a message; returns the length of bytes that may be used without a
   * copy.
   */
  #queue(
    message: MessageData | PreparedMessage,
    options: SendOptions,
  ): number {
    if (typeof message === "string") {
      if (options.type === "binary") {
        this.#protocol.sendBinary(encoder.encode(message), options);
      } else this.#protocol.sendText(message, options);
      return 0; // the program does not have the bytes
    }
    if (message instanceof PreparedMessage) {
      this.#protocol.sendPrepared(message);
      return 0; // its bytes never change
    }
    const bytes = bytesOf(
      message,
      "A message",
      "a string, a PreparedMessage, ",
    );
    if (options.type === "text") this.#protocol.sendText(bytes, options);
    else this.#protocol.sendBinary(bytes, options);
    return bytes.length;
  }

  async #sendLater(
    message: MessageData | PreparedMessage,
    options: SendOptions,
  ): Promise<void> {
    const endTurn = await this.#turnstile!.take(options.signal);
    let sent: Promise<void>;
    try {
      this.#assertSendable(options.signal);
      const before = this.#pump.writer.bufferedAmount;
      const referenced = this.#queue(message, options);
      sent = this.#afterQueueing(before, referenced, options.signal);
    } finally {
      endTurn();
    }
    await sent;
  }

  /**
   * Schedules a write, and returns what the caller has to wait for.
   *
   * @param before How many bytes waited before: above the high water mark, the
   * caller has not waited for an earlier send.
   * @param referenced How many of its bytes may be used without a copy.
   */
  #afterQueueing(
    before: number,
    referenced: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    this.#pump.isActive = true;
    this.#pump.scheduleFlush();
    const { bufferedAmount } = this.#pump.writer;
    const isReferenced = referenced >= REFERENCE_FROM;
    if (bufferedAmount <= this.#highWaterMark && !isReferenced) return DONE;
    if (
      bufferedAmount > this.#maxBufferedAmount && before > this.#highWaterMark
    ) {
      this.#pump.end(
        new Error(
          `The peer does not read: ${bufferedAmount} bytes wait, more than maxBufferedAmount allows (${this.#maxBufferedAmount})`,
        ),
      );
      throw new ConnectionClosedError(this.#pump.closed!);
    }
    return isReferenced
      ? this.#pump.writer.written(signal)
      : this.#pump.writer.drained(signal);
  }

  /**
   * Sends a message whose length is not known beforehand, in fragments (RFC 6455
   * §5.4). Pings and pongs may go between them; other messages wait.
   *
   * @param source The parts: strings for text, bytes for binary; the first one
   * decides, unless the options say what it is. Bytes within text have to be
   * UTF-8, which is not checked. It is left as soon as its parts are not wanted
   * any more.
   * @param options Whether to compress, the type, and a signal. Once a part is
   * out, a source that fails, or the signal, fails the connection with 1011:
   * half a message cannot be taken back.
   * @returns Resolved when all of the message has been queued, and little waits
   * to be written.
   * @throws {ConnectionClosedError} If the connection is closing or closed.
   * @throws {TypeError} If the source is no iterable, a part is neither, or a
   * string comes after bytes where nobody said what they are.
   * @throws {unknown} What the source throws; the signal's reason.
   *
   * @example One message of what is made bit by bit
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * function* count(): Iterable<string> {
   *   for (const number of ["one", "two", "three"]) yield `${number} `;
   * }
   *
   * await server.sendStream(count());
   * assertEquals(await client.receive(), "one two three ");
   * await client.close();
   * ```
   */
  sendStream(
    source:
      | AsyncIterable<MessageData>
      | Iterable<MessageData>,
    options: SendOptions = AS_GIVEN,
  ): Promise<void> {
    return handled(this.#sendStream(source, options));
  }

  async #sendStream(
    source:
      | AsyncIterable<MessageData>
      | Iterable<MessageData>,
    options: SendOptions,
  ): Promise<void> {
    const { signal } = options;
    this.#turnstile ??= new Turnstile();
    const endTurn = await this.#turnstile.take(signal);
    let parts: PartReader | undefined;
    const onAbort = () => parts?.interrupt(signal!.reason);
    signal?.addEventListener("abort", onAbort);
    this.#pump.onClosed = (error) => parts?.interrupt(error);
    let type: "text" | "binary" | undefined;
    let isBegun = false;
    try {
      this.#assertSendable(signal);
      parts = new PartReader(source);
      for (;;) {
        const { value, done } = await parts.next();
        this.#assertSendable(signal);
        if (done) break;
        const part = typeof value === "string"
          ? value
          : bytesOf(value, "A part of a message", "a string, ");
        type = typeOfPart(part, type, options.type);
        const before = this.#pump.writer.bufferedAmount;
        this.#protocol.sendFragment(type, part, options);
        isBegun = true;
        await this.#afterQueueing(before, part.length, signal);
      }
      this.#protocol.sendFragment(
        type ?? options.type ?? "binary",
        new Uint8Array(0),
        {
          ...options,
          fin: true,
        },
      );
      isBegun = false;
      await this.#afterQueueing(0, 0, signal);
    } catch (error) {
      parts?.leave();
      if (isBegun) {
        this.#fail("The rest of a message cannot be sent", error);
      }
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#pump.onClosed = undefined;
      endTurn();
    }
  }

  /**
   * A stream that sends each chunk as a message, closes the connection with
   * 1000 when it is closed, and with 1011 when it is aborted.
   */
  get writable(): WritableStream<MessageData | PreparedMessage> {
    return this.#writable ??= new WritableStream({
      write: (message) => this.send(message),
      close: async () => {
        await this.close(CloseCode.NormalClosure);
      },
      abort: (reason) => {
        this.#fail("The source of the messages failed", reason);
      },
    });
  }

  /**
   * Sends a ping and waits for its pong (RFC 6455 §5.5.2).
   *
   * @param options A signal that cancels the waiting.
   * @returns The round trip time, in milliseconds.
   * @throws {ConnectionClosedError} If the connection is closed before.
   * @throws {DOMException} "InvalidStateError" if 1,000 pings are unanswered.
   * @throws {unknown} The signal's reason.
   *
   * @example How far away is the peer?
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assert } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * const milliseconds = await client.ping();
   * assert(milliseconds >= 0);
   * assert(server.isOpen); // whose program has not noticed
   * await client.close();
   * ```
   */
  ping(options: AbortOptions = {}): Promise<number> {
    try {
      this.#assertSendable(options.signal);
    } catch (error) {
      return handled(Promise.reject(error));
    }
    return handled(this.#liveness.ping(options.signal));
  }

  // --- The end -------------------------------------------------------------

  /**
   * Closes the connection (RFC 6455 §7.1.2). Messages that the peer sends until
   * its own Close frame are received, as far as they fit what is read ahead;
   * to have all of them, go on receiving.
   *
   * @param code The close code: 1000 to 1003, 1007 to 1014, 3000 to 4999.
   * @param reason Why, in at most 123 bytes of UTF-8.
   * @returns How the connection ended, once its transport is closed too, after
   * `closeTimeout` at the latest. It may have been closed before.
   * @throws {RangeError} If the code must not be sent, or the reason is too long.
   *
   * @example Say why
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * server.close(4001, "Logged out"); // 4000 to 4999 are for programs
   * const { code, reason, wasClean } = await client.closed;
   * assertEquals({ code, reason, wasClean }, {
   *   code: 4001,
   *   reason: "Logged out",
   *   wasClean: true,
   * });
   * ```
   */
  close(
    code: number = CloseCode.NormalClosure,
    reason?: string,
  ): Promise<CloseInfo> {
    try {
      const wasOpen = this.isOpen;
      this.#protocol.close(code, reason);
      if (wasOpen) this.#pump.expectClose();
    } catch (error) {
      return handled(Promise.reject(error));
    }
    return this.closed;
  }

  /**
   * Cuts the connection off, without a Close frame and without waiting for
   * anything. The peer sees 1006 (RFC 6455 §7.1.5).
   *
   * @example Cut off
   * ```ts
   * import { WebSocketConnection } from "@sansio/websocket/connection";
   * import { duplexPair } from "@sansio/websocket/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [here, there] = duplexPair();
   * const server = new WebSocketConnection(here, { role: "server" });
   * const client = new WebSocketConnection(there, { role: "client" });
   *
   * server.terminate();
   * assertEquals((await client.closed).code, 1006);
   * ```
   */
  terminate(): void {
    this.#pump.end(new Error("The connection was terminated by this side"));
  }

  /**
   * Closes the connection with 1000 and waits until it is closed.
   *
   * @returns Resolved when it is closed, after `closeTimeout` at the latest.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #fail(message: string, cause: unknown): void {
    // A Close frame has gone one way or the other already.
    if (!this.isOpen) return;
    this.#protocol.fail(
      new ProtocolError(message, {
        closeCode: CloseCode.InternalError,
        kind: "internal",
        cause,
      }),
    );
    this.#pump.expectClose();
  }

  #assertSendable(signal?: AbortSignal): void {
    signal?.throwIfAborted();
    if (this.isOpen) return;
    if (this.#pump.closed !== undefined) {
      throw new ConnectionClosedError(this.#pump.closed);
    }
    // The close code is not known before the peer has answered.
    throw new ConnectionClosedError(
      { code: CloseCode.AbnormalClosure, reason: "", wasClean: false },
      "The connection is being closed by this side",
    );
  }

  #assertWhole(): void {
    if (this.#pump.isConsumed) {
      throw new DOMException(
        "forEach() receives all messages",
        "InvalidStateError",
      );
    }
    if (this.#incoming === undefined) return;
    throw new DOMException(
      "A message is being received in parts: read or cancel it first",
      "InvalidStateError",
    );
  }

  /** For methods that take all messages, or parts of them. */
  #assertUnshared(): void {
    this.#assertWhole();
    if (!this.#pump.isAwaited) return;
    throw new DOMException(
      "A message is awaited already, by receive() or an iteration",
      "InvalidStateError",
    );
  }

  #assertClosedWell(): void {
    const error = this.#pump.closedError();
    if (error !== undefined) throw error;
  }
}

function resultOf(value: Message | undefined): IteratorResult<Message> {
  return value === undefined
    ? { value: undefined, done: true }
    : { value, done: false };
}

function isLast(part: Received): boolean {
  return part.type !== "chunk" || part.fin;
}
