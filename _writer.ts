/**
 * Writes what a protocol has queued, all of it at once, and tells senders when
 * they may go on.
 *
 * @module
 */

import type { CloseInfo, WebSocketProtocol } from "./protocol.ts";
import { ConnectionClosedError } from "./_connection_closed_error.ts";
import type { ByteDuplex } from "./_duplex.ts";
import { handled, Waiters } from "./_waiter.ts";

/** The owner of a {@linkcode Writer}. */
export interface WriterOwner {
  /** Called when a write is done: time for the next one. */
  flush(): void;
  /** Called when a write has failed; what was queued is dropped. */
  onWriteError(error: unknown): void;
  /** Ends the transport, since what is to be written has been tampered with. */
  end(error: unknown): void;
}

/** The direction of writing of one connection. */
export class Writer {
  readonly #duplex: ByteDuplex;
  readonly #protocol: WebSocketProtocol;
  readonly #highWaterMark: number;
  readonly #owner: WriterOwner;

  #pending: Uint8Array | undefined;
  #failure: CloseInfo | undefined;
  // Made on first use: most connections never need them.
  #drainWaiters: Waiters<void> | undefined;
  #writeWaiters: Waiters<void> | undefined;

  /** How many bytes have been written in all. */
  byteLength = 0;

  /**
   * @param duplex Where to write.
   * @param protocol The protocol whose output is written.
   * @param highWaterMark How many bytes may wait before senders have to.
   * @param owner Is told when something happens.
   */
  constructor(
    duplex: ByteDuplex,
    protocol: WebSocketProtocol,
    highWaterMark: number,
    owner: WriterOwner,
  ) {
    this.#duplex = duplex;
    this.#protocol = protocol;
    this.#highWaterMark = highWaterMark;
    this.#owner = owner;
  }

  /** Whether a write is pending. */
  get isWriting(): boolean {
    return this.#pending !== undefined;
  }

  /** How many bytes wait to be written. */
  get bufferedAmount(): number {
    return this.#protocol.outputLength + (this.#pending?.length ?? 0);
  }

  /**
   * Writes what is queued, unless a write is pending.
   *
   * @returns Whether there is nothing left to write.
   */
  flush(): boolean {
    if (this.#pending !== undefined) return false;
    const bytes = this.#protocol.takeOutput();
    if (bytes === undefined) return true;
    this.#write(bytes);
    return false;
  }

  #write(bytes: Uint8Array): void {
    this.#pending = bytes;
    try {
      this.#duplex.write(bytes).then(this.#onWritten, this.#onError);
    } catch (error) {
      this.#onError(error);
    }
  }

  readonly #onWritten = (length: number): void => {
    const bytes = this.#pending;
    if (bytes === undefined) return; // stop() was called
    this.byteLength += length;
    this.#writeWaiters?.serveAll();
    try {
      // subarray() throws if the program has transferred the bytes meanwhile.
      if (length !== bytes.length) {
        this.#write(bytes.subarray(length));
        return;
      }
      this.#pending = undefined;
      this.#protocol.releaseOutput();
      this.#owner.flush();
      if (this.bufferedAmount <= this.#highWaterMark) {
        this.#drainWaiters?.serveAll();
      }
    } catch (error) {
      this.#owner.end(error);
    }
  };

  readonly #onError = (error: unknown): void => {
    if (this.#pending === undefined) return; // stop() was called
    this.#pending = undefined;
    this.#protocol.dropOutput();
    this.#owner.onWriteError(error);
  };

  /**
   * Drops what is queued, and rejects all that wait for it.
   *
   * @param info How the connection has ended, or is going to.
   */
  stop(info: CloseInfo): void {
    this.#failure = info;
    this.#pending = undefined;
    this.#protocol.dropOutput();
    if (!this.#drainWaiters?.length && !this.#writeWaiters?.length) return;
    const error = new ConnectionClosedError(info);
    this.#drainWaiters?.rejectAll(error);
    this.#writeWaiters?.rejectAll(error);
  }

  /**
   * Waits until no more than the high water mark is left to write. Rejects if
   * the connection ends before.
   *
   * @param signal Cancels this wait alone.
   */
  drained(signal?: AbortSignal): Promise<void> {
    const waiters = this.#drainWaiters ??= new Waiters();
    return signal === undefined
      ? waiters.waitTogether()
      : handled(waiters.wait(signal));
  }

  /**
   * Waits until all is written that is queued now, so that a payload that was
   * not copied may change again. Rejects if the connection ends before.
   *
   * @param signal Cancels this wait alone.
   */
  written(signal?: AbortSignal): Promise<void> {
    const end = this.byteLength + this.bufferedAmount;
    return handled(this.#writtenUpTo(end, signal));
  }

  async #writtenUpTo(end: number, signal?: AbortSignal): Promise<void> {
    const waiters = this.#writeWaiters ??= new Waiters();
    while (this.byteLength < end) {
      // Writing may have ended while this waited.
      if (this.#failure !== undefined) {
        throw new ConnectionClosedError(this.#failure);
      }
      await waiters.wait(signal);
    }
  }
}
