/**
 * permessage-deflate on one connection.
 *
 * @module
 */

import type { DeflateAgreement } from "./_deflate_parameters.ts";
import type { Deflater } from "./_deflater.ts";
import type { ExtensionParameters, NegotiatedExtension } from "./extension.ts";
import { CloseCode, ProtocolError, RSV1 } from "./frame.ts";
import { History, type Inflater } from "./_inflater.ts";
import { type Leases, Spares } from "./_leases.ts";
import type { Line, Place } from "./_line.ts";

// How many compressors and decompressors are kept for no connection in
// particular. Connections without context takeover need one at a time.
const MAX_SPARES = 8;

/** Compressors that wait for work. */
export const spareDeflaters: Spares<Deflater> = new Spares(MAX_SPARES);

/** Decompressors that wait for work. */
export const spareInflaters: Spares<Inflater> = new Spares(MAX_SPARES);

/** The name in `Sec-WebSocket-Extensions` (RFC 7692 §7). */
export const NAME = "permessage-deflate";

/** What the connections of one {@linkcode Extension} have in common. */
export interface SessionResources {
  /** Compressors that are kept for connections. */
  deflaters: Leases<DeflateSession, Deflater>;
  /** Decompressors that are kept for connections. */
  inflaters: Leases<DeflateSession, Inflater>;
  /**
   * Sessions with an unfinished message, which keeps a decompressor: the one
   * that has waited longest for its next part comes first. And how many there
   * may be.
   */
  unfinished: { readonly line: Line<DeflateSession>; readonly most: number };
  /** Names the compressor's settings. */
  settingsKey: string;
  /** The shortest message to compress, in bytes, with and without context. */
  threshold: { contextTakeover: number; noContextTakeover: number };
}

// To compress 256 KiB takes up to 60 ms, during which nobody else is served.
// Longer messages are compressed only if their sender says so.
const LONGEST = 256 * 1024;

const NOTHING = new Uint8Array(0);

// §7.2.3.6: an empty block, its tail taken off.
const EMPTY_BLOCK = 0x00;

// 00 00 FF FF, which the receiver adds again (§7.2.1).
const TAIL_LENGTH = 4;

// Where a window of 256 bytes was agreed on, 512 are kept: the zlib of some
// peers uses no smaller one.
const MIN_WINDOW_BITS = 9;

/** permessage-deflate as agreed for one connection, with its state. */
export class DeflateSession implements NegotiatedExtension {
  readonly name = NAME;
  readonly parameters: ExtensionParameters;
  readonly reservedBits = RSV1;
  readonly sharingKey: string | undefined;

  readonly #resources: SessionResources;
  readonly #deflateBits: number;
  readonly #keepsOutgoing: boolean;
  readonly #threshold: number;

  readonly #inflateBits: number;
  readonly #history: History | undefined;
  // Held during a message; between messages another session may get it.
  #inflater: Inflater | undefined;
  #place: Place<DeflateSession> | undefined;
  #isTurnedOut = false;
  #output: ((piece: Uint8Array<ArrayBuffer>) => void) | undefined;

