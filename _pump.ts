/**
 * Moves bytes between a protocol and its transport: reads no further ahead than
 * the limits allow, hands out messages, has what is queued written, and brings
 * the transport to its end.
 *
 * @module
 */

import { CloseCode, ProtocolError } from "./frame.ts";
import type {
  BinaryMessage,
  Closed,
  CloseInfo,
  MessageChunk,
  ProtocolEvent,
  TextMessage,
  WebSocketProtocol,
} from "./protocol.ts";
import { Deadline, type DeadlineOwner } from "./_deadline.ts";
import type { ByteDuplex } from "./_duplex.ts";
import { ConnectionClosedError } from "./_connection_closed_error.ts";
import { JoinedParts } from "./_joined_parts.ts";
import { ReadBuffer } from "./_read_buffer.ts";
import {
  addWork,
  beginWork,
  endWork,
  mayGoOn,
  soon,
  takeTurns,
  type TurnTaker,
  unwatchLoop,
  watchLoop,
} from "./_turns.ts";
import { handled, Waiters } from "./_waiter.ts";
import { Writer, type WriterOwner } from "./_writer.ts";

/** A message, or a part of one. */
export type Received = TextMessage | BinaryMessage | MessageChunk;

/** Limits of a {@linkcode Pump}. */
export interface PumpLimits {
  /** How many bytes are read ahead while no message is asked for. */
  maxReadAhead: number;
  /** How many messages are read ahead while none is asked for. */
  maxReadAheadMessages: number;
  /** How much may wait to be written before senders wait, in bytes. */
  highWaterMark: number;
  /** How long closing may take, in milliseconds; 0 for ever. */
  closeTimeout: number;
}

/** Is told what is received besides messages. */
export interface PumpOwner {
  /** Called with the payload of each pong. */
  onPong(data: Uint8Array): void;
  /** Called once, when no further message can come. */
  onClosed(closed: Closed): void;
}

/** The promise that all sends return which need not wait. */
export const DONE: Promise<void> = Promise.resolve();

interface Consumer {
  handle(data: Received["data"], type: "text" | "binary"): unknown;
  readonly reuse: boolean;
  done: Promise<void> | undefined;
  resolve(): void;
  reject(error: unknown): void;
}

// A consumer that takes no message within this many microtasks counts as busy.
// `for await` with an `await` in its body needs three for each message.
const PATIENCE = 8;

// What arrives after the end is read into this, and never looked at: one buffer
// for all connections.
let waste: Uint8Array<ArrayBuffer> | undefined;

// A read of this many bytes counts as work (_turns.ts): it may hold many messages.
const BULK = 8192;

/** Drives one connection. */
export class Pump implements DeadlineOwner, TurnTaker, WriterOwner {
  readonly #duplex: ByteDuplex;
  readonly #protocol: WebSocketProtocol;
  readonly #limits: PumpLimits;
  readonly #owner: PumpOwner;

  readonly #buffer = new ReadBuffer();
  #destination: Uint8Array<ArrayBuffer> | undefined;
  #isReading = false;
  #queue: Received[] = [];
  #queuedBytes = 0;
  #isDropping = false;
  // Whether parts are handed out as they are; if not, they are joined in #parts.
  #inParts = false;
  #parts: JoinedParts | undefined;
  // Whether it waits for its turn (_turns.ts).
  #isResting = false;
  // Since when the messages of a large read have been worked on.
  #bulkSince: number | undefined;
  /** How long its messages have taken, in milliseconds. */
  work = 0;
  // How many events have been asked for.
  #parsed = 0;
  readonly #waiters = new Waiters<Received | undefined>();

  #consumer: Consumer | undefined;
  #isHandling = false;
  // Whether a message has been handed out since a message was last waited for: the
  // program may still be working on it.
  #isInHand = false;
  #isFinishing = false;
  #finishWaiters: Waiters<void> | undefined;

  // How often a message was taken, and how often at the last look.
  #taken = 0;
  #takenBefore = 0;
  #patience = 0;
  #isSettling = false;

