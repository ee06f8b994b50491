/** Viewers of danmaku, without a browser. */
import {
  connect,
  type ConnectOptions,
  type WebSocketConnection,
} from "../mod.ts";
import type { Comment, Update, Welcome } from "../examples/danmaku/comment.ts";
import { within } from "./_server.ts";

/** One viewer of a room. */
export class Viewer implements AsyncDisposable {
  readonly ws: WebSocketConnection;
  readonly welcome: Welcome;
  readonly updates: Update[] = [];
  readonly ended: Promise<unknown>;
  #onUpdate = () => {};

  private constructor(ws: WebSocketConnection, welcome: Welcome) {
    this.ws = ws;
    this.welcome = welcome;
    this.ended = this.#watch().catch((error) => error);
  }

  /** Enters a room of the server at a `ws:` address. */
  static async enter(
    url: string,
    room = "lobby",
    options: ConnectOptions = {},
  ): Promise<Viewer> {
    const address = new URL(`rooms/${encodeURIComponent(room)}`, url);
    const ws = await within(connect(address, options));
    const welcome = await within(ws.receive());
    return new Viewer(ws, JSON.parse(String(welcome)));
  }

  async #watch(): Promise<void> {
    for await (const message of this.ws) {
      this.updates.push(JSON.parse(String(message)));
      this.#onUpdate();
    }
  }

  /** Sends a comment, or any other data. */
  say(text: string, more: Partial<Comment> = {}): void {
    this.ws.send(JSON.stringify({ name: "Test", color: 0, ...more, text }));
  }

  /** The comments since it came, its own included. */
  get comments(): Comment[] {
    return this.updates.flatMap((update) =>
      update.type === "comments" ? update.comments : []
    );
  }

  get texts(): string[] {
    return this.comments.map(({ text }) => text);
  }

  /** Waits for an update after which the condition holds. */
  async until(holds: () => boolean): Promise<void> {
    if (holds()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#onUpdate;
    this.#onUpdate = () => {
      before();
      if (holds()) resolve();
    };
    await within(promise, 15_000);
    this.#onUpdate = before;
  }

  /** Waits until it has heard a text. */
  async hears(text: string): Promise<void> {
    await this.until(() => this.texts.includes(text));
  }

  /** The number of viewers that it was told last. */
  get viewers(): number {
    for (const update of this.updates.toReversed()) {
      if (update.type === "viewers") return update.viewers;
    }
    return this.welcome.viewers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await within(this.ws.close());
    await this.ended;
  }
}
