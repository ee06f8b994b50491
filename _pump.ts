/**
 * Moves bytes between a protocol and its transport: reads no further ahead than
 * the limits allow, writes all that is queued at once, and brings the transport
 * to its end.
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

/** What a consumer takes off the pump. */
export type Received = TextMessage | BinaryMessage | MessageChunk;

/** How far the pump goes. */
export interface PumpLimits {
  /** How much is read ahead while nobody asks, in bytes. */
  maxReadAhead: number;
  /** How many messages are read ahead while nobody asks. */
  maxReadAheadMessages: number;
  /** How much may wait to be written before senders wait, in bytes. */
  highWaterMark: number;
  /** How long closing may take, in milliseconds; 0 for ever. */
  closeTimeout: number;
}

/** Whom the pump tells of what is no message. */
export interface PumpOwner {
  /** Told of every pong. */
  onPong(data: Uint8Array): void;
  /** Told when no message comes any more. */
  onClosed(closed: Closed): void;
}

/** What sending returns when nobody has to wait: one promise for all. */
export const DONE: Promise<void> = Promise.resolve();

interface Consumer {
  handle(data: Received["data"], type: "text" | "binary"): unknown;
  readonly reuse: boolean;
  done: Promise<void> | undefined;
  resolve(): void;
  reject(error: unknown): void;
}

// A consumer that takes no message for so many microtasks is busy elsewhere.
// `for await` with an `await` in its body needs three for each message.
const PATIENCE = 8;

// What arrives after the end is read to here, by all connections.
let waste: Uint8Array<ArrayBuffer> | undefined;

// From so many bytes on, what a read has brought may take a while.
const BULK = 8192;

/** Drives one connection. */
export class Pump implements DeadlineOwner, TurnTaker {
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
  // Whether somebody takes parts of a message; otherwise, those of one that is
  // to be whole all the same.
  #inParts = false;
  #parts: JoinedParts | undefined;
  #isResting = false;
  // When a read last brought so much that others may have to wait for it.
  #bulkSince: number | undefined;
  /** How long its messages have taken, in milliseconds. */
  work = 0;
  // How many messages and the like were looked at.
  #parsed = 0;
  readonly #waiters = new Waiters<Received | undefined>();

  #consumer: Consumer | undefined;
  #isHandling = false;
  // Whether who asked for a message has got it, and has not asked for another.
  #isInHand = false;
  #isFinishing = false;
  #finishWaiters: Waiters<void> | undefined;

  // How often a message was taken, and how often at the last look.
  #taken = 0;
  #takenBefore = 0;
  #patience = 0;
  #isSettling = false;

  #writing: Uint8Array | undefined;
  #isFlushScheduled = false;
  // How many bytes have been written in all.
  #written = 0;
  // Made when somebody waits: most connections never need them.
  #drainWaiters: Waiters<void> | undefined;
  #writeWaiters: Waiters<void> | undefined;

  #closed: Closed | undefined;
  #closing: Deadline | undefined;
  #writeError: unknown;
  #isClosedHere = false;
  #isWriteEnded = false;
  #isEnded = false;
  #endWaiters: Waiters<CloseInfo> | undefined;

