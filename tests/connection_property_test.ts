/**
 * Two connections with random operations: nothing is lost, and nothing hangs.
 */
import { assert, assertEquals } from "@std/assert";
import {
  ConnectionClosedError,
  type Message,
  WebSocketConnection,
} from "../connection.ts";
import type { CloseInfo } from "../protocol.ts";
import { concat, utf8 } from "./_bytes.ts";
import { bounded, quiet, withoutUnhandled } from "./_connection.ts";
import { duplexPair } from "./_duplex_pair.ts";
import { fc, property } from "./_property.ts";

type Step =
  | { do: "send"; length: number; awaited: boolean }
  | { do: "stream"; parts: number; awaited: boolean }
  | { do: "ping" | "receive" | "cancelled receive" | "stream in" | "iterate" }
  | { do: "microtasks" | "pause"; count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant("send" as const),
    length: fc.oneof(fc.nat(20), fc.nat(3000), fc.constant(140_000)),
    awaited: fc.boolean(),
  }),
  fc.record({
    do: fc.constant("stream" as const),
    parts: fc.nat(4),
    awaited: fc.boolean(),
  }),
  fc.constantFrom<Step>(
    { do: "ping" },
    { do: "receive" },
    { do: "receive" },
    { do: "cancelled receive" },
    { do: "stream in" },
    { do: "iterate" },
  ),
  fc.record({
    do: fc.constantFrom("microtasks" as const, "pause" as const),
    count: fc.nat(12),
  }),
);

/** Waits, but not for ever: the other side may be waiting for this one. */
async function aWhile(promise: Promise<unknown>): Promise<void> {
  let isSettled = false;
  const settle = () => void (isSettled = true);
  promise.then(settle, settle);
  for (let i = 0; i < 5 && !isSettled; i++) await quiet();
}

/** One side: what it does, what it has sent and what it has received. */
class Side {
  readonly ws: WebSocketConnection;
  readonly sent: string[] = [];
  readonly received: string[] = [];
  #next = 0;

  constructor(ws: WebSocketConnection) {
    this.ws = ws;
  }

  /** A message that says which one it is. */
  #message(length: number): Uint8Array {
    const text = `${this.#next++}:`;
    this.sent.push(text);
    const message = new Uint8Array(Math.max(length, text.length)).fill(0x2e);
    message.set(utf8(text));
    return message;
  }

  #take(message: Message | undefined): void {
    if (message === undefined) return;
    const text = typeof message === "string"
      ? message
      : new TextDecoder().decode(message.subarray(0, 20));
    this.received.push(text.slice(0, text.indexOf(":") + 1));
  }

  async run(steps: Step[]): Promise<void> {
    try {
      for (const it of steps) await this.#do(it);
    } catch (error) {
      if (!(error instanceof ConnectionClosedError)) throw error;
    }
  }

  async #do(step: Step): Promise<void> {
    const { ws } = this;
    switch (step.do) {
      case "send": {
        const sending = ws.send(this.#message(step.length));
        if (step.awaited) await aWhile(sending);
        return;
      }
      case "stream": {
        const message = this.#message(50);
        const size = Math.ceil(message.length / (step.parts + 1));
        const parts: Uint8Array[] = [];
        for (let at = 0; at < message.length; at += size) {
          parts.push(message.subarray(at, at + size));
        }
        const sending = ws.sendStream((async function* () {
          for (const part of parts) {
            yield part;
            await Promise.resolve();
          }
        })());
        if (step.awaited) await aWhile(sending);
        return;
      }
      case "ping":
        return void ws.ping();
      case "receive":
        return void ws.receive().then(
          (message) => this.#take(message),
          ignore,
        );
      case "cancelled receive": {
        const aborting = new AbortController();
        ws.receive({ signal: aborting.signal }).then(
          (message) => this.#take(message),
          ignore,
        );
        await Promise.resolve();
        return aborting.abort();
      }
      case "stream in":
        try {
          const aborting = new AbortController();
          const receiving = ws.receiveStream({ signal: aborting.signal });
          queueMicrotask(() => aborting.abort());
          const stream = await receiving;
          if (stream === undefined) return;
          const parts = await Array.fromAsync(stream.readable);
          // Its beginning says which one it is; there may be a part for each byte.
          this.#take(concat(...parts.slice(0, 20) as Uint8Array[]));
        } catch (error) {
          ignore(error);
        }
        return;
      case "iterate":
        for (let i = 0; i < 2; i++) {
          const aborting = new AbortController();
          queueMicrotask(() => aborting.abort());
          this.#take(
            await ws.receive({ signal: aborting.signal }).catch((error) =>
              ignore(error)
            ) ?? undefined,
          );
        }
        return;
      case "microtasks":
        for (let i = 0; i < step.count; i++) await Promise.resolve();
        return;
      case "pause":
        for (let i = 0; i < step.count; i++) await quiet();
    }
  }

  /** Receives all that is left. */
  async drain(): Promise<void> {
    try {
      for await (const message of this.ws) this.#take(message);
    } catch (error) {
      ignore(error);
    }
  }
}

