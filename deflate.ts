/**
 * Compression of messages: permessage-deflate (RFC 7692), for both ends of a
 * connection, with a context that is kept from one message to the next. Who
 * does not import this module does not load a compressor.
 *
 * ### What it costs
 *
 * Memory: 0.7 KiB for each connection, and no more until a compressed message
 * passes. What the peer has sent is then remembered, as far back as it may
 * refer to it: on a server with the default options at most 4 KiB of a client
 * that can limit itself, as browsers built on Chromium can, and 32 KiB of one
 * that cannot; nothing with `clientNoContextTakeover`. Compressors take 230 KiB
 * each and decompressors 45 KiB, but do not belong to connections:
 * {@linkcode PermessageDeflateOptions.maxContexts} of them are kept for those
 * that have sent or received last. A message that has come in part keeps one
 * until it is complete; {@linkcode PermessageDeflateOptions.maxUnfinished} says
 * how many of them there may be.
 *
 * Time: to compress and decompress takes 15 and 7 µs for 100 bytes of JSON, 20
 * and 13 µs for 400 bytes, 70 and 30 µs for 4 KiB, and goes on while nothing
 * else does: more than all the rest that is done with a message. It is a third
 * to two thirds of what npm's `ws` takes with Node.
 *
 * ### What it gives away
 *
 * How long a compressed message is tells something about what is in it. Where
 * a secret is sent together with what others can choose, and somebody can watch
 * the lengths, send it with `{ compress: false }` (RFC 7692 §8, CRIME).
 *
 * @example Compression both ways
 * ```ts
 * import { accept, connect } from "@sansio/websocket";
 * import { permessageDeflate } from "@sansio/websocket/deflate";
 * import { duplexPair } from "@sansio/websocket/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const extensions = [permessageDeflate()];
 * const [here, there] = duplexPair();
 * const accepting = accept(here, { extensions });
 * const client = await connect("ws://test/", {
 *   extensions,
 *   dial: () => there,
 * });
 * const server = await accepting;
 * assertEquals(client.extension?.name, "permessage-deflate");
 *
 * await server.send("tick, tock, ".repeat(1000));
 * assertEquals(await client.receive(), "tick, tock, ".repeat(1000));
 * await client.close();
 * ```
 *
 * @example What it saves
 * ```ts
 * import { permessageDeflate } from "@sansio/websocket/deflate";
 * import { WebSocketProtocol } from "@sansio/websocket/protocol";
 * import { assert } from "@std/assert";
 *
 * const extension = permessageDeflate().accept([]);
 * const server = new WebSocketProtocol({ role: "server", extension });
 * const price = JSON.stringify({ stock: "TEA", price: 12.5, change: -0.25 });
 * const sizes = Array.from({ length: 3 }, () => {
 *   server.sendText(price, { compress: true });
 *   return server.takeOutput()!.length;
 * });
 * // What was sent before is the context of what follows.
 * assert(sizes[0]! < price.length + 10);
 * assert(sizes[1]! < 20 && sizes[2]! < 20);
 * ```
 *
 * @module
 */

import {
  acceptOffer,
  confirmResponse,
  type DeflateDemands,
  MAX_WINDOW_BITS,
  offerParameters,
} from "./_deflate_parameters.ts";
import {
  DeflateSession,
  NAME,
  type SessionResources,
  spareDeflaters,
  spareInflaters,
} from "./_deflate_session.ts";
import { chooseDeflater } from "./_deflater.ts";
import type {
  Extension,
  ExtensionParameters,
  NegotiatedExtension,
} from "./extension.ts";
import { Inflater } from "./_inflater.ts";
import { Leases } from "./_leases.ts";
import { assertAtLeast } from "./_at_least.ts";
import { Line } from "./_line.ts";

