/** A hub and real connections, some of which do not read. */
import { assert, assertEquals } from "@std/assert";
import { permessageDeflate } from "../deflate.ts";
import {
  connect,
  type ConnectOptions,
  Hub,
  type HubOptions,
  type WebSocketConnection,
} from "../mod.ts";
import { TestServer, within } from "./_server.ts";

/** A server whose connections all subscribe to one topic. */
class Stage implements AsyncDisposable {
  readonly hub: Hub;
  readonly server: TestServer;
  readonly #clients: WebSocketConnection[] = [];

  constructor(options: HubOptions = {}) {
    this.hub = new Hub(options);
    this.server = new TestServer({
      extensions: [
        permessageDeflate({ threshold: 0, serverNoContextTakeover: true }),
      ],
      closeTimeout: 500,
      onConnection: async (ws) => {
        this.hub.subscribe("news", ws);
        ws.send("subscribed");
        await ws.forEach(() => {});
      },
    });
  }

  async join(options: ConnectOptions = {}): Promise<WebSocketConnection> {
    const ws = await within(connect(this.server.url, options));
    this.#clients.push(ws);
    assertEquals(await within(ws.receive()), "subscribed");
    return ws;
  }

  /** A client that does not read, so that the system's buffers fill up. */
  joinStuck(): Promise<WebSocketConnection> {
    return this.join({ maxReadAhead: 1, maxReadAheadMessages: 1 });
  }

  /** The server's side of that client. */
  at(index: number): WebSocketConnection {
    const all = Array.from(this.hub.subscribers("news"));
    return all[index] as WebSocketConnection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const ws of this.#clients) ws.terminate();
    await this.hub.close();
    await this.server[Symbol.asyncDispose]();
  }
}

Deno.test("all who subscribe receive, compressed or not, until they leave", async () => {
  await using stage = new Stage();
  const plain = await stage.join();
  const deflating = await stage.join({ extensions: [permessageDeflate()] });
  const text = "Hello ".repeat(100);
  assertEquals(stage.hub.publish("news", text).sent, 2);
  for (const ws of [plain, deflating]) {
    assertEquals(await within(ws.receive()), text);
  }
  const { closed } = stage.at(0);
  await within(plain.close());
  await within(closed);
  await Promise.resolve();
  assertEquals(stage.hub.subscriberCount("news"), 1);
  stage.hub.publish("news", "still here");
  assertEquals(await within(deflating.receive()), "still here");
});

const BLOCK = "x".repeat(16 * 1024);

/**
 * Publishes until a message is not sent to all at once, and the swift client
 * has received all of them.
 *
 * @returns How many messages the stuck client was sent before that.
 */
async function fillUp(
  stage: Stage,
  swift: WebSocketConnection,
): Promise<number> {
  for (let i = 0; i < 10_000; i++) {
    const { sent } = stage.hub.publish("news", `${i} ${BLOCK}`);
    const message = await within(swift.receive());
    assert(String(message).startsWith(`${i} `), "the swift one missed one");
    if (sent < 2) return i;
  }
  throw new Error("The stuck one takes everything");
}

Deno.test("a stuck tab slows nobody, and its memory is bounded", async () => {
  const slowThreshold = 128 * 1024;
  await using stage = new Stage({ slowThreshold });
  await stage.joinStuck();
  const swift = await stage.join();
  const stuck = stage.at(0);
  await fillUp(stage, swift);
  for (let i = 0; i < 500; i++) {
    const { sent, dropped } = stage.hub.publish("news", `${i} ${BLOCK}`);
    assertEquals([sent, dropped], [1, 1]);
    assert(String(await within(swift.receive())).startsWith(`${i} `));
    assert(stuck.bufferedAmount <= slowThreshold + BLOCK.length + 64);
  }
});

Deno.test("a stuck tab can be closed with 1013, and is forgotten at once", async () => {
  await using stage = new Stage({ slowPolicy: "close" });
  await stage.joinStuck();
  const swift = await stage.join();
  const stuck = stage.at(0);
  await fillUp(stage, swift);
  assertEquals([stage.hub.subscriberCount("news"), stuck.isOpen], [1, false]);
  // It never reads its Close frame.
  await within(stuck.closed);
});

Deno.test("a tab that wakes up reads the close code, and why", async () => {
  await using stage = new Stage({ slowPolicy: "close" });
  const client = await stage.joinStuck();
  const swift = await stage.join();
  await fillUp(stage, swift);
  const reading = client.forEach(() => {}).catch(() => {});
  const { code, reason } = await within(client.closed);
  await reading;
  assertEquals([code, reason.startsWith("Too slow")], [1013, true]);
});

Deno.test("a tab that wakes up gets the newest of what is conflated", async () => {
  await using stage = new Stage({
    slowPolicy: "conflate",
    conflationInterval: 5,
  });
  const client = await stage.joinStuck();
  const swift = await stage.join();
  const sent = await fillUp(stage, swift);
  for (const price of [1, 2, 3]) {
    stage.hub.publish("news", `TEA ${price}`, { key: "TEA" });
    stage.hub.publish("news", `MILK ${price}`, { key: "MILK" });
  }
  const messages: string[] = [];
  while (messages.at(-1) !== "MILK 3") {
    messages.push(String(await within(client.receive())).slice(0, 20));
  }
  assertEquals(messages.slice(-2), ["TEA 3", "MILK 3"]);
  // All that was sent, the newest of the rest, and the two prices.
  assertEquals(messages.length, sent + 3);
});
