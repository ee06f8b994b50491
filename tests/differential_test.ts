/**
 * Random streams of frames, right and wrong, cut at random, given to
 * {@linkcode WebSocketProtocol} and to the receiver of npm `ws`: messages and
 * verdicts have to agree, except where {@linkcode STRICTER} says so.
 */
import { assert, assertEquals } from "@std/assert";
import { Receiver } from "ws";
import {
  encodeFrameHeader,
  isValidCloseCode,
  mask,
  ProtocolError,
  type ProtocolErrorKind,
  type Role,
} from "../frame.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { concat } from "./_bytes.ts";
import { fc, property } from "./_property.ts";

const LIMIT = 5000;

/**
 * Where we fail a connection that `ws` does not, or not yet, each with the
 * sentence of RFC 6455 that asks for it.
 */
const STRICTER: Partial<Record<ProtocolErrorKind, string>> = {
  "length-not-minimal":
    "§5.2: Note that in all cases, the minimal number of bytes MUST be used to encode the length",
  "length-too-large": "§5.2: the most significant bit MUST be 0",
  "invalid-utf8":
    "§8.1: When an endpoint [...] finds that the byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_ (`ws` looks when the message is complete)",
};

/**
 * `ws` judges a Close frame of one byte, and a message that is too big, before
 * the header is complete; we a few bytes later. So a stream that is cut off there
 * is continued in one way.
 */
const LAST_BYTES = new Uint8Array(5);

type Seen = [type: string, data: string];
type Verdict = "open" | `closed ${number} ${string}` | `failed ${number}`;

interface Outcome {
  events: Seen[];
  verdict: Verdict;
  kind?: ProtocolErrorKind;
}

/** Latin-1, so that any bytes can be compared, and read in a report. */
function shown(data: Uint8Array): string {
  return Array.from(data, (byte) => String.fromCharCode(byte)).join("");
}

function ours(role: Role, parts: Uint8Array<ArrayBuffer>[]): Outcome {
  const protocol = new WebSocketProtocol({
    role,
    maxMessageSize: LIMIT,
    textAs: "bytes",
  });
  const events: Seen[] = [];
  for (const part of parts) {
    for (const event of protocol.receive(part)) {
      if (event.type !== "close") {
        events.push([event.type, shown(event.data as Uint8Array)]);
        continue;
      }
      const { code, reason, wasClean, error } = event;
      if (wasClean) return { events, verdict: `closed ${code} ${reason}` };
      assert(error instanceof ProtocolError, `${error}`);
      assert(isValidCloseCode(code));
      return { events, verdict: `failed ${code}`, kind: error.kind };
    }
  }
  return { events, verdict: "open" };
}

interface WsError extends Error {
  [status: symbol]: number;
}

function theirs(role: Role, parts: Uint8Array[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const receiver = new (Receiver as unknown as {
      new (options: object): {
        on(event: string, listener: (...values: never[]) => void): void;
        write(bytes: Uint8Array, done: (error?: Error | null) => void): void;
      };
    })({ isServer: role === "server", maxPayload: LIMIT });
    const events: Seen[] = [];
    let isOver = false;
    const end = (verdict: Verdict) => {
      isOver = true;
      resolve({ events, verdict });
    };
    receiver.on("message", (data: Uint8Array, isBinary: boolean) => {
      events.push([isBinary ? "binary" : "text", shown(data)]);
    });
    for (const type of ["ping", "pong"]) {
      receiver.on(type, (data: Uint8Array) => {
        events.push([type, shown(data)]);
      });
    }
    receiver.on("conclude", (code: number, reason: Uint8Array) => {
      end(`closed ${code} ${new TextDecoder().decode(reason)}`);
    });
    receiver.on("error", (error: WsError) => {
      const [status] = Object.getOwnPropertySymbols(error)
        .filter((symbol) => symbol.description === "status-code");
      end(`failed ${error[status!]!}`);
    });
    const writeFrom = (index: number) => {
      if (isOver) return;
      const part = parts[index];
      if (part === undefined) end("open");
      else {
        receiver.write(part, (error) => {
          // The event comes after it.
          if (!error) writeFrom(index + 1);
        });
      }
    };
    writeFrom(0);
  });
}

// Streams

