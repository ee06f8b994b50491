/**
 * A connection on a stream in memory, and at its other end a peer that speaks
 * in frames, well-formed or not.
 */
import { assert, assertEquals } from "@std/assert";
import {
  type Message,
  WebSocketConnection,
  type WebSocketConnectionOptions,
} from "../connection.ts";
import { decodeFrame, type FrameInit, type Role } from "../frame.ts";
import type { CloseInfo } from "../protocol.ts";
import type { ByteDuplex } from "../connection.ts";
import { concat } from "./_bytes.ts";
import {
  duplexPair,
  type DuplexPairOptions,
  type MemoryDuplex,
} from "./_duplex_pair.ts";
import { type Sent, sent, wire } from "./_protocol.ts";

/** A test that fails if it takes too long. */
export function bounded(
  test: () => Promise<void>,
  milliseconds = 10_000,
): () => Promise<void> {
  return async () => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`The test took more than ${milliseconds} ms`)),
        milliseconds,
      );
    });
    try {
      await Promise.race([test(), late]);
    } finally {
      clearTimeout(timer);
    }
  };
}

const realSetTimeout = setTimeout;

/** Waits until nothing more happens without time passing, or outside events. */
export function quiet(): Promise<void> {
  return new Promise((resolve) => {
    realSetTimeout(() => resolve(), 0);
  });
}

/** Whether a promise is still pending after {@linkcode quiet}. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let pending = true;
  const settle = () => {
    pending = false;
  };
  promise.then(settle, settle);
  await quiet();
  return pending;
}

/** What a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("It did not reject");
}

/** A peer that speaks in frames. */
export class Peer {
  readonly role: Role;
  readonly duplex: ByteDuplex;
  #received: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #isEnded = false;

  /** @param role The role of the connection at the other end. */
  constructor(duplex: ByteDuplex, role: Role) {
    this.duplex = duplex;
    this.role = role;
  }

  /** Sends frames, or bytes as they are, in one write if possible. */
  async send(...frames: (FrameInit | Uint8Array)[]): Promise<void> {
    let rest: Uint8Array = wire(this.role, ...frames);
    while (rest.length > 0) {
      rest = rest.subarray(await this.duplex.write(rest));
    }
  }

  /** Reads some bytes; `false` at the end. */
  async readSome(): Promise<boolean> {
    const into = new Uint8Array(65536);
    const length = await this.duplex.read(into);
    if (length === null) {
      this.#isEnded = true;
      return false;
    }
    this.#received = concat(this.#received, into.subarray(0, length));
    return true;
  }

  /** The next frame, which must be masked by role; `null` at the end. */
  async next(): Promise<Sent | null> {
    for (;;) {
      const decoded = decodeFrame(this.#received);
      if (decoded !== undefined) {
        this.#received = this.#received.slice(decoded.byteLength);
        const { maskingKey, ...frame } = decoded.frame;
        assertEquals(maskingKey !== undefined, this.role === "client");
        return frame;
      }
      if (this.#isEnded || !(await this.readSome())) {
        assertEquals(this.#received.length, 0, "the last frame is cut off");
        return null;
      }
    }
  }

  /** Asserts what the next frames are. */
  async expect(...frames: FrameInit[]): Promise<void> {
    for (const frame of frames) assertEquals(await this.next(), sent(frame));
  }

  /** Asserts that nothing but the end follows. */
  async expectEnd(): Promise<void> {
    assertEquals(await this.next(), null);
  }

  /** All frames up to the end. */
  async rest(): Promise<Sent[]> {
    const frames: Sent[] = [];
    for (let frame; (frame = await this.next()) !== null;) frames.push(frame);
    return frames;
  }
}

/** A connection and its other end. */
export interface Opened {
  ws: WebSocketConnection;
  peer: Peer;
  /** The end of the stream that the connection has. */
  near: MemoryDuplex;
  /** The end of the stream that the peer has. */
  far: MemoryDuplex;
}

/** A connection without heartbeat, unless it is given, on a stream in memory. */
export function open(
  options: Partial<WebSocketConnectionOptions> & DuplexPairOptions = {},
): Opened {
  const { capacity, segment, halfClose, ...rest } = options;
  const [near, far] = duplexPair({
    ...(capacity === undefined ? undefined : { capacity }),
    ...(segment === undefined ? undefined : { segment }),
    ...(halfClose === undefined ? undefined : { halfClose }),
  });
  const role = options.role ?? "server";
  const ws = new WebSocketConnection(near, {
    role,
    heartbeatInterval: 0,
    ...rest,
  });
  return { ws, peer: new Peer(far, role), near, far };
}

/** Two connections that talk to each other. */
export function openBoth(
  options: Partial<WebSocketConnectionOptions> & DuplexPairOptions = {},
): { server: WebSocketConnection; client: WebSocketConnection } {
  const [near, far] = duplexPair(options);
  const settings = { heartbeatInterval: 0, ...options };
  return {
    server: new WebSocketConnection(near, { ...settings, role: "server" }),
    client: new WebSocketConnection(far, { ...settings, role: "client" }),
  };
}

/** All messages up to the end of the connection. */
export async function collect(ws: WebSocketConnection): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const message of ws) messages.push(message);
  return messages;
}

