/**
 * Joins the hubs of many processes, on many machines, by Redis Pub/Sub.
 *
 * A message arrives at most once: what is published while Redis is away, or is
 * under way when it goes, is lost for the other processes, and never sent later.
 * What one process publishes to one topic arrives in that order, since it goes
 * over one connection each way. Nothing is promised about the order of what
 * different processes publish.
 *
 * @module
 */

import { createClient, type RedisClientOptions } from "redis";
import type {
  Backplane,
  BackplaneMessage,
  BackplaneSubscription,
} from "../../mod.ts";

/** Options of {@linkcode RedisBackplane.connect}. */
export interface RedisBackplaneOptions {
  /**
   * What the names of channels begin with.
   *
   * @default {"hub:"}
   */
  prefix?: string;
  /**
   * Called with a line when Redis goes away, is tried again, and is back.
   *
   * @default {undefined} (nobody is)
   */
  onStatus?: (line: string) => void;
  /**
   * How long to wait before Redis is tried again, in milliseconds: at first, and
   * at the most. In between it doubles.
   *
   * @default {[100, 5000]}
   */
  backoff?: readonly [first: number, longest: number];
}

type Client = ReturnType<typeof createClient>;

interface Subscription {
  readonly receive: (message: BackplaneMessage) => void;
  readonly ready: PromiseWithResolvers<void>;
}

/** How many messages may wait to be taken by Redis; more are lost. */
const MAX_WAITING = 10_000;

/** A backplane on two connections to Redis: one to publish, one to receive. */
export class RedisBackplane implements Backplane {
  readonly #options: RedisBackplaneOptions;
  readonly #prefix: string;
  readonly #publisher: Client;
  readonly #receiver: Client;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #isStarted = false;
  #awaySince: number | undefined;