  /**
   * @param agreement What has been negotiated.
   * @param resources What it shares with other connections.
   */
  constructor(agreement: DeflateAgreement, resources: SessionResources) {
    const { parameters, outgoing, incoming } = agreement;
    this.parameters = parameters;
    this.#resources = resources;
    this.#deflateBits = outgoing.windowBits;
    this.#keepsOutgoing = outgoing.contextTakeover;
    this.sharingKey = outgoing.contextTakeover
      ? undefined
      : `${NAME}; ${resources.settingsKey}; ${outgoing.windowBits}`;
    this.#threshold = outgoing.contextTakeover
      ? resources.threshold.contextTakeover
      : resources.threshold.noContextTakeover;
    this.#inflateBits = Math.max(incoming.windowBits, MIN_WINDOW_BITS);
    this.#history = incoming.contextTakeover
      ? new History(1 << this.#inflateBits)
      : undefined;
  }

  wants(byteLength: number | undefined): boolean {
    return byteLength === undefined ||
      byteLength >= this.#threshold && byteLength <= LONGEST;
  }

  encode(
    data: Uint8Array,
    fin: boolean,
    whole: boolean,
  ): Uint8Array | undefined {
    if (data.length === 0) {
      if (whole) return undefined;
      if (!fin) return NOTHING;
      if (!this.#keepsOutgoing) this.#dropDeflater();
      return new Uint8Array([EMPTY_BLOCK]);
    }
    const { deflaters } = this.#resources;
    let deflater = deflaters.reclaim(this);
    if (deflater === undefined) {
      // What was sent so far ends with a block, at the boundary of a byte:
      // another compressor can go on from there.
      deflater = deflaters.borrow(this.#deflateBits);
      deflater.reset();
    }
    const deflated = deflater.deflate(data);
    if (this.#keepsOutgoing || !fin) deflaters.keep(this, deflater);
    else deflaters.giveBack(deflater);
    if (!fin) return deflated;
    const length = deflated.length - TAIL_LENGTH;
    // With context takeover the message has to go out compressed, even if that
    // is longer: the peer's window has to contain it, as this side's now does.
    if (whole && !this.#keepsOutgoing && length >= data.length) {
      return undefined;
    }
    return deflated.subarray(0, length);
  }

  decode(
    data: Uint8Array,
    fin: boolean,
    output: (piece: Uint8Array<ArrayBuffer>) => void,
  ): void {
    if (this.#isTurnedOut) throw this.#turnedOut();
    // An empty part needs no decompressor, and must not count as progress.
    if (data.length === 0 && !fin) return;
    if (!fin) this.#keepUnfinished();
    const inflater = this.#inflater ??= this.#claimInflater();
    this.#output = output;
    try {
      inflater.push(data, this.#takePiece);
      if (!fin) return;
      inflater.finish(this.#takePiece);
    } catch (error) {
      this.#returnInflater();
      throw error;
    } finally {
      this.#output = undefined;
    }
    if (this.#history === undefined) {
      this.#returnInflater();
    } else {
      this.#resources.inflaters.keep(this, inflater);
      this.#inflater = undefined;
      this.#endUnfinished();
    }
  }

  // In mid-message a decompressor holds state that is nowhere else, so it
  // cannot be given to another session. If there are too many, the one that has
  // waited longest is given up, not the newcomer: otherwise peers that begin
  // messages and never end them would lock everybody else out.
  #keepUnfinished(): void {
    const { line, most } = this.#resources.unfinished;
    if (this.#place !== undefined) line.leave(this.#place);
    else if (line.length >= most) line.first!.#turnOut();
    this.#place = line.enter(this);
  }

  #endUnfinished(): void {
    if (this.#place === undefined) return;
    this.#resources.unfinished.line.leave(this.#place);
    this.#place = undefined;
  }

  // The connection fails when its peer goes on with the message, and not
  // before: nothing else needs what was given up.
  #turnOut(): void {
    this.#isTurnedOut = true;
    this.#returnInflater();
  }

  #turnedOut(): ProtocolError {
    const { most } = this.#resources.unfinished;
    return new ProtocolError(
      `A compressed message came too slowly: others were in need of its memory (${most})`,
      { closeCode: CloseCode.TryAgainLater, kind: "extension" },
    );
  }

  idle(): void {
    this.#dropDeflater();
    // The history has all that the decompressor would remember.
    const { inflaters } = this.#resources;
    const inflater = inflaters.reclaim(this);
    if (inflater !== undefined) inflaters.giveBack(inflater);
  }

  dispose(): void {
    this.idle();
    this.#returnInflater();
    this.#history?.clear();
  }

  #dropDeflater(): void {
    const { deflaters } = this.#resources;
    const deflater = deflaters.reclaim(this);
    if (deflater !== undefined) deflaters.giveBack(deflater);
  }

  #claimInflater(): Inflater {
    const { inflaters } = this.#resources;
    const kept = inflaters.reclaim(this);
    if (kept !== undefined) return kept;
    const inflater = inflaters.borrow(this.#inflateBits);
    inflater.reset(this.#history?.parts());
    return inflater;
  }

  #returnInflater(): void {
    if (this.#inflater === undefined) return;
    this.#resources.inflaters.giveBack(this.#inflater);
    this.#inflater = undefined;
    this.#endUnfinished();
  }

  readonly #takePiece = (piece: Uint8Array<ArrayBuffer>): void => {
    this.#history?.append(piece);
    this.#output!(piece);
  };
}