/**
 * Tolerates errors of calls that compete, or come while the connection closes.
 */
function ignore(error: unknown): undefined {
  if (error instanceof ConnectionClosedError) return;
  if (
    error instanceof DOMException &&
    (error.name === "AbortError" || error.name === "InvalidStateError")
  ) return;
  throw error;
}

function assertBegins(received: string[], sent: string[]): void {
  assertEquals(received, sent.slice(0, received.length));
}

const program = fc.record({
  left: fc.array(step, { maxLength: 25 }),
  right: fc.array(step, { maxLength: 25 }),
  capacity: fc.constantFrom(50, 500, 5000, 65536),
  segments: fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 4 }),
  maxReadAheadMessages: fc.integer({ min: 1, max: 4 }),
  highWaterMark: fc.constantFrom(0, 50, 131072),
});

function start(it: typeof program extends fc.Arbitrary<infer T> ? T : never) {
  let at = 0;
  const { segments, capacity, maxReadAheadMessages, highWaterMark } = it;
  const [near, far] = duplexPair({
    capacity,
    segment: (available) => segments[at++ % segments.length] ?? available,
  });
  const options = {
    heartbeatInterval: 0,
    maxReadAheadMessages,
    highWaterMark,
    maxReadAhead: 500,
  };
  const left = new WebSocketConnection(near, { ...options, role: "server" });
  const right = new WebSocketConnection(far, { ...options, role: "client" });
  return { near, left: new Side(left), right: new Side(right) };
}

property(
  "all that was sent before close() is received, by who goes on receiving",
  [program],
  (it) =>
    bounded(() =>
      withoutUnhandled(async () => {
        const { left, right } = start(it);
        await Promise.all([left.run(it.left), right.run(it.right)]);
        const draining = [left.drain(), right.drain()];
        // The last one also waits for messages in parts.
        await Promise.all([left.ws.send("end:"), right.ws.send("end:")]);
        left.sent.push("end:");
        right.sent.push("end:");
        while (right.received.at(-1) !== "end:") await quiet();
        while (left.received.at(-1) !== "end:") await quiet();
        const ends = await Promise.all([left.ws.close(), right.ws.closed]);
        await Promise.all(draining);
        assertEquals(ends.map(({ wasClean }) => wasClean), [true, true]);
        assertEquals(left.received, right.sent);
        assertEquals(right.received, left.sent);
      })
    )(),
  60,
);

property(
  "a connection that ends at any time ends, in order, whoever ends it",
  [
    program,
    fc.constantFrom("close", "terminate", "both close", "reset", "dispose"),
    fc.nat(60),
  ],
  (it, end, delay) =>
    bounded(() =>
      withoutUnhandled(async () => {
        const { left, right, near } = start(it);
        const running = [left.run(it.left), right.run(it.right)];
        for (let i = 0; i < delay; i++) await Promise.resolve();
        if (end === "terminate") left.ws.terminate();
        else if (end === "reset") near.reset();
        else if (end === "dispose") void left.ws[Symbol.asyncDispose]();
        else void left.ws.close();
        if (end === "both close") void right.ws.close();
        await Promise.all(running);
        await Promise.all([left.drain(), right.drain()]);
        const ends: CloseInfo[] = await Promise.all([
          left.ws.closed,
          right.ws.closed,
        ]);
        assertBegins(left.received, right.sent);
        assertBegins(right.received, left.sent);
        const isCut = end === "terminate" || end === "reset";
        for (const { wasClean } of ends) assert(isCut !== wasClean, end);
        assertEquals(left.ws.bufferedAmount + right.ws.bufferedAmount, 0);
      })
    )(),
  120,
);