/**
 * Options of {@linkcode permessageDeflate}. Those that begin with `server` or
 * `client` are named after the parameters in RFC 7692 §7.1, and mean the same
 * at both ends: how that side compresses.
 *
 * @example Little memory for many connections
 * ```ts
 * import {
 *   permessageDeflate,
 *   type PermessageDeflateOptions,
 * } from "@sansio/websocket/deflate";
 * import { assertEquals } from "@std/assert";
 *
 * const options: PermessageDeflateOptions = {
 *   serverNoContextTakeover: true,
 *   clientNoContextTakeover: true,
 *   threshold: 1024, // leave alone what fits a packet
 * };
 * assertEquals(permessageDeflate(options).accept([])?.parameters, [
 *   ["server_no_context_takeover", undefined],
 *   ["client_no_context_takeover", undefined],
 * ]);
 * ```
 */
export interface PermessageDeflateOptions {
  /**
   * The shortest message to compress unless its sender says otherwise, in
   * bytes. Shorter ones save little, and none of them fills a packet. Nor are
   * those above 256 KiB compressed unless their sender says so: everything else
   * would have to wait for up to a quarter of a second for each MiB.
   *
   * @default {128 with context takeover, 512 without}
   */
  threshold?: number | undefined;
  /**
   * How hard to look for repetition, from 1 (fast) to 9.
   *
   * @default {6 where `node:zlib` can be used, 3 where pako does the work}
   */
  level?: number | undefined;
  /**
   * How much memory a compressor uses beside its window, from 1 to 9: 8 takes
   * 128 KiB, and each step less halves it, at the cost of time and of bytes.
   *
   * @default {8}
   */
  memLevel?: number | undefined;
  /**
   * Whether the server compresses each message by itself
   * (`server_no_context_takeover`). It then needs no memory between messages,
   * and a prepared message is compressed once for all connections; short
   * messages become about twice as large as they would be with context. A server
   * does so, a client asks for it, and fails the connection if it is refused.
   *
   * @default {false}
   */
  serverNoContextTakeover?: boolean | undefined;
  /**
   * Whether the client compresses each message by itself
   * (`client_no_context_takeover`). A server need not remember what the client
   * has sent: up to 32 KiB. A client does so, a server demands it.
   *
   * @default {false}
   */
  clientNoContextTakeover?: boolean | undefined;
  /**
   * How far back the server may refer, as the base-2 logarithm of bytes, from 9
   * to 15 (`server_max_window_bits`). It is what a client has to remember of
   * each connection; for a server, a small part of what compressors take.
   * A server keeps to it, a client asks for it, and fails the connection if it
   * is refused. An offer of 8, which is legal, is declined: no compressor here
   * can keep to it.
   *
   * @default {15, 32 KiB}
   */
  serverMaxWindowBits?: number | undefined;
  /**
   * How far back the client may refer, as the base-2 logarithm of bytes, from 9
   * to 15 (`client_max_window_bits`). It is what a server has to remember of
   * each connection. A client keeps to it, a server demands it; of a client that
   * cannot limit its window, such as Firefox, a server to which this is given
   * demands no context takeover instead.
   *
   * @default {for a client 15; for a server 12, 4 KiB, of clients that offer it}
   */
  clientMaxWindowBits?: number | undefined;
  /**
   * For how many connections compressors keep their context at the same time,
   * of all that are negotiated through one object: 230 KiB for each (with pako
   * 40 to 265, by window and `memLevel`), and 45 KiB for their decompressors.
   * If more connections send, the one that has not sent for longest gives its
   * compressor up, and its next message is compressed as if it were the first:
   * it becomes larger, and takes 10 µs more. The same with decompressors, which
   * lose nothing by it.
   *
   * @default {256}
   */
  maxContexts?: number | undefined;
  /**
   * How many compressed messages may be unfinished at the same time, of all
   * connections that are negotiated through one object. From its first part to
   * its last, each keeps a decompressor, 45 to 90 KiB, however short it is. One
   * more takes that of the message that has waited longest for its next part,
   * whose connection fails with 1013 if that part comes.
   *
   * @default {4096}
   */
  maxUnfinished?: number | undefined;
}

// With a window of 4 KiB, JSON messages take a fifth more bytes than with 32
// KiB.
const CLIENT_WINDOW_BITS = 12;