/** How a connection ended, without the error. */
export function ending({ error: _, ...info }: CloseInfo): CloseInfo {
  return info;
}

/** Runs `act` and asserts that no rejection goes unhandled. */
export async function withoutUnhandled(
  act: () => Promise<void>,
): Promise<void> {
  const reasons: unknown[] = [];
  const onUnhandled = (event: Event) => {
    event.preventDefault();
    reasons.push((event as PromiseRejectionEvent).reason);
  };
  addEventListener("unhandledrejection", onUnhandled);
  try {
    await act();
    await quiet();
    await quiet();
  } finally {
    removeEventListener("unhandledrejection", onUnhandled);
  }
  assertEquals(reasons, []);
}

/** Runs `act`, and returns what microtasks have thrown meanwhile. */
export async function uncaught(act: () => Promise<void>): Promise<unknown[]> {
  const errors: unknown[] = [];
  const real = globalThis.queueMicrotask;
  globalThis.queueMicrotask = (callback) =>
    real(() => {
      try {
        callback();
      } catch (error) {
        errors.push(error);
      }
    });
  try {
    await act();
    await quiet();
  } finally {
    globalThis.queueMicrotask = real;
  }
  return errors;
}

/** A clock that is under the test's control. */
export interface Clock {
  /** Lets time pass; timers that become due fire, in order. */
  advance(milliseconds: number): Promise<void>;
  /** Lets time pass while no timer can fire, as when a program computes. */
  block(milliseconds: number): void;
  /** How many timers run. */
  readonly timers: number;
}

/** Runs `act` with timers and `performance.now()` under its control. */
export async function withClock(
  act: (clock: Clock) => Promise<void>,
): Promise<void> {
  const real = {
    setTimeout: globalThis.setTimeout,
    clearTimeout: globalThis.clearTimeout,
    now: performance.now,
  };
  let now = real.now.call(performance);
  let count = 0;
  const timers = new Map<number, { due: number; fire(): void }>();
  const fake = {
    setTimeout(
      callback: (...values: unknown[]) => void,
      delay = 0,
      ...values: unknown[]
    ): number {
      timers.set(++count, {
        // As real timers do: a delay of more than 24 days becomes 1 ms.
        due: now + (delay >= 1 && delay < 2 ** 31 ? delay : 1),
        fire: () => callback(...values),
      });
      return count;
    },
    clearTimeout(timer: number | undefined): void {
      if (timer !== undefined) timers.delete(timer);
    },
  };
  const clock: Clock = {
    async advance(milliseconds) {
      const end = now + milliseconds;
      await quiet();
      for (;;) {
        const [first] = Array.from(timers)
          .filter(([, { due }]) => due <= end)
          .sort(([, a], [, b]) => a.due - b.due);
        if (first === undefined) break;
        timers.delete(first[0]);
        now = Math.max(now, first[1].due);
        first[1].fire();
        await quiet();
      }
      now = end;
    },
    block(milliseconds) {
      now += milliseconds;
    },
    get timers() {
      return timers.size;
    },
  };
  Object.assign(globalThis, fake);
  performance.now = () => now;
  try {
    await act(clock);
    assertEquals(timers.size, 0, "timers were left running");
  } finally {
    Object.assign(globalThis, {
      setTimeout: real.setTimeout,
      clearTimeout: real.clearTimeout,
    });
    performance.now = real.now;
  }
  assert(globalThis.setTimeout === real.setTimeout);
}
