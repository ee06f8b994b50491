/**
 * A well-behaved client in a thread of its own: it talks to an echo without a
 * pause, and tells when it asks, and how long each answer took.
 */
import { connect } from "../connect.ts";

/** Between two questions, in milliseconds. */
const PAUSE = 20;

/** What a witness is told: whom to talk to, and how much. */
export interface Task {
  url: string;
  /** How long each message is, in bytes at least. */
  length: number;
}

/** What a witness tells. */
export type Testimony =
  /** It asks, at that time of the system's clock. */
  | { type: "asks"; at: number }
  /**
   * It got its answer after so many milliseconds. Before it asked, it was to be
   * woken up, and that came so much too late: the machine has others to serve.
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

scope.addEventListener("message", async ({ data: { url, length } }) => {
  try {
    await using ws = await connect(url);
    const filler = "x".repeat(length);
    let late = 0;
    for (let i = 0;; i++) {
      const question = `witness ${i} ${filler}`;
      const began = performance.now();
      scope.postMessage({ type: "asks", at: performance.timeOrigin + began });
      await ws.send(question);
      const answer = await ws.receive();
      if (answer !== question) {
        throw new Error(`got [${String(answer).slice(0, 40)}]`);
      }
      const answered = performance.now();
      scope.postMessage({ type: "answered", took: answered - began, late });
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      late = performance.now() - answered - PAUSE;
    }
  } catch (error) {
    scope.postMessage({ type: "let down", reason: String(error) });
  }
});