  private constructor(url: string, options: RedisBackplaneOptions) {
    this.#options = options;
    this.#prefix = options.prefix ?? "hub:";
    this.#publisher = createClient(this.#clientOptions(url));
    this.#receiver = createClient(this.#clientOptions(url));
    for (const client of [this.#publisher, this.#receiver]) {
      client.on("error", (error: Error) => this.#onAway(error));
      client.on("ready", () => this.#onReady(client));
    }
  }

  #clientOptions(url: string): RedisClientOptions {
    const socket = {
      connectTimeout: 5000,
      reconnectStrategy: (retries: number, cause: Error): number | Error =>
        this.#isStarted ? this.#pause(retries) : cause,
    };
    return {
      // A message that can't be sent now is not sent later.
      disableOfflineQueue: true,
      commandsQueueMaxLength: MAX_WAITING,
      // A feature of Redis Enterprise, which would read the environment.
      maintNotifications: "disabled",
      // A peer that is gone without a word is noticed.
      pingInterval: 10_000,
      ...(url.startsWith("unix:")
        ? {
          socket: {
            ...socket,
            path: url.replace(/^unix:(\/\/)?/, ""),
            tls: false as const,
          },
        }
        : { url, socket }),
    };
  }

  /**
   * Connects to Redis.
   *
   * @param url Such as `redis://127.0.0.1:6379`, `rediss://` for TLS, or
   * `unix:/run/redis.sock`.
   * @throws {Error} If it is not there now. Later it may come and go.
   */
  static async connect(
    url: string,
    options: RedisBackplaneOptions = {},
  ): Promise<RedisBackplane> {
    const backplane = new RedisBackplane(url, options);
    const clients = [backplane.#publisher, backplane.#receiver];
    try {
      await Promise.all(clients.map((client) => client.connect()));
    } catch (error) {
      for (const client of clients) client.destroy();
      throw error;
    }
    backplane.#isStarted = true;
    return backplane;
  }

  /** Whether both connections work at the moment. */
  get isConnected(): boolean {
    return this.#publisher.isReady && this.#receiver.isReady;
  }

  async publish(topic: string, message: BackplaneMessage): Promise<void> {
    await this.#publisher.publish(this.#prefix + topic, encode(message));
  }

  subscribe(
    topic: string,
    receive: (message: BackplaneMessage) => void,
  ): BackplaneSubscription {
    const channel = this.#prefix + topic;
    const ready = Promise.withResolvers<void>();
    ready.promise.catch(() => {}); // callers may ignore it
    const subscription = { receive, ready };
    this.#subscriptions.set(channel, subscription);
    this.#join(channel, subscription);
    return {
      ready: ready.promise,
      unsubscribe: () => {
        if (this.#subscriptions.get(channel) !== subscription) return;
        this.#subscriptions.delete(channel);
        ready.reject(new Error("The topic was left"));
        this.#leave(channel);
      },
    };
  }

  #join(channel: string, subscription: Subscription, retries = 0): void {
    // Where Redis is away, it is asked as soon as it is back.
    if (!this.#receiver.isReady) return;
    this.#receiver.subscribe(channel, this.#onMessage).then(
      () => subscription.ready.resolve(),
      (error) => this.#onRefused(channel, subscription, retries, error),
    );
  }

  /** Redis has refused: it has no memory, or the user no permission. */
  #onRefused(
    channel: string,
    subscription: Subscription,
    retries: number,
    error: unknown,
  ): void {
    if (!this.#receiver.isReady) return;
    if (this.#subscriptions.get(channel) !== subscription) return;
    if (retries === 0) {
      this.#options.onStatus?.(
        `Redis does not let ${channel} be subscribed to (${
          reasonOf(error)
        }): trying again`,
      );
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (this.#subscriptions.get(channel) !== subscription) return;
      this.#join(channel, subscription, retries + 1);
    }, this.#pause(retries));
    this.#timers.add(timer);
  }

  #leave(channel: string): void {
    if (!this.#receiver.isReady) return;
    this.#receiver.unsubscribe(channel, this.#onMessage).catch(() => {});
  }

  readonly #onMessage = (text: string, channel: string): void => {
    const subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) {
      this.#leave(channel); // it could not be told at the time
      return;
    }
    const message = decode(text);
    if (message !== undefined) subscription.receive(message);
  };

  // --- Coming and going ----------------------------------------------------

  /** A delay that doubles up to the longest, and differs between processes. */
  #pause(retries: number): number {
    const [first, longest] = this.#options.backoff ?? [100, 5000];
    const pause = Math.min(longest, first * 2 ** retries);
    return Math.round(pause * (0.75 + Math.random() / 2));
  }

  #onAway(error: Error): void {
    if (!this.#isStarted || this.#awaySince !== undefined) return;
    this.#awaySince = performance.now();
    this.#options.onStatus?.(
      `Redis is away (${
        reasonOf(error)
      }): trying again, meanwhile comments stay in this process`,
    );
  }

  #onReady(client: Client): void {
    if (client === this.#receiver) {
      for (const [channel, subscription] of this.#subscriptions) {
        this.#join(channel, subscription);
      }
    }
    if (this.#awaySince === undefined || !this.isConnected) return;
    const seconds = (performance.now() - this.#awaySince) / 1000;
    this.#awaySince = undefined;
    this.#options.onStatus?.(`Redis is back after ${seconds.toFixed(1)} s`);
  }

  close(): void {
    this.#isStarted = false;
    this.#publisher.destroy();
    this.#receiver.destroy();
    for (const { ready } of this.#subscriptions.values()) {
      ready.reject(new Error("The backplane is closed"));
    }
    this.#subscriptions.clear();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}

/** A short description of an error. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return reasonOf(error.errors[0]);
  const { code, message } = error as Error & { code?: string };
  if (/ECONNREFUSED|ENOENT/.test(`${code} ${message}`)) return "nobody listens";
  return message || String(error);
}

/** As JSON; bytes as base64. */
function encode({ data, ...rest }: BackplaneMessage): string {
  return typeof data === "string"
    ? JSON.stringify({ ...rest, data })
    : JSON.stringify({ ...rest, bytes: data.toBase64() });
}

/** Decodes a message; `undefined` if it is not a hub's. */
function decode(text: string): BackplaneMessage | undefined {
  try {
    const { bytes, ...rest } = JSON.parse(text);
    const data = bytes === undefined ? rest.data : Uint8Array.fromBase64(bytes);
    const isMessage = typeof rest.publisher === "string" &&
      (typeof data === "string" || data instanceof Uint8Array);
    return isMessage ? { ...rest, data } : undefined;
  } catch {
    return undefined;
  }
}
