/** The quotes without a browser. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { connect, type WebSocketConnection } from "../mod.ts";
import { permessageDeflate } from "../deflate.ts";
import {
  GOODS,
  HISTORY,
  Market,
  type Quote,
} from "../examples/quotes/market.ts";
import { Feed, Quotes, WINDOW } from "../examples/quotes/quotes.ts";
import { TestServer, upgrade, within } from "./_server.ts";
import { startTask } from "./_task.ts";

/** Pseudo-random numbers, always the same. */
function pseudoRandom(seed = 1): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function serveQuotes(): { server: TestServer; quotes: Quotes } {
  const quotes = new Quotes(() => new Response("A page"), {
    random: pseudoRandom(),
    rate: 20, // each of them, each time
  });
  quotes.market.open = () => {}; // the tests do it
  return { server: new TestServer(quotes.serveOptions), quotes };
}

// deno-lint-ignore no-explicit-any
type Told = Record<string, any>;

/** A page, and what it receives in order, without reports on its traffic. */
class Page implements AsyncDisposable {
  readonly ws: WebSocketConnection;
  /** How many messages it has processed. */
  read = 0;

  constructor(ws: WebSocketConnection) {
    this.ws = ws;
  }

  static async open(server: TestServer): Promise<Page> {
    const page = new Page(
      await connect(`${server.url}quotes`, {
        extensions: [permessageDeflate()],
      }),
    );
    assertEquals((await page.next()).type, "welcome");
    return page;
  }

  order(order: Record<string, unknown>): Promise<void> {
    return this.ws.send(JSON.stringify(order));
  }

  async next(): Promise<Told> {
    for (;;) {
      const message = JSON.parse(`${await within(this.ws.receive())}`);
      this.read++;
      if (message.type !== "cost") return message;
    }
  }

