/**
 * Topics, and messages to all who subscribe to one: encoded once for all of
 * them, never held up by one that does not read, and carried to other processes
 * by a {@linkcode Backplane}. A hub does no I/O of its own: whatever can send a
 * prepared message subscribes.
 *
 * @example A room
 * ```ts
 * import {
 *   accept,
 *   connect,
 *   type WebSocketConnection,
 * } from "@sansio/websocket";
 * import { Hub } from "@sansio/websocket/hub";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const hub = new Hub();
 *
 * async function chat(ws: WebSocketConnection): Promise<void> {
 *   hub.subscribe("lobby", ws); // until it is closed
 *   for await (const message of ws) {
 *     hub.publish("lobby", message, { except: ws });
 *   }
 * }
 *
 * async function enter(): Promise<WebSocketConnection> {
 *   const [here, there] = duplexPair();
 *   const accepting = accept(here);
 *   const client = await connect("ws://test/", { dial: () => there });
 *   chat(await accepting);
 *   return client;
 * }
 *
 * const anna = await enter();
 * const bert = await enter();
 * await anna.send("Hello");
 * assertEquals(await bert.receive(), "Hello");
 * for (const client of [anna, bert]) await client.close();
 * ```
 *
 * @module
 */

import { CloseCode } from "./frame.ts";
import {
  type MessageData,
  type MessageOptions,
  PreparedMessage,
} from "./prepared.ts";
import {
  type Backplane,
  type BackplaneMessage,
  type BackplaneSubscription,
  InProcessBackplane,
  type SlowPolicy,
} from "./_backplane.ts";
import { bytesOf } from "./_bytes_of.ts";

export * from "./_backplane.ts";

/**
 * Who can subscribe: a `WebSocketConnection`, or anything that looks like one.
 *
 * @example A log of what is published
 * ```ts
 * import { Hub, type Subscriber } from "@sansio/websocket/hub";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * const log: Subscriber = {
 *   bufferedAmount: 0, // it is never too slow
 *   send: ({ data }) => lines.push(new TextDecoder().decode(data)),
 *   close: () => {},
 * };
 *
 * const hub = new Hub();
 * hub.subscribe("orders", log);
 * hub.publish("orders", "Two cups of tea");
 * assertEquals(lines, ["Two cups of tea"]);
 * ```
 */
export interface Subscriber {
  /**
   * How many bytes wait to be sent to it. By this a hub tells who is too slow.
   */
  readonly bufferedAmount: number;
  /**
   * Whether messages can be sent to it. While it is `false`, none are.
   *
   * @default {undefined} (they can)
   */
  readonly isOpen?: boolean | undefined;
  /**
   * Resolves when it is gone; it then leaves all its topics.
   *
   * @default {undefined} (somebody calls `Hub.remove()`)
   */
  readonly closed?: Promise<unknown> | undefined;
  /**
   * Takes a message at once, and sends it later. A hub waits for nobody.
   *
   * @param message What was published.
   * @returns Of no interest, and nor is that it fails.
   */
  send(message: PreparedMessage): unknown;
  /**
   * Ends it, with a close code and a reason (RFC 6455 §7.4).
   *
   * @param code 1013: try again later.
   * @param reason Why, for a log.
   * @returns Of no interest, and nor is that it fails.
   */
  close(code: number, reason: string): unknown;
}

/**
 * Options of {@linkcode Hub}.
 *
 * @example Prices, of which only the newest counts
 * ```ts
 * import { Hub, type HubOptions } from "@sansio/websocket/hub";
 * import { assertEquals } from "@std/assert";
 *
 * const options: HubOptions = {
 *   slowPolicy: "conflate",
 *   slowThreshold: 64 * 1024, // bytes
 *   conflationInterval: 100, // ms
 * };
 * await using hub = new Hub(options);
 *
 * const stuck = { bufferedAmount: 65_537, send: () => {}, close: () => {} };
 * hub.subscribe("tea", stuck);
 * assertEquals(hub.publish("tea", "12.50").conflated, 1);
 * ```
 */
