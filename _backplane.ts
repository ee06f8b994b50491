/**
 * How messages get from the hub of one process to those of others.
 *
 * @module
 */

/**
 * What becomes of a message to a subscriber that is too slow:
 *
 * - `"drop"`: it does not get the message.
 * - `"conflate"`: it gets the message when it has caught up, unless there is a
 *   newer one with the same {@linkcode PublishOptions.key} by then.
 * - `"close"`: it is closed with 1013, and leaves all its topics.
 */
export type SlowPolicy = "drop" | "conflate" | "close";

/** A message as a {@linkcode Backplane} carries it. */
export interface BackplaneMessage {
  /**
   * The {@linkcode Hub.prototype.id | id} of the hub that it was published at.
   */
  readonly publisher: string;
  /** What was published. */
  readonly data: string | Uint8Array;
  /** Whether it is sent as text or as binary. */
  readonly type: "text" | "binary";
  /** As in {@linkcode MessageOptions.compress}. */
  readonly compress?: boolean | undefined;
  /** As in {@linkcode PublishOptions.slowPolicy}. */
  readonly slowPolicy?: SlowPolicy | undefined;
  /** As in {@linkcode PublishOptions.key}. */
  readonly key?: string | undefined;
}

/**
 * Joins the hubs of several processes. A hub delivers to its own subscribers
 * itself, whether its backplane works or not, so that this carries messages to
 * the other hubs alone; those that come back to the hub they are from are
 * ignored.
 *
 * What one hub publishes to one topic has to arrive in that order, if it does,
 * and at most once. Nothing has to arrive at all: if it must, keep messages
 * elsewhere, and number them.
 *
 * @example Two workers, joined by a message port
 * ```ts
 * import {
 *   type Backplane,
 *   type BackplaneMessage,
 *   Hub,
 * } from "@sansio/websocket/hub";
 * import { assertEquals } from "@std/assert";
 *
 * function overPort(port: MessagePort): Backplane {
 *   const topics = new Map<string, (message: BackplaneMessage) => void>();
 *   port.onmessage = ({ data: { topic, message } }) => {
 *     topics.get(topic)?.(message);
 *   };
 *   return {
 *     publish: (topic, message) => port.postMessage({ topic, message }),
 *     subscribe: (topic, receive) => {
 *       topics.set(topic, receive);
 *       return { unsubscribe: () => topics.delete(topic) };
 *     },
 *     close: () => port.close(),
 *   };
 * }
 *
 * const { port1, port2 } = new MessageChannel();
 * await using here = new Hub({ backplane: overPort(port1) });
 * await using there = new Hub({ backplane: overPort(port2) });
 *
 * const { promise, resolve } = Promise.withResolvers<Uint8Array>();
 * there.subscribe("news", {
 *   bufferedAmount: 0,
 *   send: ({ data }) => resolve(data),
 *   close: () => {},
 * });
 * here.publish("news", "Hello");
 * assertEquals(new TextDecoder().decode(await promise), "Hello");
 * ```
 */
export interface Backplane {
  /**
   * Carries a message to the hubs that subscribe to the topic.
   *
   * @param topic Where it was published.
   * @param message What was published. Its bytes must not be changed.
   * @returns Resolved when it is on its way. Rejected, or thrown, if it can't be
   * sent now: it must not be sent later.
   */
  publish(topic: string, message: BackplaneMessage): Promise<void> | void;
  /**
   * Begins to receive. A hub subscribes to a topic once, when it has its first
   * subscriber.
   *
   * @param topic What to receive.
   * @param receive Called with each message.
   * @returns Ends it, as soon as it is called; it may be called before the
   * promise `ready` is settled, and never throws.
   */
  subscribe(
    topic: string,
    receive: (message: BackplaneMessage) => void,
  ): BackplaneSubscription;
  /**
   * Ends everything. Nothing is called after it.
   *
   * @returns Resolved when that is done.
   */
  close(): Promise<void> | void;
}

/** A hub's part in a topic of a {@linkcode Backplane}. */
export interface BackplaneSubscription {
  /**
   * Resolves when messages from the other hubs arrive.
   *
   * @default {undefined} (they do already)
   */
  readonly ready?: Promise<void> | undefined;
  /** Ends it. */
  unsubscribe(): void;
}

/**
 * Joins hubs of one process, which the tests of a program for many processes may
 * do; and joins none, where a hub has one for itself.
 *
 * @example Two hubs in one process
 * ```ts
 * import { Hub, InProcessBackplane } from "@sansio/websocket/hub";
 * import { assertEquals } from "@std/assert";
 *
 * const backplane = new InProcessBackplane();
 * const here = new Hub({ backplane });
 * const there = new Hub({ backplane });
 * const received: string[] = [];
 * there.subscribe("news", {
 *   bufferedAmount: 0,
 *   send: ({ data }) => received.push(new TextDecoder().decode(data)),
 *   close: () => {},
 * });
 *
 * here.publish("news", "Hello");
 * assertEquals(received, ["Hello"]);
 * for (const hub of [here, there]) await hub.close();
 * ```
 */
export class InProcessBackplane implements Backplane {
  readonly #receivers = new Map<
    string,
    Set<(message: BackplaneMessage) => void>
  >();

  /**
   * Hands a message to all who subscribe to the topic, its publisher included.
   *
   * @param topic Where it was published.
   * @param message What was published.
   */
  publish(topic: string, message: BackplaneMessage): void {
    for (const receive of this.#receivers.get(topic) ?? []) receive(message);
  }

  /**
   * Begins to receive.
   *
   * @param topic What to receive.
   * @param receive Called with each message.
   * @returns Ends it.
   */
  subscribe(
    topic: string,
    receive: (message: BackplaneMessage) => void,
  ): BackplaneSubscription {
    let receivers = this.#receivers.get(topic);
    if (receivers === undefined) {
      this.#receivers.set(topic, receivers = new Set());
    }
    receivers.add(receive);
    return {
      unsubscribe: () => {
        receivers.delete(receive);
        if (receivers.size > 0 || this.#receivers.get(topic) !== receivers) {
          return;
        }
        this.#receivers.delete(topic);
      },
    };
  }

  /** Does nothing: other hubs may go on. */
  close(): void {}
}