  /** What was sent before this, in order. */
  async upToNow(): Promise<Told[]> {
    await this.order({ do: "time" });
    const messages: Told[] = [];
    for (;;) {
      const message = await this.next();
      if (message.type === "time") return messages;
      messages.push(message);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ws.close();
  }
}

// --- The market ----------------------------------------------------------------

Deno.test("prices walk, and are numbered", () => {
  const quotes: Quote[] = [];
  const market = new Market((quote) => quotes.push(quote), {
    rate: 20,
    random: pseudoRandom(),
  });
  const before = market.snapshot("TEA")!;
  assertEquals(before.history.length, HISTORY);
  assertEquals(before.history.at(-1), before.price);
  for (let i = 0; i < 100; i++) market.tick();
  assertEquals(quotes.length, 100 * Object.keys(GOODS).length);
  const teas = quotes.filter(({ symbol }) => symbol === "TEA");
  assertEquals(teas.map(({ n }) => n), teas.map((_, i) => before.n + i + 1));
  for (const { price } of quotes) assert(Number.isInteger(price) && price > 0);
  const after = market.snapshot("TEA")!;
  assertEquals(after.history, teas.slice(-HISTORY).map(({ price }) => price));
  assertEquals([after.n, after.open], [teas.at(-1)!.n, before.open]);
  assertEquals(market.snapshot("GOLD"), undefined);
});

Deno.test("so many prices change a second", () => {
  let count = 0;
  const market = new Market(() => count++, { rate: 4, random: pseudoRandom() });
  for (let i = 0; i < 1000; i++) market.tick(); // 50 seconds
  const rate = count / 50 / Object.keys(GOODS).length;
  assert(rate > 3.5 && rate < 4.5, `${rate}`);
});

// --- The subscriptions -----------------------------------------------------------

Deno.test("a snapshot comes first, and then what changes, without a gap", async () => {
  const { server, quotes } = serveQuotes();
  await using _ = server;
  await using page = await Page.open(server);
  await page.order({ do: "subscribe", symbols: ["TEA", "INK"] });
  await page.order({ do: "subscribe", symbols: ["TEA"] }); // once is enough
  const [tea, ink, ...rest] = await page.upToNow();
  assertEquals(rest, []);
  assertEquals([tea!.symbol, tea!.name], ["TEA", "tea"]);
  assertEquals([ink!.symbol, ink!.history.length], ["INK", HISTORY]);
  for (let i = 1; i <= 3; i++) quotes.market.tick();
  const deltas = await page.upToNow();
  assertEquals(
    deltas.map(({ q, n }) => [q, n]),
    [1, 2, 3].flatMap((i) => [["INK", ink!.n + i], ["TEA", tea!.n + i]]),
  );
  assertEquals(deltas.at(-1)!.price, quotes.market.snapshot("TEA")!.price);

  await page.order({ do: "unsubscribe", symbols: ["INK", "JADE"] });
  assertEquals(await page.upToNow(), []);
  quotes.market.tick();
  assertEquals((await page.upToNow()).map(({ q }) => q), ["TEA"]);
});

Deno.test("a page that subscribes again and again has to wait", async () => {
  const { server } = serveQuotes();
  await using _ = server;
  await using page = await Page.open(server);
  await using other = await Page.open(server);
  const symbols = Object.keys(GOODS);
  const began = performance.now();
  for (let i = 0; i < 12; i++) {
    await page.order({ do: "subscribe", symbols });
    await page.order({ do: "unsubscribe", symbols });
  }
  await other.order({ do: "subscribe", symbols });
  assertEquals((await other.upToNow()).length, symbols.length);
  // 128 at once, and then 64 a second.
  assertEquals((await page.upToNow()).length, 12 * symbols.length);
  const took = performance.now() - began;
  assert(took > (12 * symbols.length - 128) / 64 * 1000 - 50, `${took} ms`);
});

Deno.test("two pages get what each of them wants", async () => {
  const { server, quotes } = serveQuotes();
  await using _ = server;
  await using one = await Page.open(server);
  await using two = await Page.open(server);
  await one.order({ do: "subscribe", symbols: ["TEA"] });
  await two.order({ do: "subscribe", symbols: ["RICE"] });
  await Promise.all([one.upToNow(), two.upToNow()]);
  quotes.market.tick();
  assertEquals((await one.upToNow()).map(({ q }) => q), ["TEA"]);
  assertEquals((await two.upToNow()).map(({ q }) => q), ["RICE"]);
});

Deno.test("a page that falls behind gets the newest of each, and no queue", async () => {
  const { server, quotes } = serveQuotes();
  await using _ = server;
  await using page = await Page.open(server);
  await page.order({ do: "subscribe", symbols: ["TEA", "INK"] });
  const snapshots = await page.upToNow();
  const [{ n: first }] = snapshots as [Told];
  // It does not say what it has processed.
  for (let i = 0; i < 500; i++) quotes.market.tick();
  const known = new Map<string, Told>();
  const messages = await page.upToNow();
  assert(messages.length <= WINDOW, `${messages.length} messages`);
  for (const message of messages) known.set(message.q, message);
  // Now it has. What it lacks, which may be one of the two, comes at once.
  await page.order({ do: "read", count: page.read });
  const isCurrent = (symbol: string) => known.get(symbol)?.n === first + 500;
  while (!isCurrent("INK") || !isCurrent("TEA")) {
    const message = await page.next();
    assertEquals(message.n, first + 500);
    known.set(message.q, message);
  }
  for (const { q, price } of known.values()) {
    assertEquals(price, quotes.market.snapshot(q)!.price);
  }
  // And then everything, as long as it keeps up.
  for (let i = 1; i <= 5; i++) {
    await page.order({ do: "read", count: page.read });
    await page.upToNow();
    quotes.market.tick();
    const numbers = (await page.upToNow()).map(({ n }) => n);
    assertEquals(numbers, [first + 500 + i, first + 500 + i]);
  }
});

Deno.test("a page that wants everything gets everything", async () => {
  const { server, quotes } = serveQuotes();
  await using _ = server;
  await using page = await Page.open(server);
  await page.order({ do: "conflate", on: false });
  await page.order({ do: "subscribe", symbols: ["TEA"] });
  await page.upToNow();
  for (let i = 0; i < 500; i++) quotes.market.tick();
  assertEquals((await page.upToNow()).length, 500);
});

Deno.test("a page cannot have read what it was not sent", async () => {
  const { server, quotes } = serveQuotes();
  await using _ = server;
  await using page = await Page.open(server);
  await page.order({ do: "subscribe", symbols: ["TEA"] });
  for (const count of [1e9, -1, 0.5]) await page.order({ do: "read", count });
  await page.upToNow();
  for (let i = 0; i < 500; i++) quotes.market.tick();
  assert((await page.upToNow()).length <= WINDOW);
});

Deno.test("what it costs is told, and little of it goes over the wire", async () => {
  const { server, quotes } = serveQuotes();
  await using _ = server;
  await using page = await Page.open(server);
  assertEquals(page.ws.extension?.name, "permessage-deflate");
  await page.order({ do: "conflate", on: false });
  await page.order({ do: "subscribe", symbols: Object.keys(GOODS) });
  await page.upToNow();
  for (let i = 0; i < 100; i++) quotes.market.tick();
  await page.upToNow();
  for (;;) {
    const { type, bytes, wire } = JSON.parse(
      `${await within(page.ws.receive())}`,
    );
    if (type !== "cost" || bytes < 50_000) continue;
    assert(wire > 1000 && wire < bytes / 2, `${wire} of ${bytes} bytes`);
    break;
  }
});

Deno.test("a page that is slow is told how slow", async () => {
  const { server, quotes } = serveQuotes();
  await using _ = server;
  await using page = await Page.open(server);
  await page.order({ do: "subscribe", symbols: Object.keys(GOODS) });
  await page.upToNow();
  await page.order({ do: "read", count: page.read });
  let read = page.read;
  const unread: number[] = [];
  while (unread.length < 4) {
    // It says what it has dealt with only now and then: when it is told this.
    await page.order({ do: "read", count: read });
    for (let cost: Told | undefined; cost === undefined;) {
      quotes.market.tick();
      const message = JSON.parse(`${await within(page.ws.receive())}`);
      read++;
      if (message.type === "cost") unread.push((cost = message).unread);
    }
  }
  // The first may be from before it was slow.
  const full = unread.filter((it) => it >= WINDOW && it <= WINDOW + 2);
  assert(full.length >= 2, `${unread} unread`);
});

Deno.test("a page is not told again what it has not read", () => {
  const told: Told[] = [];
  const feed = new Feed({
    isOpen: true,
    bufferedAmount: 0,
    closed: Promise.withResolvers().promise,
    send(message: string) {
      told.push(JSON.parse(message));
      return Promise.resolve();
    },
  } as unknown as WebSocketConnection);
  const tally = { requests: 1, up: 0, down: 7 };
  feed.tellCost(tally);
  feed.tellCost(tally);
  assertEquals(told, [{ type: "cost", bytes: 0, wire: 7, unread: 0 }]);
  feed.tell({ type: "time", now: 0 });
  feed.onRead(1);
  feed.tellCost(tally);
  assertEquals(told.length, 3);
  assertEquals(told.at(-1)!.unread, 1);
  // A page that wants everything gets these, too.
  feed.conflates = false;
  feed.tellCost(tally);
  assertEquals(told.at(-1)!.unread, 2);
});

Deno.test("what is no order ends the connection, other paths have none", async () => {
  const { server } = serveQuotes();
  await using _ = server;
  const orders = [
    ...["", "null", '{"do":"buy"}', '{"do":"read","count":"1"}'],
    ...['{"do":"subscribe"}', '{"do":"subscribe","symbols":["GOLD"]}'],
    '{"do":"unsubscribe","symbols":["constructor"]}',
    '{"do":"subscribe","symbols":[["TEA"]]}', // as a key it would be "TEA"
  ];
  for (const order of orders) {
    const page = await Page.open(server);
    await page.ws.send(order);
    const reading = page.ws.forEach(() => {}).catch(() => {});
    assertEquals((await within(page.ws.closed)).code, 1003, order);
    await reading;
  }
  for (const path of ["/", "/quotes/1", "/quotes?"]) {
    assertEquals((await server.ask(upgrade(path))).status, 404, path);
  }
});

Deno.test("the market is open while somebody looks", async () => {
  const { server, quotes } = serveQuotes();
  await using _ = server;
  const calls: string[] = [];
  const { market } = quotes;
  const closed = Promise.withResolvers<void>();
  market.open = () => calls.push("open");
  market.close = () => {
    calls.push("close");
    closed.resolve();
  };
  const one = await Page.open(server);
  const two = await Page.open(server);
  await one.ws.close();
  await two.upToNow();
  assertEquals(calls, ["open"]);
  await two.ws.close();
  await within(closed.promise);
  assertEquals(calls, ["open", "close"]);
});

Deno.test("quotes helps, and says what is wrong", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const outcome = async (...flags: string[]) => {
    await using program = await startTask("quotes", ...flags);
    return await program.ended();
  };
  const { code, stdout } = await outcome("--help");
  assertEquals(code, 0);
  assertMatch(stdout, /--rate N .*\n.*--help +print this\n$/);
  for (const flags of [["--wrong"], ["--rate", "0"], ["--port", `${port}`]]) {
    const { code, stdout, stderr } = await outcome(...flags);
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^error: [^\n]+\n$/);
  }
});
