/**
 * A room: its viewers, here and in other processes, and its last comments.
 *
 * @module
 */

import {
  CloseCode,
  type Hub,
  type Message,
  type PreparedMessage,
  type Subscriber,
  type WebSocketConnection,
} from "../../mod.ts";
import {
  type Comment,
  readDraft,
  type Update,
  type Welcome,
} from "./comment.ts";
import { RateLimit, Throttle } from "./pace.ts";

/** How many comments late joiners get. */
export const RECENT = 50;
/** How often at most viewers are told how many they are, in milliseconds. */
const COUNT_INTERVAL = 250;
/** After how long a silent process counts as gone, in milliseconds. */
const BELIEF = 12_000;
/**
 * How many comments in a row may be refused before the viewer is disconnected.
 */
const MAX_REFUSED = 30;
/** Above this backlog, in bytes, a viewer is not told of refusals. */
const MAX_UNREAD = 64 * 1024;

const decoder = new TextDecoder();

/** Options of {@linkcode Room}. */
export interface RoomOptions {
  /** How many comments a second each viewer may make. */
  rate: number;
  /**
   * How many comments a second all viewers of this process may make together.
   */
  roomRate: number;
  /** How long comments are gathered that go out together, in milliseconds. */
  gather: number;
  /** The name of this process, where there are several. */
  server?: string | undefined;
}

/** The messages of processes to each other about a room. */
interface News {
  from: string;
  /** The number of its viewers. */
  viewers: number;
  /** A new process asks the others for their part. */
  asks?: boolean;
  /** The answer to that. */
  recent?: readonly Comment[];
}

/** The part of a room that is in this process. */
export class Room {
  readonly name: string;
  /** Since when it is empty, in milliseconds of `performance.now()`. */
  emptySince: number | undefined = performance.now();
  readonly #hub: Hub;
  readonly #options: RoomOptions;
  /** The topic of what viewers get. */
  readonly #screen: string;
  /** The topic of what processes tell each other. */
  readonly #desk: string;
  readonly #listeners: readonly Subscriber[];