export interface HubOptions {
  /**
   * Carries messages to the hubs of other processes. It belongs to the hub, which
   * closes it.
   *
   * @default {new InProcessBackplane()} (there are none)
   */
  backplane?: Backplane | undefined;
  /**
   * How many bytes may wait for a subscriber before it is too slow. It should
   * be well below the `maxBufferedAmount` of the connections themselves.
   *
   * @default {262144}
   */
  slowThreshold?: number | undefined;
  /**
   * What becomes of messages to a subscriber that is too slow, unless they say
   * otherwise. It also holds for messages of other processes that say what this
   * one does not know.
   *
   * @default {"drop"}
   */
  slowPolicy?: SlowPolicy | undefined;
  /**
   * How often those who are too slow, and for whom messages are kept, are looked
   * at, in milliseconds.
   *
   * @default {50}
   */
  conflationInterval?: number | undefined;
}

/**
 * Options of {@linkcode Hub.prototype.publish | publish()}.
 *
 * @example To all but the sender; who can't keep up is closed
 * ```ts
 * import { Hub, type PublishOptions } from "@sansio/websocket/hub";
 * import { assertEquals } from "@std/assert";
 *
 * const hub = new Hub();
 * const anna = { bufferedAmount: 0, send: () => {}, close: () => {} };
 * const bert = { bufferedAmount: 1e9, send: () => {}, close: () => {} };
 * for (const subscriber of [anna, bert]) hub.subscribe("moves", subscriber);
 *
 * const options: PublishOptions = { except: anna, slowPolicy: "close" };
 * const { sent, closed } = hub.publish("moves", "e4", options);
 * assertEquals({ sent, closed }, { sent: 0, closed: 1 });
 * ```
 */
export interface PublishOptions extends MessageOptions {
  /**
   * What becomes of the message where a subscriber is too slow.
   *
   * @default {the hub's}
   */
  slowPolicy?: SlowPolicy | undefined;
  /**
   * What the message is about, such as the name of a stock: with `"conflate"`,
   * only the newest of each key and topic is kept.
   *
   * @default {""} (the newest of the topic is)
   */
  key?: string | undefined;
  /**
   * The subscriber that does not get the message, such as its sender.
   *
   * @default {undefined} (all get it)
   */
  except?: Subscriber | undefined;
  /**
   * Whether the message is for this hub's own subscribers alone.
   *
   * @default {false}
   */
  local?: boolean | undefined;
}

/** What became of a message, among this hub's own subscribers. */
export interface Delivery {
  /** How many it was sent to. */
  readonly sent: number;
  /** How many did not get it: too slow, closing, or failing to send. */
  readonly dropped: number;
  /** For how many it is kept until they have caught up. */
  readonly conflated: number;
  /** How many were closed, being too slow. */
  readonly closed: number;
  /**
   * Resolves when the backplane has taken the message, and rejects if it could
   * not. Nobody has to look.
   */
  readonly forwarded: Promise<void>;
}

/** A subscriber, and what is kept for it. */
interface Member {
  readonly subscriber: Subscriber;
  readonly topics: Set<string>;
  // The oldest first; by topic and key.
  kept: Map<string, PreparedMessage> | undefined;
  keptBytes: number;
}

interface Topic {
  readonly members: Set<Member>;
  readonly subscription: BackplaneSubscription;
  readonly ready: Promise<void>;
}

// About how many bytes it costs to keep a message besides its own: without
// this, there would be no limit to empty messages with different keys.
const KEPT_COST = 64;

// A timer that is to take longer takes no time at all, in milliseconds.
const LONGEST_TIMER = 2 ** 31 - 1;

const READY: Promise<void> = Promise.resolve();
const TOO_SLOW = "Too slow to take what it subscribed to";
const NO_OPTIONS: PublishOptions = {};
const NO_TOPICS: ReadonlySet<string> = new Set();