  /** Its direction of writing. */
  readonly writer: Writer;
  #isFlushScheduled = false;

  #closed: Closed | undefined;
  #closing: Deadline | undefined;
  #writeError: unknown;
  #isClosedHere = false;
  #isWriteEnded = false;
  #isEnded = false;
  #endWaiters: Waiters<CloseInfo> | undefined;

  // Whether something was read since watch(), and how much had been written
  // then.
  #isHeard = true;
  #writtenBefore = Infinity;
  /** Set when a message is sent or received; whoever watches it resets it. */
  isActive = false;
  /** Called, like the owner's, when nothing can be sent any more. */
  onClosed: ((error: ConnectionClosedError) => void) | undefined;

  constructor(
    duplex: ByteDuplex,
    protocol: WebSocketProtocol,
    limits: PumpLimits,
    owner: PumpOwner,
  ) {
    this.#duplex = duplex;
    this.#protocol = protocol;
    this.#limits = limits;
    this.#owner = owner;
    this.writer = new Writer(duplex, protocol, limits.highWaterMark, this);
  }

  /** Begins with what the protocol has been given already. */
  start(): void {
    this.#settle();
  }

  /** How the connection was closed; `undefined` while messages may come. */
  get closed(): Closed | undefined {
    return this.#closed;
  }

  /** Whether {@linkcode consume} takes the messages. */
  get isConsumed(): boolean {
    return this.#consumer !== undefined;
  }

  /** Whether a call of {@linkcode next} is waiting. */
  get isAwaited(): boolean {
    return this.#waiters.length > 0;
  }

  /**
   * Begins to wait for a sign of life. Bytes that arrive are one. A write that the
   * system takes at once is none, but one that is pending now is, once it is
   * taken: the peer must have read to make room.
   */
  watch(): void {
    const { isWriting, byteLength } = this.writer;
    this.#isHeard = false;
    this.#writtenBefore = isWriting ? byteLength : Infinity;
  }

  /** Whether there was a sign of life since {@linkcode watch}. */
  get isAlive(): boolean {
    return this.#isHeard || this.writer.byteLength > this.#writtenBefore;
  }

  /** Whether a sign of life would be noticed. */
  get isListening(): boolean {
    return this.#isReading || this.writer.isWriting;
  }

  // --- Receiving -----------------------------------------------------------

  /**
   * Whether the next message is delivered in parts. After that, a message that has
   * begun to arrive in parts is joined, and delivered whole.
   */
  takeParts(inParts: boolean): void {
    this.#inParts = inParts;
  }

  /** The next message, if it has arrived. Its bytes belong to the caller. */
  take(): Received | undefined {
    this.#taken++;
    if (this.#inParts && this.#parts !== undefined) {
      this.#isInHand = true;
      return this.#takeJoined();
    }
    if (this.#queue.length > 0) {
      if (!this.#isReading) this.#settle();
      this.#isInHand = true;
      return this.#unqueue();
    }
    const message = this.#parse();
    if (message !== undefined) {
      this.#isInHand = true;
      this.#buffer.lend();
    }
    return message;
  }

  #unqueue(): Received {
    const message = this.#queue.shift()!;
    this.#queuedBytes -= message.data.length;
    return message;
  }

  /**
   * Waits for the next message; `undefined` when no further message can come.
   * Calls are answered in order.
   *
   * @param signal Cancels the call; no message is lost.
   */
  next(signal?: AbortSignal): Promise<Received | undefined> {
    if (this.#waiters.length === 0 && !signal?.aborted) {
      const message = this.take();
      if (message !== undefined || this.#closed !== undefined) {
        return Promise.resolve(message);
      }
    }
    const message = this.#waiters.wait(signal);
    this.#isInHand = false;
    this.#goOn();
    return message;
  }