interface Frame {
  fin: boolean;
  reservedBits: number;
  opcode: number;
  isMasked: boolean;
  payload: Uint8Array;
  /** How many bytes the length takes; 0 for as few as possible. */
  lengthBytes: 0 | 2 | 8;
  /** The length's first byte, if it takes eight. */
  lengthTop?: number;
}

function encode(frame: Frame): Uint8Array<ArrayBuffer> {
  const { fin, reservedBits, opcode, isMasked, lengthBytes } = frame;
  const maskingKey = isMasked ? 0x37fa213d : undefined;
  const payload = frame.payload.slice();
  if (maskingKey !== undefined) mask(payload, maskingKey);
  const header = encodeFrameHeader({
    fin,
    reservedBits,
    opcode,
    maskingKey,
    payloadLength: payload.length,
  });
  if (lengthBytes === 0 || payload.length > 125) return concat(header, payload);
  const length = new Uint8Array(lengthBytes);
  length[lengthBytes - 1] = payload.length;
  if (lengthBytes === 8) length[0] = frame.lengthTop ?? 0;
  const second = lengthBytes === 2 ? 126 : 127;
  return concat(
    header.subarray(0, 1),
    new Uint8Array([header[1]! & 0x80 | second]),
    length,
    header.subarray(2),
    payload,
  );
}

const utf8Bytes = fc.string({ unit: "binary", maxLength: 30 })
  .map((text) => new TextEncoder().encode(text));
const somePayload = fc.oneof(
  { weight: 6, arbitrary: utf8Bytes },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 100, max: 3000 })
      .map((length) => new Uint8Array(length).fill(0x41)),
  },
);
const closePayload = fc.oneof(
  fc.constant(new Uint8Array(0)),
  fc.uint8Array({ maxLength: 3 }),
  fc.tuple(
    fc.oneof(
      fc.constantFrom(1000, 1001, 1005, 1012, 1014, 1015, 2999, 3000, 4999),
      fc.integer({ min: 990, max: 1020 }),
      fc.nat(65535),
    ),
    somePayload,
  ).map(([code, reason]) =>
    concat(new Uint8Array([code >> 8, code & 255]), reason.subarray(0, 123))
  ),
);

function frames(role: Role): fc.Arbitrary<Frame[]> {
  const isMasked = role === "server";
  const good = { reservedBits: 0, isMasked, lengthBytes: 0 as const };
  const control: fc.Arbitrary<Frame> = fc.record({
    opcode: fc.constantFrom(9, 10),
    payload: somePayload.map((payload) => payload.subarray(0, 125)),
  }).map((it) => ({ ...good, fin: true, ...it }));
  const message = fc.record({
    opcode: fc.constantFrom(1, 2),
    whole: somePayload,
    cuts: fc.array(fc.nat(60), { maxLength: 4 }),
    controls: fc.array(control, { maxLength: 2 }),
  }).map(({ opcode, whole, cuts, controls }) => {
    const ends = [...cuts.map((cut) => Math.min(cut, whole.length))]
      .sort((a, b) => a - b);
    ends.push(whole.length);
    return ends.flatMap((end, i): Frame[] => [
      {
        ...good,
        fin: i === ends.length - 1,
        opcode: i === 0 ? opcode : 0,
        payload: whole.subarray(ends[i - 1] ?? 0, end),
      },
      ...i < controls.length ? [controls[i]!] : [],
    ]);
  });
  const closing: fc.Arbitrary<Frame[]> = closePayload
    .map((payload) => [{ ...good, fin: true, opcode: 8, payload }]);
  const wild: fc.Arbitrary<Frame[]> = fc.record({
    fin: fc.boolean(),
    reservedBits: fc.oneof(
      { weight: 6, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.nat(7) },
    ),
    opcode: fc.oneof(fc.constantFrom(0, 1, 2, 8, 9, 10), fc.nat(15)),
    isMasked: fc.oneof(
      { weight: 8, arbitrary: fc.constant(isMasked) },
      { weight: 1, arbitrary: fc.constant(!isMasked) },
    ),
    payload: somePayload,
    lengthBytes: fc.constantFrom(0, 0, 0, 0, 0, 0, 2, 8),
    lengthTop: fc.constantFrom(0, 0, 1, 0x80, 0xff),
  }).map((frame) => [frame]);
  return fc.array(
    fc.oneof(
      { weight: 10, arbitrary: message },
      { weight: 3, arbitrary: control.map((frame) => [frame]) },
      { weight: 1, arbitrary: closing },
      { weight: 2, arbitrary: wild },
    ),
    { maxLength: 8 },
  ).map((list) => list.flat());
}

