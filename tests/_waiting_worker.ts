/**
 * A worker that waits for a deadline, or answers before it is due: for
 * edge_test.ts.
 */
import { Deadline } from "../_deadline.ts";

export default {
  async fetch(request: Request): Promise<Response> {
    const due = new Promise<void>((resolve) => {
      new Deadline(2000, { onDeadline: () => resolve() });
    });
    if (new URL(request.url).pathname === "/leave") return new Response("left");
    await due;
    return new Response("waited");
  },
};