/**
 * Topics, their subscribers, and publishing to them.
 *
 * However many subscribe, a message is encoded once, and compressed at most once
 * for each set of parameters without context takeover. However slow one of them
 * is, the others get theirs at once, and it costs no more memory than
 * {@linkcode HubOptions.slowThreshold} and one message; twice that where
 * messages are conflated.
 *
 * @example Publish, and see who got it
 * ```ts
 * import { Hub } from "@sansio/websocket/hub";
 * import { assertEquals } from "@std/assert";
 *
 * const hub = new Hub();
 * const received: string[] = [];
 * const anna = {
 *   bufferedAmount: 0,
 *   send: ({ data }: { data: Uint8Array }) =>
 *     received.push(new TextDecoder().decode(data)),
 *   close: () => {},
 * };
 *
 * hub.subscribe("tea", anna);
 * assertEquals(hub.publish("tea", "It is ready").sent, 1);
 * assertEquals(hub.publish("coffee", "So is this").sent, 0);
 * assertEquals(received, ["It is ready"]);
 * ```
 *
 * @example Who is there
 * ```ts
 * import { Hub } from "@sansio/websocket/hub";
 * import { assert, assertEquals, assertFalse } from "@std/assert";
 *
 * await using hub = new Hub();
 * const anna = { bufferedAmount: 0, send: () => {}, close: () => {} };
 * const bert = { bufferedAmount: 0, send: () => {}, close: () => {} };
 * hub.subscribe("tea", anna);
 * hub.subscribe("tea", bert);
 * hub.subscribe("coffee", anna);
 *
 * assertEquals(hub.size, 2);
 * assertEquals(hub.subscriberCount("tea"), 2);
 * assertEquals(Array.from(hub.subscribers("coffee")), [anna]);
 * assertEquals(Array.from(hub.topics()), ["tea", "coffee"]);
 * assertEquals(Array.from(hub.topics(bert)), ["tea"]);
 *
 * assert(hub.has("tea", anna));
 * hub.unsubscribe("tea", anna); // from this topic
 * assertFalse(hub.has("tea", anna));
 * hub.remove(anna); // from all topics
 * assertEquals(Array.from(hub.topics()), ["tea"]);
 * ```
 */
export class Hub implements AsyncDisposable {
  /**
   * What the hub is called on its backplane: a random UUID.
   *
   * @example Who has published a message
   * ```ts
   * import { Hub, InProcessBackplane } from "@sansio/websocket/hub";
   * import { assertEquals } from "@std/assert";
   *
   * const backplane = new InProcessBackplane();
   * const publishers: string[] = [];
   * backplane.subscribe("news", ({ publisher }) => publishers.push(publisher));
   *
   * const hub = new Hub({ backplane });
   * hub.publish("news", "Hello");
   * assertEquals(publishers, [hub.id]);
   * ```
   */
  readonly id: string = crypto.randomUUID();
  readonly #backplane: Backplane;
  readonly #slowThreshold: number;
  readonly #slowPolicy: SlowPolicy;
  readonly #conflationInterval: number;
  readonly #topics = new Map<string, Topic>();
  readonly #members = new Map<Subscriber, Member>();
  // Subscribers whose `closed` is awaited: it is not awaited again if they come
  // back.
  readonly #watched = new WeakSet<Subscriber>();
  // Members for whom messages are kept, and the timer that looks at them.
  readonly #behind = new Set<Member>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  #closing: Promise<void> | undefined;

  /**
   * A hub without topics: each exists while it has subscribers.
   *
   * @param options The backplane, and when a subscriber is too slow.
   * @throws {RangeError} If a limit is out of range.
   * @throws {TypeError} If there is no such policy.
   */
  constructor(options: HubOptions = {}) {
    const { slowThreshold = 256 * 1024, conflationInterval = 50 } = options;
    const { slowPolicy = "drop" } = options;
    assertPositive("slowThreshold", slowThreshold);
    assertPositive("conflationInterval", conflationInterval);
    assertPolicy(slowPolicy);
    this.#backplane = options.backplane ?? new InProcessBackplane();
    this.#slowThreshold = slowThreshold;
    this.#slowPolicy = slowPolicy;
    this.#conflationInterval = Math.min(conflationInterval, LONGEST_TIMER);
  }

  // --- Who is there --------------------------------------------------------

  /** How many subscribers there are, whatever they subscribe to. */
  get size(): number {
    return this.#members.size;
  }

