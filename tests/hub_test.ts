/** Topics, subscribers who can't keep up, and hubs joined by a backplane. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { NegotiatedExtension } from "../extension.ts";
import {
  type Backplane,
  type BackplaneMessage,
  type BackplaneSubscription,
  Hub,
  InProcessBackplane,
  type PublishOptions,
  type SlowPolicy,
  type Subscriber,
} from "../hub.ts";
import { PreparedMessage } from "../prepared.ts";
import { inEachForm, noData, pattern } from "./_bytes.ts";
import { fc, property } from "./_property.ts";

const decoder = new TextDecoder();

/** A subscriber that reads as much as the test decides. */
class Tab implements Subscriber {
  bufferedAmount = 0;
  isOpen = true;
  /** What has been sent to it, as text. */
  readonly received: string[] = [];
  readonly messages: PreparedMessage[] = [];
  closedWith: [code: number, reason: string] | undefined;
  readonly closed: Promise<void>;
  leave!: () => void;
  #expected = Infinity;
  #arrived = () => {};

  constructor() {
    this.closed = new Promise((resolve) => this.leave = resolve);
  }

  send(message: PreparedMessage): unknown {
    this.messages.push(message);
    this.received.push(decoder.decode(message.data));
    if (this.received.length >= this.#expected) this.#arrived();
    return undefined;
  }

  close(code: number, reason: string): void {
    this.closedWith = [code, reason];
  }

  /** Stops reading. */
  stick(): this {
    this.bufferedAmount = 1e9;
    return this;
  }

  /** Resolves when so many messages have been sent to it. */
  until(count: number): Promise<void> {
    this.#expected = count;
    if (this.received.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#arrived = resolve);
  }
}

/** What became of a message, apart from the backplane. */
function outcome(
  hub: Hub,
  topic: string,
  message: string,
  options?: PublishOptions,
): Record<string, number> {
  const { sent, dropped, conflated, closed } = hub.publish(
    topic,
    message,
    options,
  );
  const all = { sent, dropped, conflated, closed };
  return Object.fromEntries(Object.entries(all).filter(([, n]) => n > 0));
}

// --- Who is there ------------------------------------------------------------

Deno.test("subscribers get what is published to their topics, and nothing else", () => {
  const hub = new Hub();
  const [anna, ben] = [new Tab(), new Tab()];
  hub.subscribe("tea", anna);
  hub.subscribe("tea", ben);
  hub.subscribe("milk", ben);
  assertEquals(outcome(hub, "tea", "1"), { sent: 2 });
  assertEquals(outcome(hub, "milk", "2"), { sent: 1 });
  assertEquals(outcome(hub, "sugar", "3"), {});
  assertEquals(anna.received, ["1"]);
  assertEquals(ben.received, ["1", "2"]);
});

Deno.test("a subscriber that unsubscribes gets no more", () => {
  const hub = new Hub();
  const tab = new Tab();
  hub.subscribe("tea", tab);
  assertEquals(hub.unsubscribe("tea", tab), true);
  assertEquals(hub.unsubscribe("tea", tab), false);
  assertEquals(hub.unsubscribe("milk", tab), false);
  assertEquals(outcome(hub, "tea", "1"), {});
  assertEquals([hub.size, hub.subscriberCount("tea"), [...hub.topics()]], [
    0,
    0,
    [],
  ]);
});

Deno.test("counts and membership", () => {
  const hub = new Hub();
  const [anna, ben] = [new Tab(), new Tab()];
  hub.subscribe("tea", anna);
  hub.subscribe("tea", anna); // once is enough
  hub.subscribe("tea", ben);
  hub.subscribe("milk", ben);
  assertEquals(hub.size, 2);
  assertEquals([...hub.topics()], ["tea", "milk"]);
  assertEquals([
    hub.subscriberCount("tea"),
    hub.subscriberCount("milk"),
    hub.subscriberCount("x"),
  ], [
    2,
    1,
    0,
  ]);
  assertEquals(hub.has("milk", anna), false);
  assertEquals(hub.has("milk", ben), true);
  assert([...hub.subscribers("tea")][1] === ben);
  assertEquals([...hub.subscribers("x")], []);
  assertEquals([...hub.topics(ben)], ["tea", "milk"]);
  assertEquals([...hub.topics(new Tab())], []);
  assertEquals(hub.remove(ben), true);
  assertEquals(hub.remove(ben), false);
  assertEquals([hub.size, hub.subscriberCount("tea"), [...hub.topics()]], [
    1,
    1,
    ["tea"],
  ]);
});

Deno.test("a subscriber that is closed leaves all topics", async () => {
  const hub = new Hub();
  const tab = new Tab();
  hub.subscribe("tea", tab);
  hub.subscribe("milk", tab);
  tab.leave();
  await tab.closed;
  await Promise.resolve();
  assertEquals(hub.size, 0);
});

Deno.test("a closed subscriber that rejects leaves as well", async () => {
  const hub = new Hub();
  const closed = Promise.reject(new Error("lost"));
  hub.subscribe("tea", {
    bufferedAmount: 0,
    closed,
    send: () => {},
    close: () => {},
  });
  await closed.catch(() => {});
  await Promise.resolve();
  assertEquals(hub.size, 0);
});

Deno.test("the end of a subscriber that comes and goes is awaited once", async () => {
  const hub = new Hub();
  const tab = new Tab();
  const { closed } = tab;
  let waiting = 0;
  const then = closed.then.bind(closed);
  closed.then = (...handlers) => {
    waiting++;
    return then(...handlers);
  };
  for (let i = 0; i < 100; i++) {
    hub.subscribe("tea", tab);
    hub.unsubscribe("tea", tab);
  }
  assertEquals(waiting, 1);
  hub.subscribe("tea", tab);
  tab.leave();
  await then();
  await Promise.resolve();
  assertEquals(hub.size, 0);
  // A subscriber that is gone already leaves again at once.
  hub.subscribe("tea", tab);
  await then();
  await Promise.resolve();
  assertEquals(hub.size, 0);
});

Deno.test("the subscriber in `except` does not get the message", () => {
  const hub = new Hub();
  const [anna, ben] = [new Tab(), new Tab()];
  hub.subscribe("tea", anna);
  hub.subscribe("tea", ben);
  assertEquals(outcome(hub, "tea", "1", { except: anna }), { sent: 1 });
  assertEquals([anna.received, ben.received], [[], ["1"]]);
});

Deno.test("subscribers may join and leave while a message goes out", () => {
  const hub = new Hub();
  const tabs = [new Tab(), new Tab(), new Tab()] as const;
  for (const tab of tabs) hub.subscribe("tea", tab);
  const send = tabs[0].send.bind(tabs[0]);
  tabs[0].send = (message) => {
    hub.remove(tabs[0]);
    hub.remove(tabs[1]);
    return send(message);
  };
  assertEquals(outcome(hub, "tea", "1"), { sent: 2 });
  assertEquals(tabs.map((tab) => tab.received.length), [1, 0, 1]);
});

const step = fc.tuple(
  fc.constantFrom("subscribe", "unsubscribe", "remove", "publish"),
  fc.constantFrom("a", "b", "c"),
  fc.nat({ max: 3 }),
);

property(
  "hubs know who subscribes, whatever happened before",
  [fc.array(step, { maxLength: 40 })],
  (steps) => {
    const hub = new Hub();
    const tabs = Array.from({ length: 4 }, () => new Tab());
    const truth = new Set<string>();
    for (const [action, topic, who] of steps) {
      const tab = tabs[who]!;
      if (action === "subscribe") {
        hub.subscribe(topic, tab);
        truth.add(topic + who);
      } else if (action === "unsubscribe") {
        assertEquals(hub.unsubscribe(topic, tab), truth.delete(topic + who));
      } else if (action === "remove") {
        hub.remove(tab);
        for (const it of ["a", "b", "c"]) truth.delete(it + who);
      } else {
        const expected = [0, 1, 2, 3].filter((it) => truth.has(topic + it));
        assertEquals(hub.publish(topic, "x").sent, expected.length);
      }
    }
    for (const topic of ["a", "b", "c"]) {
      const expected = tabs.filter((_, who) => truth.has(topic + who));
      assertEquals(hub.subscriberCount(topic), expected.length);
      for (const tab of tabs) {
        assertEquals(hub.has(topic, tab), expected.includes(tab));
        assertEquals(
          [...hub.topics(tab)].includes(topic),
          expected.includes(tab),
        );
      }
    }
    assertEquals(
      hub.size,
      tabs.filter((tab) => [...hub.topics(tab)].length).length,
    );
  },
);

// --- Encoded once ------------------------------------------------------------

/** Counts how often it is asked to compress. */
class CountingExtension implements NegotiatedExtension {
  readonly name = "counting";
  readonly parameters = [];
  readonly reservedBits = 4;
  encoded = 0;
  constructor(readonly sharingKey: string | undefined) {}
  wants(): boolean {
    return true;
  }
  encode(data: Uint8Array): Uint8Array {
    this.encoded++;
    return data.toReversed();
  }
  decode(): void {}
}

Deno.test("publishing to 10,000 subscribers costs one encode", () => {
  const hub = new Hub();
  const extension = new CountingExtension("9 bits");
  const frames = new Set<Uint8Array>();
  const compressed = new Set<Uint8Array>();
  const messages = new Set<PreparedMessage>();
  for (let i = 0; i < 10_000; i++) {
    hub.subscribe("tea", {
      bufferedAmount: 0,
      send: (message) => {
        messages.add(message);
        frames.add(message.frame());
        compressed.add(message.frame(extension));
      },
      close: () => {},
    });
  }
  assertEquals(hub.publish("tea", "Hello").sent, 10_000);
  assertEquals([messages.size, frames.size, compressed.size], [1, 1, 1]);
  assertEquals(extension.encoded, 1);
});

Deno.test("a message without receivers is not encoded at all", () => {
  const hub = new Hub();
  const message = Object.defineProperty(new Uint8Array(0), "length", {
    get(): never {
      throw new Error("looked at");
    },
  });
  hub.publish("tea", message, { local: true });
});

Deno.test("text, binary and prepared messages go out as what they are", () => {
  const hub = new Hub();
  const tab = new Tab();
  hub.subscribe("tea", tab);
  const bytes = new Uint8Array([65]);
  const prepared = new PreparedMessage("D", { compress: false });
  hub.publish("tea", "A");
  hub.publish("tea", bytes);
  hub.publish("tea", bytes, { type: "text", compress: true });
  hub.publish("tea", prepared);
  assertEquals(
    tab.messages.map(({ type, compress }) => [type, compress]),
    [["text", undefined], ["binary", undefined], ["text", true], [
      "text",
      false,
    ]],
  );
  assert(tab.messages[3] === prepared);
});

// --- Those who are too slow --------------------------------------------------

Deno.test("a message is dropped for subscribers that are too slow, and for no others", () => {
  const hub = new Hub({ slowThreshold: 100 });
  const [stuck, swift] = [new Tab(), new Tab()];
  hub.subscribe("tea", stuck);
  hub.subscribe("tea", swift);
  stuck.bufferedAmount = 100;
  assertEquals(outcome(hub, "tea", "1"), { sent: 2 });
  stuck.bufferedAmount = 101;
  assertEquals(outcome(hub, "tea", "2"), { sent: 1, dropped: 1 });
  stuck.bufferedAmount = 0;
  assertEquals(outcome(hub, "tea", "3"), { sent: 2 });
  assertEquals(stuck.received, ["1", "3"]);
  assertEquals(swift.received, ["1", "2", "3"]);
});

Deno.test("a subscriber that is too slow is closed with 1013, and removed", () => {
  const hub = new Hub({ slowPolicy: "close" });
  const stuck = new Tab().stick();
  hub.subscribe("tea", stuck);
  hub.subscribe("milk", stuck);
  assertEquals(outcome(hub, "tea", "1"), { closed: 1 });
  assertEquals(stuck.closedWith?.[0], 1013);
  assertEquals([stuck.received, hub.size], [[], 0]);
});

Deno.test("a subscriber that fails to close is removed all the same", () => {
  const hub = new Hub({ slowPolicy: "close" });
  const stuck = new Tab().stick();
  stuck.close = () => {
    throw new Error("no");
  };
  hub.subscribe("tea", stuck);
  assertEquals(outcome(hub, "tea", "1"), { closed: 1 });
  assertEquals(hub.size, 0);
});

Deno.test("the newest of each key and topic is kept, in order", async () => {
  await using hub = new Hub({ slowPolicy: "conflate" });
  const tab = new Tab().stick();
  hub.subscribe("tea", tab);
  hub.subscribe("milk", tab);
  for (
    const [topic, message, key] of [
      ["tea", "a1", "a"],
      ["tea", "b1", "b"],
      ["milk", "a2", "a"],
      ["tea", "a3", "a"],
      ["milk", "1", undefined],
      ["milk", "2", undefined],
    ] as const
  ) {
    assertEquals(outcome(hub, topic, message, { key }), { conflated: 1 });
  }
  assertEquals(tab.received, []);
  tab.bufferedAmount = 0;
  await tab.until(4);
  assertEquals(tab.received, ["b1", "a2", "a3", "2"]);
});

Deno.test("what is kept comes before what is published after", async () => {
  await using hub = new Hub({ conflationInterval: 60_000 });
  const tab = new Tab().stick();
  hub.subscribe("tea", tab);
  assertEquals(outcome(hub, "tea", "1", { slowPolicy: "conflate" }), {
    conflated: 1,
  });
  tab.bufferedAmount = 0;
  assertEquals(outcome(hub, "tea", "2"), { sent: 1 });
  assertEquals(tab.received, ["1", "2"]);
});

Deno.test("nothing overtakes what is still kept", async () => {
  await using hub = new Hub({
    slowPolicy: "conflate",
    conflationInterval: 60_000,
  });
  const tab = new Tab().stick();
  tab.send = function (message) {
    this.bufferedAmount = 1e9; // one message is too much
    return Tab.prototype.send.call(this, message);
  };
  hub.subscribe("tea", tab);
  for (const key of ["a", "b"]) hub.publish("tea", key, { key });
  tab.bufferedAmount = 0;
  assertEquals(outcome(hub, "tea", "dropped", { slowPolicy: "drop" }), {
    dropped: 1,
  });
  assertEquals(tab.received, ["a"]);
  tab.bufferedAmount = 0;
  assertEquals(outcome(hub, "tea", "c", { key: "c" }), { conflated: 1 });
  assertEquals(tab.received, ["a", "b"]);
});

Deno.test("a subscriber that catches up leaves the others what is kept for them", async () => {
  await using hub = new Hub({
    slowPolicy: "conflate",
    conflationInterval: 1,
  });
  const swift = new Tab().stick();
  const slow = new Tab().stick();
  for (const tab of [swift, slow]) hub.subscribe("tea", tab);
  assertEquals(outcome(hub, "tea", "1"), { conflated: 2 });
  swift.bufferedAmount = 0;
  await swift.until(1);
  assertEquals([swift.received, slow.received], [["1"], []]);
  slow.bufferedAmount = 0;
  await slow.until(1);
  assertEquals(slow.received, ["1"]);
});

Deno.test("what is kept has a limit in bytes: the oldest is given up", async () => {
  await using hub = new Hub({
    slowPolicy: "conflate",
    slowThreshold: 2 * (40 + 64),
    conflationInterval: 1,
  });
  const tab = new Tab().stick();
  hub.subscribe("tea", tab);
  for (let i = 0; i < 50; i++) {
    hub.publish("tea", `${i}`.padEnd(40), { key: `${i}` });
  }
  const large = "x".repeat(1000);
  hub.publish("milk", large);
  tab.bufferedAmount = 0;
  await tab.until(2);
  assertEquals(tab.received.map((it) => it.trim()), ["48", "49"]);
  // One that is larger than all that may be kept is kept alone.
  tab.stick();
  hub.publish("tea", "small", { key: "s" });
  hub.publish("tea", large, { key: "l" });
  tab.bufferedAmount = 0;
  await tab.until(3);
  assertEquals(tab.received.slice(2), [large]);
});

Deno.test("what is kept has a limit, however short each of it is", async () => {
  await using hub = new Hub({
    slowPolicy: "conflate",
    slowThreshold: 1000,
    conflationInterval: 60_000,
  });
  const tab = new Tab().stick();
  hub.subscribe("tea", tab);
  for (let i = 0; i < 10_000; i++) hub.publish("tea", "", { key: `${i}` });
  tab.bufferedAmount = 0;
  hub.publish("tea", "last");
  assertEquals(tab.received, [...Array(15).fill(""), "last"]);
});

Deno.test("what is kept is given up with its topic", async () => {
  await using hub = new Hub({
    slowPolicy: "conflate",
    conflationInterval: 60_000,
  });
  const tab = new Tab().stick();
  hub.subscribe("tea", tab);
  hub.subscribe("milk", tab);
  hub.publish("tea", "tea");
  hub.publish("milk", "milk");
  hub.unsubscribe("tea", tab);
  tab.bufferedAmount = 0;
  hub.publish("milk", "more milk");
  assertEquals(tab.received, ["milk", "more milk"]);
  tab.stick();
  hub.publish("milk", "sour");
  hub.subscribe("tea", tab);
  hub.unsubscribe("milk", tab);
  hub.publish("tea", "late", { slowPolicy: "drop" });
  tab.bufferedAmount = 0;
  hub.publish("tea", "last");
  assertEquals(tab.received.at(-1), "last");
  assertEquals(tab.received.length, 3);
});

for (const leave of ["remove", "unsubscribe"] as const) {
  Deno.test(`a subscriber may ${leave} itself while it is sent what was kept`, () => {
    const hub = new Hub({ slowPolicy: "conflate", conflationInterval: 60_000 });
    const [tab, other] = [new Tab().stick(), new Tab()];
    hub.subscribe("tea", tab);
    hub.subscribe("tea", other);
    for (const key of ["1", "2"]) hub.publish("tea", key, { key });
    const send = tab.send.bind(tab);
    tab.send = (message) => {
      if (leave === "remove") hub.remove(tab);
      else hub.unsubscribe("tea", tab);
      return send(message);
    };
    tab.bufferedAmount = 0;
    assertEquals(outcome(hub, "tea", "3"), { sent: 1 });
    assertEquals(tab.received, ["1"]);
    assertEquals(other.received, ["1", "2", "3"]);
    assertEquals(Array.from(hub.subscribers("tea")), [other]);
  });
}

Deno.test("topics and keys are not taken for each other", async () => {
  await using hub = new Hub({ slowPolicy: "conflate" });
  const tab = new Tab().stick();
  for (const topic of ["a", "ab", ""]) hub.subscribe(topic, tab);
  hub.publish("a", "1", { key: "bc" });
  hub.publish("ab", "2", { key: "c" });
  hub.publish("", "3", { key: "abc" });
  hub.unsubscribe("a", tab);
  tab.bufferedAmount = 0;
  await tab.until(2);
  assertEquals(tab.received, ["2", "3"]);
});

Deno.test("a subscriber that is closing is sent nothing, and nothing is kept for it", async () => {
  await using hub = new Hub({ slowPolicy: "conflate" });
  const tab = new Tab().stick();
  hub.subscribe("tea", tab);
  hub.publish("tea", "1");
  tab.isOpen = false;
  assertEquals(outcome(hub, "tea", "2"), { dropped: 1 });
  tab.isOpen = true;
  tab.bufferedAmount = 0;
  assertEquals(outcome(hub, "tea", "3"), { sent: 1 });
  assertEquals(tab.received, ["3"]);
});

Deno.test("a subscriber that fails to send does not keep the message from others", async () => {
  const hub = new Hub();
  const tab = new Tab();
  const broken = {
    bufferedAmount: 0,
    send: () => {
      throw new Error("broken");
    },
    close: () => {},
  };
  const rejecting = {
    bufferedAmount: 0,
    send: () => Promise.reject(new Error("gone")),
    close: () => {},
  };
  for (const it of [broken, rejecting, tab]) hub.subscribe("tea", it);
  assertEquals(outcome(hub, "tea", "1"), { sent: 2, dropped: 1 });
  assertEquals(tab.received, ["1"]);
  await Promise.resolve(); // an unhandled rejection would end the program
});

// --- Backplanes --------------------------------------------------------------

/** Records what it is given. */
class Recorder implements Backplane {
  readonly log: string[] = [];
  readonly published: BackplaneMessage[] = [];
  readonly receivers = new Map<string, (message: BackplaneMessage) => void>();
  ready: Promise<void> | undefined;

  publish(topic: string, message: BackplaneMessage): void | Promise<void> {
    this.log.push(`publish ${topic}`);
    this.published.push(message);
  }

  subscribe(
    topic: string,
    receive: (message: BackplaneMessage) => void,
  ): BackplaneSubscription {
    this.log.push(`subscribe ${topic}`);
    this.receivers.set(topic, receive);
    const unsubscribe = () => {
      this.log.push(`unsubscribe ${topic}`);
    };
    return { ready: this.ready, unsubscribe };
  }

  close(): void {
    this.log.push("close");
  }
}

Deno.test("hubs on one backplane share what is published, once", () => {
  const backplane = new InProcessBackplane();
  const [here, there] = [new Hub({ backplane }), new Hub({ backplane })];
  const [anna, ben] = [new Tab(), new Tab()];
  here.subscribe("tea", anna);
  there.subscribe("tea", ben);
  assertEquals(outcome(here, "tea", "1"), { sent: 1 });
  assertEquals(outcome(there, "tea", "2"), { sent: 1 });
  assertEquals(outcome(there, "tea", "3", { local: true }), { sent: 1 });
  assertEquals(anna.received, ["1", "2"]);
  assertEquals(ben.received, ["1", "2", "3"]);
  there.remove(ben);
  here.publish("tea", "4");
  assertEquals(ben.received.length, 3);
});

Deno.test("a message crosses the backplane with all that it was published with", () => {
  const backplane = new Recorder();
  const hub = new Hub({ backplane });
  const options = {
    type: "text",
    compress: false,
    slowPolicy: "close",
    key: "k",
  } as const;
  hub.publish("tea", "1", options);
  hub.publish("tea", new PreparedMessage("2", { compress: true }));
  assertEquals(backplane.published[0], {
    publisher: hub.id,
    data: "1",
    ...options,
  });
  assertEquals(backplane.published[1]!.compress, true);
  const other = new Recorder();
  const there = new Hub({ backplane: other });
  const stuck = new Tab().stick();
  there.subscribe("tea", stuck);
  other.receivers.get("tea")!(backplane.published[0]!);
  assertEquals(stuck.closedWith?.[0], 1013);
});

Deno.test("a hub subscribes to a topic once, while it has subscribers", () => {
  const backplane = new Recorder();
  const hub = new Hub({ backplane });
  const [anna, ben] = [new Tab(), new Tab()];
  hub.subscribe("tea", anna);
  hub.subscribe("tea", ben);
  hub.remove(anna);
  hub.unsubscribe("tea", ben);
  hub.subscribe("tea", ben);
  assertEquals(backplane.log, [
    "subscribe tea",
    "unsubscribe tea",
    "subscribe tea",
  ]);
});

Deno.test("subscribe() tells when other hubs' messages arrive", async () => {
  const backplane = new Recorder();
  const hub = new Hub({ backplane });
  backplane.ready = Promise.reject(new Error("away"));
  const joined = hub.subscribe("tea", new Tab());
  await assertRejects(() => joined, Error, "away");
  hub.subscribe("milk", new Tab()); // nobody has to look
});

Deno.test("a backplane that fails does not keep a message from its own hub", async () => {
  const backplane = new Recorder();
  const hub = new Hub({ backplane });
  const tab = new Tab();
  hub.subscribe("tea", tab);
  backplane.publish = () => Promise.reject(new Error("away"));
  const first = hub.publish("tea", "1");
  backplane.publish = () => {
    throw new Error("broken");
  };
  const second = hub.publish("tea", "2");
  hub.publish("tea", "3");
  assertEquals(tab.received, ["1", "2", "3"]);
  await assertRejects(() => first.forwarded, Error, "away");
  await assertRejects(() => second.forwarded, Error, "broken");
});

Deno.test("a subscriber is not added if the backplane throws", () => {
  const backplane = new Recorder();
  const hub = new Hub({ backplane });
  const tab = new Tab();
  backplane.subscribe = () => {
    throw new Error("broken");
  };
  assertThrows(() => hub.subscribe("tea", tab), Error, "broken");
  assertEquals([hub.size, [...hub.topics()]], [0, []]);
});

Deno.test("a closed hub has closed its backplane, and does nothing more", async () => {
  const backplane = new Recorder();
  const hub = new Hub({ backplane, slowPolicy: "conflate" });
  const tab = new Tab().stick();
  hub.subscribe("tea", tab);
  hub.publish("tea", "1", { local: true });
  await hub.close();
  await hub.close();
  assertEquals(backplane.log, ["subscribe tea", "unsubscribe tea", "close"]);
  assertEquals([hub.size, tab.closedWith], [0, undefined]);
  backplane.receivers.get("tea")!({ publisher: "x", data: "2", type: "text" });
  assertThrows(() => hub.publish("tea", "3"), DOMException, "closed");
  assertThrows(() => hub.subscribe("tea", tab), DOMException, "closed");
});

Deno.test("to close a hub twice is to wait twice for its backplane", async () => {
  const backplane = new Recorder();
  const { promise, reject } = Promise.withResolvers<void>();
  const hub = new Hub({
    backplane: {
      publish: (topic, message) => backplane.publish(topic, message),
      subscribe: (topic, receive) => backplane.subscribe(topic, receive),
      close: () => promise,
    },
  });
  const closing = [hub.close(), hub.close(), hub[Symbol.asyncDispose]()];
  reject(new Error("The cable was pulled"));
  for (const closed of closing) {
    await assertRejects(() => closed, Error, "cable");
  }
});

Deno.test("bytes are bytes for this hub and for others, whatever form they are given in", () => {
  const backplane = new Recorder();
  const hub = new Hub({ backplane });
  const received: Uint8Array[] = [];
  hub.subscribe("tea", {
    bufferedAmount: 0,
    send: ({ data }) => received.push(data),
    close: () => {},
  });
  const expected = pattern(16);
  const forms = inEachForm(expected);
  for (const [, bytes] of forms) hub.publish("tea", bytes);
  assertEquals(received, forms.map(() => expected));
  assertEquals(
    backplane.published.map(({ data, type }) => ({ data, type })),
    forms.map(() => ({ data: expected, type: "binary" as const })),
  );
});

Deno.test("a message of another type is refused, and nobody gets it", () => {
  const backplane = new Recorder();
  const hub = new Hub({ backplane });
  for (const [name, wrong] of noData()) {
    assertThrows(
      () => hub.publish("tea", wrong as string),
      TypeError,
      `A message is a string, a PreparedMessage, an ArrayBuffer or a view on one (${name})`,
    );
  }
  assertEquals(backplane.published, []);
});

Deno.test("an unknown policy is refused", () => {
  const unknown = "wait" as SlowPolicy;
  assertThrows(() => new Hub({ slowPolicy: unknown }), TypeError, "(wait)");
  const backplane = new Recorder();
  const hub = new Hub({ backplane });
  const tab = new Tab();
  hub.subscribe("tea", tab);
  assertThrows(
    () => hub.publish("tea", "1", { slowPolicy: unknown }),
    TypeError,
    "(wait)",
  );
  assertEquals([tab.received, backplane.published], [[], []]);
});

Deno.test("a policy of another process that is unknown here is replaced by the hub's own", async () => {
  const backplane = new Recorder();
  await using hub = new Hub({ backplane, slowPolicy: "close" });
  const tab = new Tab().stick();
  hub.subscribe("tea", tab);
  backplane.receivers.get("tea")!({
    publisher: "x",
    data: "1",
    type: "text",
    slowPolicy: "wait" as SlowPolicy,
  });
  assertEquals(tab.closedWith?.[0], 1013);
});

Deno.test("an interval may be longer than timers are", () => {
  const delays: unknown[] = [];
  const realSetTimeout = globalThis.setTimeout;
  globalThis.setTimeout = ((_: unknown, delay: unknown) => {
    delays.push(delay);
    return 0;
  }) as unknown as typeof setTimeout;
  try {
    const hub = new Hub({
      slowPolicy: "conflate",
      conflationInterval: Infinity,
    });
    hub.subscribe("tea", new Tab().stick());
    assertEquals(hub.publish("tea", "1").conflated, 1);
  } finally {
    globalThis.setTimeout = realSetTimeout;
  }
  assertEquals(delays, [2 ** 31 - 1]);
});

Deno.test("limits have to be more than 0", () => {
  for (const bad of [0, -1, NaN]) {
    assertThrows(() => new Hub({ slowThreshold: bad }), RangeError, "0");
    assertThrows(() => new Hub({ conflationInterval: bad }), RangeError, "0");
  }
});
