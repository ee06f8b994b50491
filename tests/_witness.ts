/**
 * A well-behaved client in a thread of its own: it talks to an echo without a
 * pause, and tells how long each answer took.
 */
import { connect } from "../connect.ts";

/** The pause between two messages, in milliseconds. */
const PAUSE = 20;

/** How often it measures the lateness of its timers, in milliseconds. */
const TICK = 20;

/** The options of a witness. */
export interface Task {
  url: string;
  /** How long each message is, in bytes at least. */
  length: number;
  /** Whether it asks for compression, and insists on it. */
  compress: boolean;
  /** Whom it trusts besides, in PEM format. */
  caCerts?: readonly string[];
}

/** What a witness reports. */
export type Testimony =
  /**
   * It got its answer after so many milliseconds. Timers of its own, from just
   * before it asked, were so much too late in all: the machine has others to serve.
   */
  | { type: "answered"; took: number; late: number }
  | { type: "let down"; reason: string };

const scope = globalThis as unknown as {
  postMessage(testimony: Testimony): void;
  addEventListener(
    type: "message",
    listener: (event: MessageEvent<Task>) => void,
  ): void;
};

/** Text that hardly gets smaller, so that it is a large message on the wire, too. */
function noise(length: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(65536));
  const part = bytes.toBase64();
  return part.repeat(Math.ceil(length / part.length)).slice(0, length);
}

/**
 * Measures how late the timers of this thread are, which has nothing else to
 * do.
 */
class Clock {
  #late = 0;
  #due = 0;

  start(): void {
    this.#due = performance.now() + TICK;
    setTimeout(() => {
      this.#late += this.#overdue();
      this.start();
    }, TICK);
  }

  #overdue(): number {
    return Math.max(0, performance.now() - this.#due);
  }

  /** By how much they were late in all since it was asked last, in milliseconds. */
  lateness(): number {
    const overdue = this.#overdue();
    const late = this.#late + overdue;
    this.#late = 0;
    this.#due += overdue;
    return late;
  }
}

scope.addEventListener("message", async ({ data }) => {
  const { url, length, compress, caCerts = [] } = data;
  try {
    const extensions = compress
      ? [(await import("../deflate.ts")).permessageDeflate()]
      : [];
    await using ws = await connect(url, { extensions, caCerts });
    if (compress !== (ws.extension !== undefined)) {
      throw new Error(`compression is ${ws.extension?.name}`);
    }
    const filler = noise(length);
    const clock = new Clock();
    clock.start();
    for (let i = 0;; i++) {
      const question = `witness ${i} ${filler}`;
      const began = performance.now();
      await ws.send(question);
      const answer = await ws.receive();
      if (answer !== question) {
        throw new Error(`got [${String(answer).slice(0, 40)}]`);
      }
      const took = performance.now() - began;
      scope.postMessage({ type: "answered", took, late: clock.lateness() });
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  } catch (error) {
    scope.postMessage({ type: "let down", reason: String(error) });
  }
});