  /**
   * The topics that have subscribers, or those of one subscriber.
   *
   * @param subscriber The subscriber; if left out, any.
   * @returns The names of the topics, in the order in which they were opened.
   */
  topics(subscriber?: Subscriber): IterableIterator<string> {
    if (subscriber === undefined) return this.#topics.keys();
    return (this.#members.get(subscriber)?.topics ?? NO_TOPICS).keys();
  }

  /**
   * How many of this hub's own subscribers a topic has.
   *
   * @param topic The topic.
   * @returns The number; 0 if there is no such topic.
   */
  subscriberCount(topic: string): number {
    return this.#topics.get(topic)?.members.size ?? 0;
  }

  /**
   * Whether a subscriber subscribes to a topic.
   *
   * @param topic The topic.
   * @param subscriber The subscriber.
   * @returns Whether it does.
   */
  has(topic: string, subscriber: Subscriber): boolean {
    return this.#members.get(subscriber)?.topics.has(topic) ?? false;
  }

  /**
   * This hub's own subscribers to a topic, in the order in which they came.
   *
   * @param topic The topic.
   * @returns The subscribers; none if there is no such topic.
   */
  *subscribers(topic: string): IterableIterator<Subscriber> {
    for (const member of this.#topics.get(topic)?.members ?? []) {
      yield member.subscriber;
    }
  }

  /**
   * Subscribes to a topic: what is published to it from now on is sent to the
   * subscriber. To subscribe twice has no further effect.
   *
   * @param topic The topic: any text.
   * @param subscriber The subscriber; when it is closed, it leaves all topics.
   * @returns Resolves when messages from other processes arrive too, and
   * rejects if the backplane gives up. It may be ignored.
   * @throws {DOMException} "InvalidStateError" if the hub is closed.
   */
  subscribe(topic: string, subscriber: Subscriber): Promise<void> {
    this.#assertOpen();
    // The topic first: if the backplane throws, no member without a topic is
    // left.
    const { members, ready } = this.#topics.get(topic) ?? this.#open(topic);
    const member = this.#members.get(subscriber) ?? this.#welcome(subscriber);
    members.add(member);
    member.topics.add(topic);
    return ready;
  }

  #welcome(subscriber: Subscriber): Member {
    const member: Member = {
      subscriber,
      topics: new Set(),
      kept: undefined,
      keptBytes: 0,
    };
    this.#members.set(subscriber, member);
    if (!this.#watched.has(subscriber)) this.#watch(subscriber);
    return member;
  }

  #watch(subscriber: Subscriber): void {
    const { closed } = subscriber;
    if (closed === undefined) return;
    this.#watched.add(subscriber);
    const leave = () => {
      this.#watched.delete(subscriber);
      this.remove(subscriber);
    };
    closed.then(leave, leave);
  }