const THRESHOLD = { contextTakeover: 128, noContextTakeover: 512 };

/**
 * The extension permessage-deflate, to be given to `accept()` or `connect()`.
 *
 * @param options How to compress, and what to demand. One object with its
 * options can serve both ends, and any number of connections, which then share
 * its memory.
 * @returns The extension, for the option `extensions`.
 * @throws {RangeError} If an option is out of range.
 *
 * @example What is offered, and what is answered (RFC 7692 §7.1)
 * ```ts
 * import { permessageDeflate } from "@sansio/websocket/deflate";
 * import { assertEquals } from "@std/assert";
 *
 * const extension = permessageDeflate({ serverNoContextTakeover: true });
 * assertEquals(extension.offers(), [[
 *   ["server_no_context_takeover", undefined],
 *   ["client_max_window_bits", undefined],
 * ]]);
 * const negotiated = extension.accept([["server_max_window_bits", "10"]]);
 * assertEquals(negotiated?.parameters, [
 *   ["server_no_context_takeover", undefined],
 *   ["server_max_window_bits", "10"],
 * ]);
 * ```
 */
export function permessageDeflate(
  options: PermessageDeflateOptions = {},
): Extension {
  return new PermessageDeflate(options);
}

class PermessageDeflate implements Extension {
  readonly name = NAME;
  readonly #demands: DeflateDemands;
  readonly #resources: SessionResources;

  constructor(options: PermessageDeflateOptions) {
    const { level, memLevel = 8, maxContexts = 256, threshold } = options;
    assertInteger("level", level, 1, 9);
    assertInteger("memLevel", memLevel, 1, 9);
    const { maxUnfinished = 4096 } = options;
    assertAtLeast("maxContexts", maxContexts, 0);
    assertAtLeast("maxUnfinished", maxUnfinished, 1);
    const { serverMaxWindowBits, clientMaxWindowBits } = options;
    assertInteger("serverMaxWindowBits", serverMaxWindowBits, 9, 15);
    assertInteger("clientMaxWindowBits", clientMaxWindowBits, 9, 15);
    assertAtLeast("threshold", threshold, 0);
    this.#demands = {
      serverNoContextTakeover: options.serverNoContextTakeover ?? false,
      clientNoContextTakeover: options.clientNoContextTakeover ?? false,
      serverMaxWindowBits: serverMaxWindowBits === MAX_WINDOW_BITS
        ? undefined
        : serverMaxWindowBits,
      clientMaxWindowBits,
    };
    const settingsKey = `${level}; ${memLevel}`;
    this.#resources = {
      deflaters: new Leases({
        capacity: maxContexts,
        spares: spareDeflaters,
        kind: settingsKey,
        make: (windowBits) => chooseDeflater()({ level, memLevel, windowBits }),
      }),
      inflaters: new Leases({
        capacity: maxContexts,
        spares: spareInflaters,
        kind: "",
        make: (windowBits) => new Inflater(windowBits),
      }),
      unfinished: { line: new Line(), most: maxUnfinished },
      settingsKey,
      threshold: threshold === undefined ? THRESHOLD : {
        contextTakeover: threshold,
        noContextTakeover: threshold,
      },
    };
  }

  offers(): ExtensionParameters[] {
    return [offerParameters(this.#demands)];
  }

  accept(offer: ExtensionParameters): NegotiatedExtension | undefined {
    const agreement = acceptOffer(offer, this.#demands, CLIENT_WINDOW_BITS);
    return agreement && new DeflateSession(agreement, this.#resources);
  }

  confirm(response: ExtensionParameters): NegotiatedExtension {
    const agreement = confirmResponse(response, this.#demands);
    return new DeflateSession(agreement, this.#resources);
  }
}

function assertInteger(
  name: string,
  value: number | undefined,
  least: number,
  most: number,
): void {
  if (value === undefined) return;
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new RangeError(
    `${name} must be an integer from ${least} to ${most} (${value})`,
  );
}
