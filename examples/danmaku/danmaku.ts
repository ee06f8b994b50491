/**
 * The server of all rooms, and of the page that shows them.
 *
 * @module
 */

import {
  HandshakeError,
  Hub,
  type RemoteAddress,
  type ServeOptions,
  type WebSocketConnection,
} from "../../mod.ts";
import { readPage } from "../_page.ts";
import { readRoomName } from "./comment.ts";
import { Room } from "./room.ts";

const PAGE = new URL("index.html", import.meta.url);
/** How many rooms there may be in a process. */
const MAX_ROOMS = 1000;
/** How many of them one address may keep open. */
const MAX_ROOMS_PER_ADDRESS = 100;
/** For how long an empty room is kept, in milliseconds. */
const KEEP_EMPTY = 600_000;
/** How often a process announces itself to the others, in milliseconds. */
const BEAT_INTERVAL = 4000;

/** Options of {@linkcode Danmaku}. */
export interface DanmakuOptions {
  /**
   * The hub that comments are published to. It is closed with the rooms.
   *
   * @default {new Hub()}
   */
  hub?: Hub;
  /**
   * How many comments a second each viewer may make.
   *
   * @default {2}
   */
  rate?: number;
  /**
   * How many comments a second all viewers of a room may make together, in this
   * process.
   *
   * @default {100}
   */
  roomRate?: number;
  /**
   * How long comments of a room are gathered that go out together, in
   * milliseconds. The first one after a while goes out at once.
   *
   * @default {40}
   */
  gather?: number;
  /**
   * The name of this process, where there are several.
   *
   * @default {undefined}
   */
  server?: string | undefined;
}

/** Comments that fly over a picture, in rooms. */
export class Danmaku {
  readonly hub: Hub;
  readonly #page: (request: Request) => Response;
  readonly #options: DanmakuOptions;
  readonly #rooms = new Map<string, Room>();
  // The network of the first viewer of each room.
  readonly #openers = new WeakMap<Room, string>();
  readonly #timer: ReturnType<typeof setInterval>;

  private constructor(
    page: (request: Request) => Response,
    options: DanmakuOptions,
  ) {
    this.#page = page;
    this.#options = options;
    this.hub = options.hub ?? new Hub();
    this.#timer = setInterval(() => this.#beat(), BEAT_INTERVAL);
  }

  /** Reads the page, and makes the server. */
  static async open(options: DanmakuOptions = {}): Promise<Danmaku> {
    return new Danmaku(await readPage(PAGE), options);
  }

  /** The options for `serve()`. */
  get serveOptions(): ServeOptions {
    return {
      // More than any comment needs.
      maxMessageSize: 4096,
      handler: this.#page,
      onRequest: ({ target }, { remoteAddr }) =>
        this.#check(target, networkOf(remoteAddr)),
      onConnection: (ws) => this.#welcome(ws),
    };
  }

  /** Whether there is such a room, or room for it. */
  #check(target: string, opener: string): void {
    const name = readRoomName(target);
    if (name === undefined) {
      throw new HandshakeError(
        `Rooms are at /rooms/NAME, not at [${target.slice(0, 64)}]`,
        { status: 404 },
      );
    }
    if (this.#rooms.has(name)) return;
    const taken = [...this.#rooms.values()]
      .filter((room) => room.emptySince === undefined);
    const own = taken.filter((room) => this.#openers.get(room) === opener);
    if (opener !== "" && own.length >= MAX_ROOMS_PER_ADDRESS) {
      throw noRoom("Your address has");
    }
    if (taken.length >= MAX_ROOMS) throw noRoom("There are");
  }

  async #welcome(ws: WebSocketConnection): Promise<void> {
    const name = readRoomName(ws.request!.target)!;
    let room = this.#rooms.get(name);
    if (room === undefined) {
      if (this.#rooms.size >= MAX_ROOMS) this.#makeRoom();
      room = new Room(name, this.hub, {
        rate: this.#options.rate ?? 2,
        roomRate: this.#options.roomRate ?? 100,
        gather: this.#options.gather ?? 40,
        server: this.#options.server,
      });
      this.#rooms.set(name, room);
      this.#openers.set(room, networkOf(ws.remoteAddr));
    }
    await room.welcome(ws);
  }

  /** Closes the room that has been empty for longest. */
  #makeRoom(): void {
    const [longest] = Array.from(this.#rooms.values())
      .filter((room) => room.emptySince !== undefined)
      .sort((a, b) => a.emptySince! - b.emptySince!);
    if (longest === undefined) return;
    longest.close();
    this.#rooms.delete(longest.name);
  }

  #beat(now = performance.now()): void {
    for (const [name, room] of this.#rooms) {
      if (now - (room.emptySince ?? now) > KEEP_EMPTY) {
        room.close();
        this.#rooms.delete(name);
      } else room.beat(now);
    }
  }

  /** Closes all rooms; the server closes the connections of their viewers. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const room of this.#rooms.values()) room.close();
    this.#rooms.clear();
    await this.hub.close();
  }
}

function noRoom(who: string): HandshakeError {
  return new HandshakeError(`${who} as many rooms as there may be`, {
    status: 503,
    headers: { "Retry-After": "60" },
  });
}

/** The network of an address: of IPv6, its first 64 bits (RFC 6177 §2). */
function networkOf(address: RemoteAddress | undefined): string {
  const hostname = address?.hostname?.replace(/^::ffff:(?=\d+\.)/i, "") ?? "";
  if (!hostname.includes(":")) return hostname;
  const groups = hostname.split("::", 1)[0]!.split(":");
  return [...groups, "0", "0", "0"].slice(0, 4).join(":");
}
