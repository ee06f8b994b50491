/**
 * Listens in on a connection: finds the handshake and the frames in the bytes
 * that pass, and changes nothing. The tour shows what it sees.
 *
 * @module
 */
import type { Extension, NegotiatedExtension } from "../../extension.ts";
import {
  decodeFrameHeader,
  type FrameHeader,
  mask,
  MAX_FRAME_HEADER_LENGTH,
} from "../../frame.ts";
import {
  parseExtensions,
  parseRequestHead,
  parseResponseHead,
} from "../../handshake.ts";
import { Tap } from "../_tap.ts";

/** The sender of a frame. */
export type Sender = "client" | "server";

/** The heads of an opening handshake. */
export interface Handshake {
  /** Path and query that were asked for. */
  readonly target: string;
  /** The request, byte for byte. */
  readonly request: string;
  /** The response, byte for byte. */
  readonly response: string;
  /** `Sec-WebSocket-Key` of the request. */
  readonly key: string;
  /** `Sec-WebSocket-Accept` of the response. */
  readonly accept: string;
}

/** One frame as it passed. */
export interface SeenFrame {
  readonly from: Sender;
  /** The header, and as much of the payload as is kept, as on the wire. */
  readonly wire: Uint8Array<ArrayBuffer>;
  /** What came out of a compressed payload. */
  readonly inflated?: Inflated | undefined;
}

/** What came out of a compressed payload. */
export interface Inflated {
  /** Its length, in bytes. */
  readonly length: number;
  /** Its beginning, as much of it as is kept. */
  readonly start: Uint8Array<ArrayBuffer>;
}

/** Options of {@linkcode Wiretap}. */
export interface WiretapOptions {
  /** How much of a payload is kept, in bytes. */
  keep: number;
  /** The extensions that the server supports. */
  extensions?: readonly Extension[];
  /**
   * Called when a connection becomes a WebSocket.
   *
   * @returns The receiver of its frames; `undefined` to stop listening.
   */
  onUpgrade(handshake: Handshake): ((frame: SeenFrame) => void) | undefined;
}

// More than a head may have. Longer uploads are not looked at.
const MAX_REQUEST_LENGTH = 64 * 1024;

const MAX_INFLATED_LENGTH = 64 * 1024 * 1024;

// How much is looked at before the time is, in bytes: deflate makes at most 1,032
// times as much of it.
const SLICE = 1024;

// For how long it may work, in milliseconds, before others get a turn.
const TURN = 10;

const SWITCHING = new TextEncoder().encode("HTTP/1.1 101 ");

/** Looks at the bytes that pass. */
export class Wiretap extends Tap {
  readonly #options: WiretapOptions;
  #request: Uint8Array | undefined = new Uint8Array(0);
  #cutters: Record<Sender, FrameCutter> | undefined;
  // How many of the bytes to be written have been looked at already.
  #ahead = 0;

  constructor(conn: Deno.Conn, options: WiretapOptions) {
    super(conn);
    this.#options = options;
  }