  #open(name: string): Topic {
    const subscription = this.#backplane.subscribe(
      name,
      (message) => this.#receive(name, message),
    );
    const ready = subscription.ready ?? READY;
    ready.catch(ignore);
    const topic: Topic = { members: new Set(), subscription, ready };
    this.#topics.set(name, topic);
    return topic;
  }

  /**
   * Ends the subscription to a topic, and discards messages of it that are
   * kept.
   *
   * @param topic The topic.
   * @param subscriber The subscriber.
   * @returns Whether it subscribed to the topic.
   */
  unsubscribe(topic: string, subscriber: Subscriber): boolean {
    const member = this.#members.get(subscriber);
    if (!member?.topics.delete(topic)) return false;
    this.#leave(topic, member);
    if (member.topics.size === 0) this.#forget(member);
    else if (member.kept !== undefined) this.#discard(member, topic);
    return true;
  }

  /**
   * Ends all subscriptions of a subscriber.
   *
   * @param subscriber The subscriber. It is not closed.
   * @returns Whether it had any.
   */
  remove(subscriber: Subscriber): boolean {
    const member = this.#members.get(subscriber);
    if (member === undefined) return false;
    for (const topic of member.topics) this.#leave(topic, member);
    this.#forget(member);
    return true;
  }

  #leave(name: string, member: Member): void {
    const topic = this.#topics.get(name)!;
    topic.members.delete(member);
    if (topic.members.size > 0) return;
    this.#topics.delete(name);
    topic.subscription.unsubscribe();
  }

  #forget(member: Member): void {
    this.#members.delete(member.subscriber);
    member.topics.clear();
    this.#caughtUp(member);
  }

  // --- Publishing ----------------------------------------------------------

  /**
   * Sends a message to all subscribers of a topic, here and in other processes.
   * It never waits.
   *
   * @param topic The topic.
   * @param message A string goes out as text, bytes as binary, a prepared message
   * as it was prepared. Bytes are not copied, and must not change afterwards.
   * @param options How it is sent, and what becomes of it where a subscriber is
   * too slow.
   * @returns How many subscribers it was sent to, and what became of it for
   * others.
   * @throws {DOMException} "InvalidStateError" if the hub is closed.
   * @throws {TypeError} If there is no such policy, or the message is none of
   * these.
   *
   * @example The newest price of each stock, for those who can't read them all
   * ```ts
   * import { Hub } from "@sansio/websocket/hub";
   * import { assertEquals } from "@std/assert";
   *
   * const hub = new Hub({ slowPolicy: "conflate" });
   * const stuck = { bufferedAmount: 1e9, send: () => {}, close: () => {} };
   * hub.subscribe("stocks", stuck);
   *
   * for (const price of [20, 21, 22]) {
   *   const { conflated } = hub.publish("stocks", `TEA ${price}`, {
   *     key: "TEA",
   *   });
   *   assertEquals(conflated, 1);
   * }
   * await hub.close();
   * ```
   */
  publish(
    topic: string,
    message: MessageData | PreparedMessage,
    options: PublishOptions = NO_OPTIONS,
  ): Delivery {
    this.#assertOpen();
    if (options.slowPolicy !== undefined) assertPolicy(options.slowPolicy);
    const data = typeof message === "string" ||
        message instanceof PreparedMessage
      ? message
      : bytesOf(message, "A message", "a string, a PreparedMessage, ");
    const forwarded = options.local
      ? READY
      : this.#forward(topic, data, options);
    return { ...this.#deliver(topic, data, options), forwarded };
  }

  #forward(
    topic: string,
    message: string | Uint8Array | PreparedMessage,
    options: PublishOptions,
  ): Promise<void> {
    const isPrepared = message instanceof PreparedMessage;
    const data = isPrepared ? message.data : message;
    try {
      const carried = this.#backplane.publish(topic, {
        publisher: this.id,
        data,
        type: isPrepared
          ? message.type
          : options.type ?? (typeof data === "string" ? "text" : "binary"),
        compress: isPrepared ? message.compress : options.compress,
        slowPolicy: options.slowPolicy,
        key: options.key,
      });
      if (carried === undefined) return READY;
      carried.catch(ignore);
      return carried;
    } catch (error) {
      const failed = Promise.reject(error);
      failed.catch(ignore);
      return failed;
    }
  }

  #receive(topic: string, message: BackplaneMessage): void {
    if (message.publisher === this.id || this.#isClosed) return;
    this.#deliver(topic, message.data, message);
  }

  #deliver(
    topic: string,
    message: string | Uint8Array | PreparedMessage,
    options: PublishOptions,
  ): Omit<Delivery, "forwarded"> {
    const result = { sent: 0, dropped: 0, conflated: 0, closed: 0 };
    const members = this.#topics.get(topic)?.members;
    if (members === undefined) return result;
    const prepared = message instanceof PreparedMessage
      ? message
      : new PreparedMessage(message, options);
    const { slowPolicy } = options;
    const policy = isPolicy(slowPolicy) ? slowPolicy : this.#slowPolicy;
    const key = options.key ?? "";
    for (const member of members) {
      if (member.subscriber === options.except) continue;
      if (member.kept !== undefined) {
        this.#catchUp(member);
        if (!members.has(member)) continue; // it has left meanwhile
      }
      if (member.subscriber.isOpen === false) result.dropped++;
      else if (member.kept === undefined && !this.#isSlow(member)) {
        if (send(member, prepared)) result.sent++;
        else result.dropped++;
      } else if (policy === "drop") result.dropped++;
      else if (policy === "conflate") {
        this.#keep(member, keyOf(topic, key), prepared);
        result.conflated++;
      } else {
        this.#close(member);
        result.closed++;
      }
    }
    return result;
  }

  // --- Those who are too slow ----------------------------------------------

  #isSlow({ subscriber }: Member): boolean {
    return subscriber.bufferedAmount > this.#slowThreshold;
  }

  #close(member: Member): void {
    // First from its topics, so that nothing is sent to it meanwhile.
    this.remove(member.subscriber);
    try {
      handle(member.subscriber.close(CloseCode.TryAgainLater, TOO_SLOW));
    } catch {
      // It has been removed all the same.
    }
  }

  #keep(member: Member, key: string, message: PreparedMessage): void {
    const kept = member.kept ??= new Map();
    const older = kept.get(key);
    if (older !== undefined) {
      kept.delete(key); // so that the newer one is the last
      member.keptBytes -= costOf(older);
    }
    kept.set(key, message);
    member.keptBytes += costOf(message);
    for (const [oldest, message] of kept) {
      if (member.keptBytes <= this.#slowThreshold || kept.size === 1) break;
      kept.delete(oldest);
      member.keptBytes -= costOf(message);
    }
    this.#behind.add(member);
    this.#lookAgainLater();
  }

  /** Sends what is kept, as far as there is room for it. */
  #catchUp(member: Member): void {
    const kept = member.kept!;
    for (const [key, message] of kept) {
      const isOpen = member.subscriber.isOpen !== false;
      if (isOpen && this.#isSlow(member)) return;
      kept.delete(key);
      member.keptBytes -= costOf(message);
      if (isOpen) send(member, message);
      // A subscriber may leave, or publish, while it is sent a message.
      if (member.kept !== kept) return;
    }
    this.#caughtUp(member);
  }

  #discard(member: Member, topic: string): void {
    const prefix = keyOf(topic, "");
    for (const [key, message] of member.kept!) {
      if (!key.startsWith(prefix)) continue;
      member.kept!.delete(key);
      member.keptBytes -= costOf(message);
    }
    if (member.kept!.size === 0) this.#caughtUp(member);
  }

  #caughtUp(member: Member): void {
    member.kept = undefined;
    member.keptBytes = 0;
    this.#behind.delete(member);
    if (this.#behind.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #lookAgainLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      for (const member of this.#behind) this.#catchUp(member);
      if (this.#behind.size > 0) this.#lookAgainLater();
    }, this.#conflationInterval);
  }

  // --- The end -------------------------------------------------------------

  /**
   * Removes all topics and subscribers, which are not closed, and closes the
   * backplane.
   *
   * @returns Resolved when the backplane is closed, rejected if it can't be.
   */
  close(): Promise<void> {
    this.#isClosed = true;
    return this.#closing ??= this.#end();
  }

  async #end(): Promise<void> {
    for (const subscriber of this.#members.keys()) this.remove(subscriber);
    await this.#backplane.close();
  }

  /**
   * Does what `close()` does.
   *
   * @returns What `close()` returns.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #assertOpen(): void {
    if (!this.#isClosed) return;
    throw new DOMException("The hub is closed", "InvalidStateError");
  }
}

/** A key for topic and key together, which no other two have. */
function keyOf(topic: string, key: string): string {
  return `${topic.length}:${topic}${key}`;
}

function costOf({ data }: PreparedMessage): number {
  return data.length + KEPT_COST;
}

/**
 * Sends a message; returns whether the subscriber took it, and never throws.
 */
function send({ subscriber }: Member, message: PreparedMessage): boolean {
  try {
    handle(subscriber.send(message));
    return true;
  } catch {
    return false;
  }
}

// Most connections return the same promise while there is nothing to wait for.
let handled: unknown;

function handle(result: unknown): void {
  if (result === handled || !(result instanceof Promise)) return;
  handled = result;
  result.catch(ignore);
}

function ignore(): void {}

function isPolicy(policy: unknown): policy is SlowPolicy {
  return policy === "drop" || policy === "conflate" || policy === "close";
}

function assertPolicy(policy: unknown): void {
  if (isPolicy(policy)) return;
  throw new TypeError(
    `slowPolicy must be "drop", "conflate" or "close" (${policy})`,
  );
}

function assertPositive(name: string, value: number): void {
  if (value > 0) return;
  throw new RangeError(`${name} must be more than 0 (${value})`);
}