  #recent: Comment[] = [];
  #gathered: Comment[] = [];
  readonly #limit: RateLimit;
  readonly #sendOut: Throttle;
  readonly #others = new Map<string, { viewers: number; until: number }>();
  readonly #viewersKnow = new Throttle(
    () => this.#tellViewers(),
    COUNT_INTERVAL,
  );
  readonly #othersKnow = new Throttle(() => this.#tellOthers(), COUNT_INTERVAL);
  #viewers = 0;
  #toldViewers = 0;
  #visits = 0;
  #comments = 0;
  #isClosed = false;

  constructor(name: string, hub: Hub, options: RoomOptions) {
    this.name = name;
    this.#hub = hub;
    this.#options = options;
    this.#screen = `screen/${name}`;
    this.#desk = `desk/${name}`;
    this.#sendOut = new Throttle(() => this.#publishComments(), options.gather);
    this.#limit = new RateLimit(options.roomRate, 2 * options.roomRate);
    // The room itself subscribes to what other processes publish.
    const onComments = listener((update: Update) => {
      if (update.type === "comments") this.#remember(update.comments);
    });
    const onNews = listener((news: News) => this.#onNews(news));
    this.#listeners = [onComments, onNews];
    hub.subscribe(this.#screen, onComments);
    hub.subscribe(this.#desk, onNews).then(
      () => this.#tellOthers({ asks: true }),
      () => {}, // the hub is closed
    );
  }

  /** The number of viewers in all known processes. */
  get viewers(): number {
    let viewers = this.#viewers;
    for (const other of this.#others.values()) viewers += other.viewers;
    return viewers;
  }

  /** Resolves when comments made in other processes arrive. */
  get ready(): Promise<void> {
    return this.#hub.subscribe(this.#screen, this.#listeners[0]!);
  }

  /** Serves a viewer until its connection is closed. */
  async welcome(ws: WebSocketConnection): Promise<void> {
    const you = `${this.#hub.id.slice(0, 8)}.${++this.#visits}`;
    this.#viewers++;
    this.emptySince = undefined;
    const welcome: Welcome = {
      type: "welcome",
      room: this.name,
      you,
      viewers: this.viewers,
      recent: this.#recent,
      server: this.#options.server,
    };
    // Comments that are being gathered are among the recent ones, but come
    // again.
    ws.send(JSON.stringify(welcome));
    this.#hub.subscribe(this.#screen, ws);
    this.#tellCount();
    try {
      await ws.forEach(this.#listenTo(ws, you));
    } finally {
      this.#hub.remove(ws);
      if (--this.#viewers === 0) this.emptySince = performance.now();
      this.#tellCount();
    }
  }

  #listenTo(ws: WebSocketConnection, by: string): (message: Message) => void {
    const { rate } = this.#options;
    const limit = new RateLimit(rate, Math.max(2, 2 * rate));
    let refused = 0;
    const refuse = (retryAfter: number): void => {
      if (ws.bufferedAmount >= MAX_UNREAD) return;
      const refusal: Update = { type: "refused", retryAfter };
      ws.send(JSON.stringify(refusal));
    };
    return (message) => {
      if (this.#isClosed) return;
      const retryAfter = limit.take();
      if (retryAfter > 0) {
        if (++refused <= MAX_REFUSED) refuse(retryAfter);
        else ws.close(CloseCode.PolicyViolation, "Too many comments");
        return;
      }
      refused = 0;
      const draft = readDraft(message);
      if (draft === undefined) return;
      // Every comment goes to all: the traffic grows with the square of the
      // viewers.
      const roomFor = this.#limit.take();
      if (roomFor > 0) refuse(roomFor);
      else this.#say({ ...draft, by });
    };
  }

  // --- Comments ------------------------------------------------------------

  #say(draft: Omit<Comment, "id" | "at">): void {
    const id = `${this.#hub.id.slice(0, 8)}-${++this.#comments}`;
    const comment: Comment = { id, at: Date.now(), ...draft };
    this.#remember([comment]);
    this.#gathered.push(comment);
    if (this.#options.gather > 0) this.#sendOut.trigger();
    else this.#publishComments();
  }

  #publishComments(): void {
    if (this.#gathered.length === 0) return;
    const update: Update = { type: "comments", comments: this.#gathered };
    this.#gathered = [];
    this.#hub.publish(this.#screen, JSON.stringify(update), {
      except: this.#listeners[0],
    });
  }

  #remember(comments: readonly Comment[]): void {
    this.#recent = [...this.#recent, ...comments].slice(-RECENT);
  }

  // --- How many watch ------------------------------------------------------

  #tellCount(): void {
    if (this.#isClosed) return; // its last viewers are leaving
    this.#othersKnow.trigger();
    this.#viewersKnow.trigger();
  }

  #tellViewers(): void {
    const { viewers } = this;
    if (viewers === this.#toldViewers) return;
    this.#toldViewers = viewers;
    const update: Update = { type: "viewers", viewers };
    // A slow viewer needs the latest number only.
    this.#hub.publish(this.#screen, JSON.stringify(update), {
      slowPolicy: "conflate",
      key: "viewers",
      local: true,
    });
  }

  #tellOthers(more: Partial<News> = {}): void {
    const news: News = { from: this.#hub.id, viewers: this.#viewers, ...more };
    this.#hub.publish(this.#desk, JSON.stringify(news), {
      except: this.#listeners[1],
    });
  }

  #onNews({ from, viewers, asks, recent }: News): void {
    this.#others.set(from, { viewers, until: performance.now() + BELIEF });
    if (asks) this.#tellOthers({ recent: this.#recent });
    if (recent !== undefined) this.#catchUp(recent);
    this.#viewersKnow.trigger();
  }

  /** Takes over comments from before this process had the room. */
  #catchUp(comments: readonly Comment[]): void {
    const known = new Set(this.#recent.map(({ id }) => id));
    const missed = comments.filter(({ id }) => !known.has(id));
    if (missed.length === 0) return;
    this.#recent = [...this.#recent, ...missed]
      .sort((a, b) => a.at - b.at).slice(-RECENT);
    const update: Update = { type: "recent", comments: this.#recent };
    this.#hub.publish(this.#screen, JSON.stringify(update), {
      slowPolicy: "conflate",
      key: "recent",
      local: true,
      except: this.#listeners[0],
    });
  }

  /** Announces this process to the others, and forgets those that are gone. */
  beat(now = performance.now()): void {
    for (const [from, { until }] of this.#others) {
      if (until < now) this.#others.delete(from);
    }
    this.#tellOthers();
    this.#tellViewers();
  }

  close(): void {
    this.#isClosed = true;
    this.#sendOut.cancel();
    this.#viewersKnow.cancel();
    this.#othersKnow.cancel();
    for (const it of this.#listeners) this.#hub.remove(it);
  }
}

/** A subscriber in this process, which is never slow. */
function listener<Value>(receive: (value: Value) => void): Subscriber {
  return {
    bufferedAmount: 0,
    send: ({ data }: PreparedMessage) =>
      receive(JSON.parse(decoder.decode(data))),
    close: () => {},
  };
}