  /** Whether the peer has given a sign of life since {@linkcode watch}. */
  isAlive = true;
  #isWriteWatched = false;
  /** Whether a message has been received since `false` was last put here. */
  isActive = false;
  /** Told when nothing can be sent any more, besides the owner. */
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
  }

  /** Begins. What the protocol has been given before comes first. */
  start(): void {
    this.#settle();
  }

  /** How the connection was closed; `undefined` while messages may come. */
  get closed(): Closed | undefined {
    return this.#closed;
  }

  /** Whether {@linkcode consume} has the messages. */
  get isConsumed(): boolean {
    return this.#consumer !== undefined;
  }

  /** Whether somebody waits for {@linkcode next}. */
  get isAwaited(): boolean {
    return this.#waiters.length > 0;
  }

  /** How many bytes wait to be written. */
  get bufferedAmount(): number {
    return this.#protocol.outputLength + (this.#writing?.length ?? 0);
  }

  /**
   * Waits for the next sign of life. That the system takes a write is none; that
   * it takes what it did not take now is one.
   */
  watch(): void {
    this.isAlive = false;
    this.#isWriteWatched = this.#writing !== undefined;
  }

  /** Whether a silent peer would be heard if it spoke, or owes a read. */
  get isListening(): boolean {
    return this.#isReading || this.#writing !== undefined;
  }

  // --- Receiving -----------------------------------------------------------

  /**
   * Has the next message delivered in parts; or, when that is over, whole ones.
   * One of which nobody has taken a part is delivered whole then.
   */
  takeParts(inParts: boolean): void {
    this.#inParts = inParts;
  }

  /** The next message that is there already. Its bytes are the caller's. */
  take(): Received | undefined {
    this.#taken++;
    if (this.#inParts && this.#parts !== undefined) return this.#takeJoined();
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
   * The next message; `undefined` when none comes any more. Calls are answered
   * in their order.
   *
   * @param signal Cancels the call: no message is lost.
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
   * Hands each message to a function, right when it is there: no promise is made
   * for one that the function is done with when it returns.
   *
   * @param handle Returns {@linkcode DONE}, or what is to be waited for.
   * @param reuse Whether the memory of a message may be used again once the
   * function is done with it.
   * @returns Resolved when no message comes any more, rejected if the connection
   * did not end as it should, or with what the function throws.
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
      // The function may end the connection, and is waited for all the same.
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
    // What the function has thrown must not get lost; how all ends may.
    if (error instanceof ConnectionClosedError) handled(consumer.done!);
    if (thrown === undefined && error === undefined) consumer.resolve();
    else consumer.reject(error);
  }

  /** Parses up to the next message. */
  #parse(): Received | undefined {
    if (this.#isResting) return undefined;
    for (;;) {
      // There may be 40,000 messages in one read.
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

  // What is thrown here must reach neither those who call, nor other pumps.
  #nextEvent(): ProtocolEvent | undefined {
    // Who asks for messages one by one is not within a read.
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

  /** Lets others go first. */
  #rest(): void {
    if (this.#isResting) return;
    this.#isResting = true;
    takeTurns(this);
  }

  /** Goes on with what was received. */
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

  /** Puts a message together that was begun in parts; returns it at its end. */
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
   * Looks at what nobody has asked for yet, so that pings are answered and a
   * Close frame is seen, up to the limits. Nobody can wait for ever for room
   * once this side is closing: then what is too much is dropped, and all that
   * comes after it, so that there is no gap. But what `forEach()` is going to take
   * is not.
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

  /** Goes on as soon as the consumer has worked off what it can. */
  #settle(): void {
    this.#patience = PATIENCE;
    if (this.#isSettling) return;
    this.#isSettling = true;
    soon(this);
  }

  /** The next microtask that was asked for: to flush, or to look again. */
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

  /** The consumer waits, or is busy elsewhere: writes, and reads on. */
  #goOn(): void {
    if (this.#isFinishing) this.#finish();
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
    this.isAlive = true;
    try {
      // Inflating takes its time, however little there is of it.
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
      // Nobody waits for this function: what it threw would end the program. The
      // memory that was read into has been transferred, most likely.
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

  /** The peer has ended its direction: what it is owed still goes out. */
  #onEnd(): void {
    if (this.#closed === undefined) this.#close(this.#protocol.receiveEnd()!);
    this.flush();
    if (this.bufferedAmount === 0) this.end();
  }

  // --- Sending -------------------------------------------------------------

  /** Writes what is queued once the caller's task is through. */
  scheduleFlush(): void {
    // Whoever settles, or writes, flushes when it is done.
    if (this.#isFlushScheduled || this.#isSettling) return;
    if (this.#writing !== undefined) return;
    this.#isFlushScheduled = true;
    soon(this);
  }

  /** Writes what is queued, unless something is being written. */
  flush(): void {
    if (this.#writing !== undefined || this.#isEnded) return;
    const bytes = this.#protocol.takeOutput();
    if (bytes === undefined) {
      if (this.#closed !== undefined) this.#endWriting();
      return;
    }
    this.#write(bytes);
  }

  #write(bytes: Uint8Array): void {
    this.#writing = bytes;
    try {
      this.#duplex.write(bytes).then(this.#onWritten, this.#onWriteError);
    } catch (error) {
      this.#onWriteError(error);
    }
  }

  readonly #onWritten = (length: number): void => {
    const bytes = this.#writing!;
    if (this.#isEnded) return;
    if (this.#isWriteWatched) this.isAlive = true;
    this.#written += length;
    this.#writeWaiters?.serveAll();
    try {
      // Nothing is left of bytes that were transferred: subarray() throws then.
      if (length !== bytes.length) {
        this.#write(bytes.subarray(length));
        return;
      }
      this.#writing = undefined;
      this.#protocol.releaseOutput();
      this.flush();
      if (this.bufferedAmount <= this.#limits.highWaterMark) {
        this.#drainWaiters?.serveAll();
      }
    } catch (error) {
      this.end(error);
    }
  };

  // The peer takes nothing more, but what it has sent may still be there.
  readonly #onWriteError = (error: unknown): void => {
    if (this.#isEnded) return;
    this.#writing = undefined;
    this.#writeError = error;
    this.#isWriteEnded = true;
    this.#protocol.dropOutput();
    this.#expectEnd();
    if (this.#closed !== undefined) this.end(error);
    else {
      // The end may take as long as the peer likes.
      this.#turnSendersAway();
      this.#goOn();
    }
  };

  #turnSendersAway(): void {
    if (!this.#drainWaiters?.length && !this.#writeWaiters?.length) return;
    const error = this.#unwritten();
    this.#drainWaiters?.rejectAll(error);
    this.#writeWaiters?.rejectAll(error);
  }

  /** Why nothing more is written. */
  #unwritten(): ConnectionClosedError {
    return new ConnectionClosedError(
      this.#closed ?? {
        code: CloseCode.AbnormalClosure,
        reason: "",
        wasClean: false,
        error: errorOf(this.#writeError),
      },
    );
  }

  /**
   * Waits until little is left to write. Rejects when the connection ends
   * before.
   */
  drained(signal?: AbortSignal): Promise<void> {
    const waiters = this.#drainWaiters ??= new Waiters();
    return signal === undefined
      ? waiters.waitTogether()
      : handled(waiters.wait(signal));
  }

  /**
   * Waits until all is written that is queued now: what was referred to, not
   * copied, is then no longer needed. Rejects when the connection ends before.
   */
  written(signal?: AbortSignal): Promise<void> {
    return handled(this.#writtenUpTo(
      this.#written + this.bufferedAmount,
      signal,
    ));
  }

  async #writtenUpTo(end: number, signal?: AbortSignal): Promise<void> {
    const waiters = this.#writeWaiters ??= new Waiters();
    while (this.#written < end) {
      // It may be over since more was written.
      if (this.#isEnded || this.#isWriteEnded) throw this.#unwritten();
      await waiters.wait(signal);
    }
  }

  // --- The end -------------------------------------------------------------

  /**
   * Waits until what has been received is done with: who asks for messages asks
   * for the next one, and there is none. Nothing more is read until then, so that
   * a peer that goes on sending does not put it off.
   */
  finished(): Promise<void> {
    if (!this.#isBusy) return DONE;
    this.#isFinishing = true;
    return (this.#finishWaiters ??= new Waiters()).wait();
  }

  get #isBusy(): boolean {
    if (this.#closed !== undefined) return false;
    // Who rests has received more than is looked at.
    return this.#isHandling || this.#isInHand || this.#isResting;
  }

  #finish(): void {
    if (this.#isBusy) return;
    this.#isFinishing = false;
    this.#finishWaiters!.serveAll();
  }

  /** Waits until the transport has ended. */
  ended(): Promise<CloseInfo> {
    return this.#isEnded
      ? Promise.resolve(infoOf(this.#closed!))
      : (this.#endWaiters ??= new Waiters()).wait();
  }

  /** What is wrong with how the connection was closed, if anything is. */
  closedError(): ConnectionClosedError | undefined {
    const closed = this.#closed!;
    const isGood = closed.wasClean &&
      (this.#isClosedHere || isGoodbye(closed.code));
    return isGood ? undefined : new ConnectionClosedError(closed);
  }

  /** Begins to wait for the peer's Close frame, but not for ever. */
  expectClose(): void {
    this.#isClosedHere = true;
    this.#isFinishing = false;
    this.#expectEnd();
    // A failure that this side has found by itself is an event too.
    if (this.#protocol.state === "failed") this.#parse();
    this.scheduleFlush();
    // What is in the way of the peer's Close frame is dropped.
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

  /** No message comes any more; the transport is brought to its end. */
  #close(closed: Closed): void {
    this.#closed = closed;
    if (this.#isFinishing) this.#finish();
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
    // To close at once could cost a peer that still sends what it has not read.
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
    this.#protocol.dropOutput();
    this.#writing = undefined;
    const info = infoOf(this.#closed!);
    this.#turnSendersAway();
    this.#endWaiters?.serveAll(info);
  }
}

/** Browsers close with no code at all unless they are given one. */
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