interface Mutation {
  at: number;
  to: number;
  how: "set" | "flip" | "delete" | "insert" | "cut off";
}

function mutated(
  bytes: Uint8Array<ArrayBuffer>,
  mutations: Mutation[],
): Uint8Array<ArrayBuffer> {
  for (const { at, to, how } of mutations) {
    if (bytes.length === 0) return bytes;
    const i = at % bytes.length;
    if (how === "set") bytes[i] = to;
    else if (how === "flip") bytes[i]! ^= 1 << to % 8;
    else if (how === "cut off") bytes = bytes.slice(0, i);
    else {
      bytes = concat(
        bytes.subarray(0, i),
        new Uint8Array(how === "insert" ? [to] : []),
        bytes.subarray(how === "insert" ? i : i + 1),
      );
    }
  }
  return bytes;
}

const mutations = fc.oneof(
  fc.constant<Mutation[]>([]),
  fc.array(
    fc.record({
      at: fc.nat(10_000),
      to: fc.nat(255),
      how: fc.constantFrom("set", "flip", "delete", "insert", "cut off"),
    }),
    { maxLength: 3 },
  ),
);

function cut(
  bytes: Uint8Array<ArrayBuffer>,
  sizes: number[],
): Uint8Array<ArrayBuffer>[] {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = sizes[parts.length % sizes.length] ?? bytes.length;
    parts.push(bytes.slice(at, at + size));
    at += size;
  }
  return parts;
}

function assertAgree(mine: Outcome, other: Outcome): void {
  const { kind, ...rest } = mine;
  try {
    assertEquals<Outcome>(rest, other);
  } catch (error) {
    if (kind === undefined || STRICTER[kind] === undefined) throw error;
    // What came before has to agree as well.
    assertEquals(other.events.slice(0, mine.events.length), mine.events);
    if (kind !== "invalid-utf8") return;
    // And `ws` must not have accepted what we have refused.
    for (const [type] of other.events.slice(mine.events.length)) {
      assert(type === "ping" || type === "pong", `it took a ${type}`);
    }
  }
}

for (const role of ["server", "client"] as const) {
  property(
    `as a ${role}, we agree with ws on any stream of frames`,
    [
      frames(role),
      mutations,
      fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(5000)), {
        maxLength: 5,
      }),
    ],
    async (list, changes, sizes) => {
      const bytes = mutated(concat(...list.map(encode)), changes);
      const parts = cut(bytes, sizes);
      const copies = parts.map((part) => part.slice());
      const other = await theirs(role, copies);
      let mine = ours(role, parts);
      if (mine.verdict === "open" && other.verdict.startsWith("failed")) {
        mine = ours(role, [...cut(bytes, sizes), LAST_BYTES]);
      }
      assertAgree(mine, other);
    },
    5000,
  );
}

Deno.test("the streams are right and wrong in every way", async () => {
  const counts = new Map<string, number>();
  let agreed = 0;
  for (const role of ["server", "client"] as const) {
    const lists = fc.sample(fc.tuple(frames(role), mutations), 2000);
    for (const [list, changes] of lists) {
      const bytes = mutated(concat(...list.map(encode)), changes);
      const mine = ours(role, [bytes.slice()]);
      const other = await theirs(role, [bytes]);
      if (mine.verdict === other.verdict) agreed++;
      const verdict = mine.kind ?? mine.verdict.split(" ")[0]!;
      counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
      for (const [type] of mine.events) {
        counts.set(type, (counts.get(type) ?? 0) + 1);
      }
    }
  }
  for (
    const verdict of [
      ...["open", "closed", "text", "binary", "ping", "pong"],
      ...Object.keys(STRICTER),
    ]
  ) assert((counts.get(verdict) ?? 0) > 0, `none: ${verdict}`);
  assert(agreed > 3400, `only ${agreed} of 4000 agree`);
});