  override async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    const length = await super.read(into);
    // Now: the connection is about to unmask these bytes in place.
    if (length !== null) await this.#onRead(into.subarray(0, length));
    return length;
  }

  override async write(bytes: Uint8Array): Promise<number> {
    // Before the peer can answer. Bytes that are not written come here again.
    await this.#onWrite(bytes.subarray(this.#ahead));
    this.#ahead = bytes.length;
    const length = await super.write(bytes);
    this.#ahead -= length;
    return length;
  }

  override close(): void {
    this.#cutters?.client.close();
    this.#cutters?.server.close();
    super.close(); // throws if it is closed already
  }

  async #onRead(bytes: Uint8Array): Promise<void> {
    if (this.#cutters !== undefined) await cut(this.#cutters.client, bytes);
    if (this.#request === undefined) return;
    if (this.#request.length + bytes.length > MAX_REQUEST_LENGTH) {
      this.#request = undefined;
    } else {
      this.#request = concat(this.#request, bytes);
    }
  }

  async #onWrite(bytes: Uint8Array): Promise<void> {
    if (this.#cutters !== undefined) await cut(this.#cutters.server, bytes);
    if (this.#request === undefined) return;
    const request = this.#request;
    const isUpgrade = SWITCHING.every((byte, i) => bytes[i] === byte);
    // After a page, another request may come on the same connection.
    this.#request = isUpgrade ? undefined : new Uint8Array(0);
    if (!isUpgrade) return;
    try {
      await this.#onUpgrade(request, bytes);
    } catch {
      // It is no head: nothing is shown, but everything is served.
    }
  }

  async #onUpgrade(sent: Uint8Array, answered: Uint8Array): Promise<void> {
    const request = parseRequestHead(sent);
    const response = parseResponseHead(answered);
    if (request === undefined || response === undefined) return;
    const onFrame = this.#options.onUpgrade({
      target: request.target,
      request: latin1(sent.subarray(0, request.byteLength)),
      response: latin1(answered.subarray(0, response.byteLength)),
      key: request.headers.get("sec-websocket-key") ?? "",
      accept: response.headers.get("sec-websocket-accept") ?? "",
    });
    if (onFrame === undefined) return;
    const { keep, extensions = [] } = this.#options;
    const inflaters = mirror(request.headers, response.headers, extensions);
    const cutter = (from: Sender): FrameCutter =>
      new FrameCutter(keep, inflaters[from], (wire, inflated) => {
        onFrame({ from, wire, inflated });
      });
    this.#cutters = { client: cutter("client"), server: cutter("server") };
    await cut(this.#cutters.client, sent.subarray(request.byteLength));
    await cut(this.#cutters.server, answered.subarray(response.byteLength));
  }
}

/** Cuts bytes into frames, and gives others a turn when that takes long. */
async function cut(cutter: FrameCutter, bytes: Uint8Array): Promise<void> {
  let end = performance.now() + TURN;
  for (let at = 0; at < bytes.length; at += SLICE) {
    cutter.push(bytes.subarray(at, at + SLICE));
    if (performance.now() < end) continue;
    await new Promise((resolve) => setTimeout(resolve, 0));
    end = performance.now() + TURN;
  }
}

/**
 * A second instance of the negotiated extension for each direction: to inflate
 * what passes without touching the state of the connection's own.
 */
function mirror(
  request: Headers,
  response: Headers,
  extensions: readonly Extension[],
): Partial<Record<Sender, NegotiatedExtension | undefined>> {
  const name = "sec-websocket-extensions";
  const offered = request.get(name);
  const answered = response.get(name);
  if (offered === null || answered === null) return {};
  try {
    const [agreed] = parseExtensions(answered);
    const extension = extensions.find((it) => it.name === agreed?.name);
    if (agreed === undefined || extension === undefined) return {};
    const offers = parseExtensions(offered)
      .filter((offer) => offer.name === agreed.name)
      .map((offer) => extension.accept(offer.parameters));
    return {
      client: offers.find((it) => it !== undefined),
      server: extension.confirm(agreed.parameters),
    };
  } catch {
    return {}; // Then compressed payloads are shown as they are.
  }
}

