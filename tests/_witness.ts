/**
 * A well-behaved client in a thread of its own: it talks to an echo without a
 * pause, and tells how long each answer took.
 */
import { connect } from "../connect.ts";

const scope = globalThis as unknown as {
  postMessage(message: number | string): void;
  addEventListener(
    type: "message",
    listener: (event: MessageEvent<string>) => void,
  ): void;
};

scope.addEventListener("message", async ({ data: url }) => {
  try {
    await using ws = await connect(url);
    scope.postMessage("open");
    for (let i = 0;; i++) {
      const began = performance.now();
      await ws.send(`witness ${i}`);
      const answer = await ws.receive();
      if (answer !== `witness ${i}`) throw new Error(`got [${answer}]`);
      scope.postMessage(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  } catch (error) {
    scope.postMessage(`The witness was let down: ${error}`);
  }
});