  /**
   * Calls a function for each message. Unless the function returns something to
   * wait for, the next message follows at once, without a promise.
   *
   * @param handle What it returns is awaited, unless that is `undefined` or
   * {@linkcode DONE}.
   * @param reuse Whether the memory of a message is used again afterwards.
   * @returns Resolves when no further message can come. Rejects if the connection
   * did not end as it should, and with what the function throws.
   */
  consume(
    handle: Consumer["handle"],
    reuse: boolean,
  ): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      this.#consumer = { handle, reuse, done: undefined, resolve, reject };
    });
    this.#consumer!.done = done;
    this.#isInHand = false;
    this.#protocol.reusesMemory = reuse;
    this.#consume();
    this.#goOn();
    return done;
  }

  #consume(): void {
    while (this.#consumer !== undefined && !this.#isHandling) {
      const isQueued = this.#queue.length > 0;
      const message = isQueued ? this.#unqueue() : this.#parse();
      if (message === undefined) {
        if (this.#closed !== undefined) this.#endConsumer();
        return;
      }
      const { handle, reuse } = this.#consumer;
      if (!reuse && !isQueued) this.#buffer.lend();
      // Set before: the function may end the connection, and is awaited even so.
      this.#isHandling = true;
      try {
        const type = message.type === "chunk" ? message.of : message.type;
        const result = handle(message.data, type);
        if (result === undefined || result === DONE) {
          if (reuse) this.#giveBack(message);
          this.#isHandling = false;
        } else {
          if (!isQueued) this.#buffer.lend();
          this.#wait(result, message, reuse);
        }
      } catch (error) {
        this.#isHandling = false;
        this.#endConsumer({ error });
      }
    }
  }

  async #wait(
    result: unknown,
    message: Received,
    reuse: boolean,
  ): Promise<void> {
    try {
      await result;
      if (reuse) this.#giveBack(message);
    } catch (error) {
      this.#endConsumer({ error });
    }
    this.#isHandling = false;
    this.#consume();
    this.#goOn();
  }

  // A chunk may be a view on what is being read.
  #giveBack(message: Received): void {
    if (message.type !== "chunk") this.#protocol.reuse(message.data);
  }

  #endConsumer(thrown?: { error: unknown }): void {
    const consumer = this.#consumer;
    if (consumer === undefined) return;
    this.#consumer = undefined;
    this.#protocol.reusesMemory = false;
    const error = thrown === undefined ? this.closedError() : thrown.error;
    // How the connection ended may go unnoticed; what the function threw may not.
    if (error instanceof ConnectionClosedError) handled(consumer.done!);
    if (thrown === undefined && error === undefined) consumer.resolve();
    else consumer.reject(error);
  }

  /** Parses up to the next message. */
  #parse(): Received | undefined {
    if (this.#isResting) return undefined;
    for (;;) {
      // One read may bring 40,000 messages.
      if ((++this.#parsed & 31) === 0 && !this.#mayParse()) {
        this.#rest();
        return undefined;
      }
      const event = this.#nextEvent();
      if (event === undefined) {
        if (this.#protocol.isPaused) this.#rest();
        return undefined;
      }
      switch (event.type) {
        case "text":
        case "binary":
          if (this.#isDropping) break;
          this.isActive = true;
          return event;
        case "chunk": {
          if (this.#isDropping) break;
          this.isActive = true;
          if (this.#inParts) return event;
          const message = this.#join(event);
          if (message !== undefined) return message;
          break;
        }
        case "pong":
          this.#owner.onPong(event.data);
          break;
        case "close":
          this.#close(event);
          return undefined;
      }
    }
  }

  #mayParse(): boolean {
    if (this.#bulkSince !== undefined) {
      this.work += addWork(this.#bulkSince);
      this.#bulkSince = performance.now();
    }
    return mayGoOn();
  }

  // An extension's mistake fails this connection: it must not reach the callers.
  #nextEvent(): ProtocolEvent | undefined {
    // To inflate takes time also where messages are asked for one by one.
    const isMine = this.#protocol.extension !== undefined && beginWork();
    try {
      return this.#protocol.nextEvent();
    } catch (cause) {
      this.#protocol.fail(
        new ProtocolError("The message cannot be taken", {
          closeCode: CloseCode.InternalError,
          kind: "internal",
          cause,
        }),
      );
      return this.#protocol.nextEvent();
    } finally {
      if (isMine) this.work += endWork();
    }
  }

  /** Waits for its turn; nothing is parsed or read until then. */
  #rest(): void {
    if (this.#isResting) return;
    this.#isResting = true;
    takeTurns(this);
  }

  /** It has its turn: goes on with what was received. */
  onTurn(): void {
    this.#isResting = false;
    if (this.#isEnded) return;
    this.#protocol.resume();
    this.#work();
  }

  #work(): void {
    const isMine = beginWork();
    try {
      this.#onReceived();
    } finally {
      if (isMine) this.work += endWork();
    }
  }

  /** Adds a part to the message that it belongs to; returns that once complete. */
  #join(part: MessageChunk): Received | undefined {
    this.#parts ??= new JoinedParts(part);
    this.#parts.add(part.data);
    if (!part.fin) return undefined;
    const { of: type, data } = this.#takeJoined();
    return { type, data } as TextMessage | BinaryMessage;
  }

  #takeJoined(): MessageChunk {
    const parts = this.#parts!;
    this.#parts = undefined;
    return parts.join();
  }

  #isFull(): boolean {
    const { maxReadAhead, maxReadAheadMessages } = this.#limits;
    return this.#queue.length >= maxReadAheadMessages ||
      this.#queuedBytes + (this.#parts?.length ?? 0) +
            this.#protocol.unfinishedLength >=
        maxReadAhead;
  }

  /**
   * Queues what nobody has asked for yet, up to the limits, so that pings are
   * answered and a Close frame is seen. Once this side is closing, the first
   * message above the limits is dropped, and all that follow it: the program may
   * never ask for them, and the peer's Close frame is behind them. What
   * `forEach()` will take is not dropped.
   */
  #parseAhead(): void {
    while (!this.#isFull()) {
      const message = this.#parse();
      if (message === undefined) return;
      this.#buffer.lend();
      this.#queue.push(message);
      this.#queuedBytes += message.data.length;
    }
    if (this.#mayDrop && this.#parse() !== undefined) {
      this.#isDropping = true;
      this.#parse();
    }
  }

  get #mayDrop(): boolean {
    return this.#protocol.state !== "open" && this.#consumer === undefined;
  }

  /** Reads on once the consumer waits, or is busy elsewhere. */
  #settle(): void {
    this.#patience = PATIENCE;
    if (this.#isSettling) return;
    this.#isSettling = true;
    soon(this);
  }

  /** Called once for each call of `soon()`. */
  onMicrotask(): void {
    if (this.#isFlushScheduled) {
      this.#isFlushScheduled = false;
      this.flush();
    }
    if (this.#isSettling) this.#lookAgain();
  }

  #lookAgain(): void {
    if (this.#taken !== this.#takenBefore) {
      this.#takenBefore = this.#taken;
      this.#patience = PATIENCE;
    }
    if (this.#waiters.length === 0 && this.#patience-- > 0) {
      soon(this);
      return;
    }
    this.#isSettling = false;
    this.#goOn();
  }

  /** Writes what is queued, and reads if the limits allow it. */
  #goOn(): void {
    if (this.#isFinishing && !this.#isBusy) this.#endFinishing();
    if (this.#isReading || this.#isResting || this.#isEnded) {
      this.flush();
      return;
    }
    const isAwaited = this.#waiters.length > 0 ||
      this.#consumer !== undefined && !this.#isHandling;
    if (!isAwaited) this.#parseAhead();
    this.flush();
    if (this.#closed !== undefined || this.#isEnded) return;
    if (this.#isResting || this.#isFinishing) return;
    if (isAwaited || !this.#isFull() || this.#mayDrop) this.#read();
  }

  #read(): void {
    if (this.#bulkSince !== undefined) {
      this.work += addWork(this.#bulkSince);
      this.#bulkSince = undefined;
      if (!mayGoOn()) {
        this.#rest();
        return;
      }
    }
    watchLoop();
    this.#isReading = true;
    let into: Uint8Array<ArrayBuffer>;
    if (this.#closed !== undefined) {
      into = waste ??= new Uint8Array(65536);
    } else {
      this.#buffer.reuse();
      this.#destination = this.#protocol.destination;
      into = this.#destination ?? this.#buffer.room();
    }
    try {
      this.#duplex.read(into).then(this.#onRead, this.#onReadError);
    } catch (error) {
      this.#onReadError(error);
    }
  }

  readonly #onRead = (length: number | null): void => {
    this.#isReading = false;
    if (this.#isEnded) return;
    if (length === null) {
      this.#onEnd();
      return;
    }
    this.#isHeard = true;
    try {
      // A few bytes may inflate to much.
      const isWork = length >= BULK || this.#protocol.extension !== undefined;
      if (!isWork) {
        this.#receive(length);
        this.#onReceived();
        return;
      }
      if (length >= BULK) this.#bulkSince = performance.now();
      this.#receive(length);
      if (mayGoOn()) this.#work();
      else this.#rest();
      if (this.#bulkSince !== undefined) this.#bulkSince = performance.now();
    } catch (error) {
      // Most likely the program has transferred the memory that was read into. An
      // error thrown from here would end the program.
      this.end(error);
    }
  };

  #receive(length: number): void {
    if (this.#closed !== undefined) return;
    this.#protocol.receive(
      this.#destination?.subarray(0, length) ?? this.#buffer.filled(length),
    );
    this.#destination = undefined;
  }

  #onReceived(): void {
    if (this.#closed !== undefined) {
      if (!this.#isReading) this.#read();
      return;
    }
    if (this.#consumer !== undefined) {
      this.#consume();
      this.#goOn();
      return;
    }
    while (this.#waiters.length > 0) {
      const message = this.take();
      if (message === undefined) break;
      this.#waiters.serve(message);
    }
    if (this.#waiters.length > 0) this.#goOn();
    else this.#settle();
  }

  readonly #onReadError = (error: unknown): void => {
    this.#isReading = false;
    this.end(error);
  };

  /** The peer has ended its direction. What is queued for it still goes out. */
  #onEnd(): void {
    if (this.#closed === undefined) this.#close(this.#protocol.receiveEnd()!);
    this.flush();
    if (this.writer.bufferedAmount === 0) this.end();
  }

  // --- Sending -------------------------------------------------------------

  /** Writes what is queued at the end of the microtask. */
  scheduleFlush(): void {
    // Settling, or the write that is pending, ends with a flush.
    if (this.#isFlushScheduled || this.#isSettling) return;
    if (this.writer.isWriting) return;
    this.#isFlushScheduled = true;
    soon(this);
  }

  /** Writes what is queued, unless a write is pending. */
  flush(): void {
    if (this.#isEnded) return;
    const isIdle = this.writer.flush();
    if (isIdle && this.#closed !== undefined) this.#endWriting();
  }

  /** The peer takes nothing more, but what it has sent can still be read. */
  onWriteError(error: unknown): void {
    this.#writeError = error;
    this.#isWriteEnded = true;
    this.#expectEnd();
    if (this.#closed !== undefined) {
      this.end(error);
      return;
    }
    // Not only at the end, which may be long in coming.
    this.writer.stop({
      code: CloseCode.AbnormalClosure,
      reason: "",
      wasClean: false,
      error: errorOf(error),
    });
    this.#goOn();
  }

  // --- The end -------------------------------------------------------------

  /**
   * Waits until the program is done with what has been received: it waits for the
   * next message, and there is none. Until then nothing more is read, so that a
   * peer that goes on sending cannot put this off. Closing ends the wait.
   */
  finished(): Promise<void> {
    if (!this.#isBusy) return DONE;
    this.#isFinishing = true;
    return (this.#finishWaiters ??= new Waiters()).wait();
  }

  get #isBusy(): boolean {
    if (this.#closed !== undefined) return false;
    // While it rests, there is input that has not been parsed.
    return this.#isHandling || this.#isInHand || this.#isResting;
  }

  #endFinishing(): void {
    this.#isFinishing = false;
    this.#finishWaiters?.serveAll();
  }

  /** Waits until the transport has ended. */
  ended(): Promise<CloseInfo> {
    return this.#isEnded
      ? Promise.resolve(infoOf(this.#closed!))
      : (this.#endWaiters ??= new Waiters()).wait();
  }

  /** The error for how the connection was closed, unless it was closed well. */
  closedError(): ConnectionClosedError | undefined {
    const closed = this.#closed!;
    const isGood = closed.wasClean &&
      (this.#isClosedHere || isGoodbye(closed.code));
    return isGood ? undefined : new ConnectionClosedError(closed);
  }

  /** Begins to wait for the peer's Close frame, but not for ever. */
  expectClose(): void {
    this.#isClosedHere = true;
    this.#endFinishing();
    this.#expectEnd();
    // The close event of a failure that this side has caused.
    if (this.#protocol.state === "failed") this.#parse();
    this.scheduleFlush();
    // Reads on to the peer's Close frame, even if the limits are reached.
    if (!this.#isReading) this.#settle();
  }

  #expectEnd(): void {
    if (this.#limits.closeTimeout === 0) return;
    this.#closing ??= new Deadline(this.#limits.closeTimeout, this);
  }

  /** The peer has taken too long to close. */
  onDeadline(): void {
    const { closeTimeout } = this.#limits;
    this.end(
      this.#writeError ??
        new Error(`The end took more than ${closeTimeout} ms`),
    );
  }

  /** No further message can come. */
  #close(closed: Closed): void {
    this.#closed = closed;
    this.#endFinishing();
    this.#owner.onClosed(closed);
    this.onClosed?.(new ConnectionClosedError(closed));
    this.#waiters.serveAll(undefined);
    if (!this.#isHandling && this.#queue.length === 0) {
      this.#endConsumer();
    }
    this.#expectEnd();
    this.scheduleFlush();
  }

  /** All is written. The server ends its direction first (RFC 6455 §7.1.1). */
  #endWriting(): void {
    if (this.#isWriteEnded) return;
    this.#isWriteEnded = true;
    if (this.#protocol.transport === "close") {
      const isDone = this.#closed!.wasClean && !this.#protocol.hasIgnoredInput;
      if (isDone || this.#duplex.closeWrite === undefined) {
        this.end();
        return;
      }
      try {
        this.#duplex.closeWrite().catch((error) => this.end(error));
      } catch (error) {
        this.end(error);
        return;
      }
    }
    // To close now would reset the connection if the peer is still sending, and it
    // could lose what it has not read (RFC 6455 §7.1.1).
    if (!this.#isReading && !this.#isResting) this.#read();
  }

  /**
   * Ends the transport at once.
   *
   * @param error Why, if not because all is done.
   */
  end(error?: unknown): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    unwatchLoop();
    const cause = error === undefined ? undefined : errorOf(error);
    const closed = this.#protocol.receiveEnd(cause);
    this.#closing?.cancel();
    if (this.#closed === undefined) {
      this.#close(closed!);
      this.#closing?.cancel();
    }
    try {
      this.#duplex.close();
    } catch {
      // It is closed already.
    }
    const info = infoOf(this.#closed!);
    this.writer.stop(info);
    this.#endWaiters?.serveAll(info);
  }
}

/** Whether a peer that is done closes so; browsers send no code by default. */
function isGoodbye(code: number): boolean {
  return code === CloseCode.NormalClosure || code === CloseCode.GoingAway ||
    code === CloseCode.NoStatusReceived;
}

function errorOf(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

function infoOf({ type: _, ...info }: Closed): CloseInfo {
  return info;
}