/** Cuts a stream of bytes into frames, in constant memory. */
export class FrameCutter {
  readonly #keep: number;
  readonly #onFrame: (
    wire: Uint8Array<ArrayBuffer>,
    inflated: Inflated | undefined,
  ) => void;
  // A header, and what is kept of its payload.
  readonly #wire: Uint8Array<ArrayBuffer>;
  #length = 0;
  #header: FrameHeader | undefined;
  #payloadLength = 0;
  #isBroken = false;

  #inflater: NegotiatedExtension | undefined;
  #isInflating = false;
  #inflated: InflatedStart | undefined;

  constructor(
    keep: number,
    inflater: NegotiatedExtension | undefined,
    onFrame: (
      wire: Uint8Array<ArrayBuffer>,
      inflated: Inflated | undefined,
    ) => void,
  ) {
    this.#keep = keep;
    this.#inflater = inflater;
    this.#onFrame = onFrame;
    this.#wire = new Uint8Array(MAX_FRAME_HEADER_LENGTH + keep);
  }

  /** Takes the next bytes of the stream; they are not changed. */
  push(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0 && !this.#isBroken) {
      rest = this.#header === undefined
        ? this.#pushHeader(rest)
        : this.#pushPayload(rest, this.#header);
      if (this.#header?.payloadLength === this.#payloadLength) {
        this.#finish(this.#header);
      }
    }
  }

  /** Takes no more, and gives back the memory of a message that has not ended. */
  close(): void {
    this.#isBroken = true;
    this.#inflater?.dispose?.();
  }

  #pushHeader(bytes: Uint8Array): Uint8Array {
    const before = this.#length;
    const taken = bytes.subarray(0, MAX_FRAME_HEADER_LENGTH - before);
    this.#wire.set(taken, before);
    this.#length += taken.length;
    try {
      this.#header = decodeFrameHeader(this.#wire.subarray(0, this.#length));
    } catch {
      this.#isBroken = true; // The connection fails at the same byte.
    }
    if (this.#header === undefined) return bytes.subarray(taken.length);
    this.#length = this.#header.byteLength;
    this.#begin(this.#header);
    return bytes.subarray(this.#length - before);
  }

  #begin({ opcode, reservedBits }: FrameHeader): void {
    if (opcode & 0x8 || this.#inflater === undefined) return;
    if (opcode !== 0) {
      this.#isInflating = (reservedBits & this.#inflater.reservedBits) !== 0;
    }
    if (this.#isInflating) this.#inflated = new InflatedStart(this.#keep);
  }

  #pushPayload(bytes: Uint8Array, header: FrameHeader): Uint8Array {
    const missing = header.payloadLength - this.#payloadLength;
    const part = bytes.subarray(0, missing);
    const kept = part.subarray(
      0,
      Math.max(0, this.#keep - this.#payloadLength),
    );
    this.#wire.set(kept, this.#length);
    this.#length += kept.length;
    if (this.#inflated !== undefined) this.#inflate(part, header, false);
    this.#payloadLength += part.length;
    return bytes.subarray(part.length);
  }

  #inflate(part: Uint8Array, header: FrameHeader, fin: boolean): void {
    const copy = part.slice();
    if (header.maskingKey !== undefined) {
      mask(copy, header.maskingKey, this.#payloadLength);
    }
    try {
      this.#inflater?.decode(copy, fin, (piece) => this.#inflated!.push(piece));
    } catch {
      this.#inflater = this.#inflated = undefined;
    }
  }

  #finish(header: FrameHeader): void {
    if (this.#inflated !== undefined && header.fin) {
      this.#inflate(new Uint8Array(0), header, true);
    }
    this.#onFrame(this.#wire.slice(0, this.#length), this.#inflated);
    this.#header = this.#inflated = undefined;
    this.#length = this.#payloadLength = 0;
  }
}

class InflatedStart implements Inflated {
  readonly #keep: number;
  #start = new Uint8Array(0);
  length = 0;

  constructor(keep: number) {
    this.#keep = keep;
  }

  get start(): Uint8Array<ArrayBuffer> {
    return this.#start;
  }

  push(piece: Uint8Array): void {
    const room = this.#keep - this.#start.length;
    if (room > 0) this.#start = concat(this.#start, piece.subarray(0, room));
    this.length += piece.length;
    if (this.length > MAX_INFLATED_LENGTH) throw new RangeError("Too much");
  }
}

function concat(
  left: Uint8Array,
  right: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(left.length + right.length);
  whole.set(left);
  whole.set(right, left.length);
  return whole;
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
