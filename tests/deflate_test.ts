/** permessage-deflate: RFC 7692 §7.2, limits, contexts, memory. */
import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  Z_DEFAULT_STRATEGY,
  Z_FINISH,
  Z_SYNC_FLUSH,
  zlibDeflate,
  zlibDeflateInit2,
  zlibDeflateSetDictionary,
  ZStream,
} from "pako";
import { permessageDeflate } from "../deflate.ts";
import type { ExtensionParameters, NegotiatedExtension } from "../extension.ts";
import { isUsable, type NodeStream, PakoDeflater } from "../_deflater.ts";
import { decodeFrameHeader, ProtocolError, type Role } from "../frame.ts";
import { History, Inflater, PIECE_SIZE } from "../_inflater.ts";
import { Leases, Spares } from "../_leases.ts";
import { Line, type Place } from "../_line.ts";
import { PreparedMessage } from "../prepared.ts";
import { type ProtocolEvent, WebSocketProtocol } from "../protocol.ts";
import { assertFault } from "./_assert.ts";
import { concat, fromBits, hex, pattern, utf8 } from "./_bytes.ts";
import {
  agree,
  COMPRESSORS,
  decodeAll,
  encodeWhole,
  noise,
  pair,
  PAYLOADS,
  session,
  sessionMaker,
  type SessionOptions,
} from "./_deflate.ts";
import { fc, property } from "./_property.ts";
import { inflateSlowly, Malformed } from "./_slow_inflate.ts";

const TAIL = hex`00 00 ff ff`;
const NAMES = Object.keys(COMPRESSORS);

/** Deflate data by itself, with what the tests need of pako. */
function deflate(
  data: Uint8Array,
  options: { dictionary?: Uint8Array; final?: boolean; level?: number } = {},
): Uint8Array<ArrayBuffer> {
  const stream = new ZStream();
  zlibDeflateInit2(stream, options.level ?? 6, 8, -15, 8, Z_DEFAULT_STRATEGY);
  if (options.dictionary !== undefined) {
    zlibDeflateSetDictionary(stream, options.dictionary);
  }
  stream.input = data;
  stream.avail_in = data.length;
  stream.output = new Uint8Array(data.length * 2 + 64);
  stream.avail_out = stream.output.length;
  zlibDeflate(stream, options.final ? Z_FINISH : Z_SYNC_FLUSH);
  return stream.output.slice(0, stream.next_out);
}

function assertMalformed(act: () => unknown, naming = "malformed"): void {
  assertFault(act, { kind: "extension", closeCode: 1007, naming });
}

/** Cuts bytes at the given places. */
function cut(bytes: Uint8Array, ...places: number[]): Uint8Array[] {
  return [0, ...places].map((from, i) => bytes.subarray(from, places[i]));
}

function eachByte(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
}

// --- RFC 7692 §7.2.3 -----------------------------------------------------

const HELLO = hex`f2 48 cd c9 c9 07 00`;
const HELLO_AGAIN = hex`f2 00 11 00 00`;
const EXAMPLES: [section: string, payload: Uint8Array<ArrayBuffer>][] = [
  ["§7.2.3.1, one block", HELLO],
  [
    "§7.2.3.3, a block without compression",
    hex`00 05 00 fa ff 48 65 6c 6c 6f 00`,
  ],
  ["§7.2.3.4, BFINAL", hex`f3 48 cd c9 c9 07 00 00`],
  ["§7.2.3.5, two blocks", hex`f2 48 05 00 00 00 ff ff ca c9 c9 07 00`],
];

for (const [section, payload] of EXAMPLES) {
  Deno.test(`${section}: says Hello, however it is cut`, () => {
    assertEquals(decodeAll(session(), payload), utf8("Hello"));
    for (let at = 0; at <= payload.length; at++) {
      const parts = cut(payload, at);
      assertEquals(decodeAll(session(), ...parts), utf8("Hello"), `at ${at}`);
    }
    assertEquals(decodeAll(session(), ...eachByte(payload)), utf8("Hello"));
  });
}

Deno.test("§7.2.3.1: two fragments in frames, as drawn", () => {
  const { server: extension } = pair();
  const client = new WebSocketProtocol({ role: "client", extension });
  const frames = hex`41 03 f2 48 cd  80 04 c9 c9 07 00`;
  assertEquals([...client.receive(frames)], [{ type: "text", data: "Hello" }]);
});

Deno.test("§7.2.3.2: a second message refers to the first", () => {
  const receiver = session();
  assertEquals(decodeAll(receiver, HELLO), utf8("Hello"));
  assertEquals(decodeAll(receiver, HELLO_AGAIN), utf8("Hello"));
  assertEquals(decodeAll(receiver, ...eachByte(HELLO_AGAIN)), utf8("Hello"));
});

Deno.test("§7.2.3.2: without context takeover it must not", () => {
  const receiver = session([["client_no_context_takeover", undefined]]);
  assertEquals(decodeAll(receiver, HELLO), utf8("Hello"));
  assertMalformed(() => decodeAll(receiver, HELLO_AGAIN), "too far back");
});

for (const compressor of NAMES) {
  Deno.test(`§7.2.3.1, §7.2.3.2: sent byte for byte (${compressor})`, () => {
    const keeping = pair({}, { compressor }).server;
    assertEquals(encodeWhole(keeping, utf8("Hello")), HELLO);
    assertEquals(encodeWhole(keeping, utf8("Hello")), HELLO_AGAIN);
    const { server } = pair({ serverNoContextTakeover: true }, { compressor });
    assertEquals(server.encode(utf8("Hello"), true, true), undefined); // no gain
    const longer = utf8("Hello".repeat(5));
    assertEquals(encodeWhole(server, longer), encodeWhole(server, longer));
  });
}

Deno.test("§7.2.3.6: an empty message is a zero byte, or none", () => {
  const receiver = session();
  assertEquals(decodeAll(receiver, hex`00`), hex``);
  assertEquals(decodeAll(receiver, hex``), hex``);
  assertEquals(decodeAll(receiver, hex``, hex``), hex``);
  assertEquals(decodeAll(receiver, hex``, hex`00`, hex``), hex``);
  assertEquals(decodeAll(receiver, HELLO), utf8("Hello"));
});

Deno.test("§7.2.3.6: an empty last fragment is sent as a zero byte", () => {
  const { server, client } = pair();
  const first = server.encode(utf8("Hello"), false, false)!;
  const last = server.encode(hex``, true, false)!;
  assertEquals(last, hex`00`);
  assertEquals(decodeAll(client, first, last), utf8("Hello"));
  assertEquals(server.encode(hex``, false, false), hex``);
  assertEquals(server.encode(hex``, true, true), undefined);
});

// --- Blocks that are marked as the last ----------------------------------

Deno.test("after BFINAL the window goes on, in the message and after it", () => {
  const receiver = session();
  const first = utf8("Hello, world. ".repeat(10));
  const second = utf8("world, Hello. ".repeat(10));
  const both = concat(first, second);
  // One message of two finished streams, then one that refers to both.
  const message = concat(
    deflate(first, { final: true }),
    deflate(second, { final: true, dictionary: first }),
  );
  for (const end of [hex``, hex`00`]) {
    assertEquals(decodeAll(receiver, concat(message, end)), both);
    assertEquals(
      decodeAll(receiver, ...eachByte(concat(message, end))),
      both,
    );
    const third = deflate(both, { dictionary: both }).slice(0, -4);
    assertEquals(third.length < 12, true);
    assertEquals(decodeAll(receiver, third), both);
  }
});

Deno.test("BFINAL in a block without compression, ended by the tail", () => {
  const receiver = session();
  assertEquals(decodeAll(receiver, hex`01`), hex``);
  assertEquals(decodeAll(receiver, hex`01`), hex``);
  assertEquals(decodeAll(receiver, HELLO), utf8("Hello"));
});

Deno.test("some last blocks more than needed are let through", () => {
  const receiver = session();
  const empty = concat(...Array.from({ length: 15 }, () => hex`03 00`));
  for (let round = 0; round < 3; round++) {
    assertEquals(decodeAll(receiver, empty, HELLO), utf8("Hello"));
  }
  const long = concat(
    ...Array.from({ length: 100 }, () => deflate(noise(100), { final: true })),
  );
  assertEquals(decodeAll(receiver, long).length, 10_000);
});

Deno.test("a message made of last blocks, to take time, fails with 1008", () => {
  const empty = Uint8Array.from({ length: 1 << 20 }, (_, i) => i % 2 ? 0 : 3);
  const some = empty.subarray(0, 60);
  for (const parts of [[empty], cut(empty, 30), eachByte(some)]) {
    assertFault(() => decodeAll(session(), ...parts), {
      kind: "extension",
      closeCode: 1008,
      naming: "last blocks in a compressed message (17)",
    });
  }
});

// --- What is malformed ---------------------------------------------------

const MALFORMED: [what: string, payload: Uint8Array][] = [
  ["a block of the reserved type", hex`06`],
  ["a block of the reserved type, after a good one", concat(HELLO, hex`ff`)],
  ["stored lengths that do not agree", hex`00 05 00 05 00 48`],
  ["a distance before the beginning", HELLO_AGAIN],
  ["too many lengths", hex`fc ff ff ff`],
  ["all bits set", new Uint8Array(40).fill(0xff)],
  ["no more than the header of a dynamic block", hex`04`],
  ["a stored block that is not all there", hex`00 05 00 fa ff 48 65`],
  ["the tail, not taken off", concat(HELLO.subarray(0, -1), hex`00`, TAIL)],
  ["Hello, its last byte lost", HELLO.subarray(0, -1)],
  ["Hello, its last two bytes lost", HELLO.subarray(0, -2)],
  ["BFINAL, its last byte lost", hex`f3 48 cd c9 c9 07`],
  ["BFINAL, and half a block after it", hex`f3 48 cd c9 c9 07 00 02`],
];

for (const [what, payload] of MALFORMED) {
  Deno.test(`malformed: ${what}`, () => {
    assertThrows(() => inflateSlowly(payload), Malformed);
    assertMalformed(() => decodeAll(session(), payload));
    assertMalformed(() => decodeAll(session(), ...eachByte(payload)));
  });
}

Deno.test("malformed data fails the connection with 1007", () => {
  const { server: extension } = pair();
  const client = new WebSocketProtocol({ role: "client", extension });
  const events = [...client.receive(hex`c1 01 06`)];
  assertEquals(events.length, 1);
  assert(events[0]!.type === "close");
  assertEquals(events[0]!.code, 1007);
  assert(events[0]!.error instanceof ProtocolError);
  assertEquals(client.takeOutput()!.slice(0, 1), hex`88`);
});

Deno.test("RSV1 belongs on the first frame of a message, once negotiated", () => {
  const cases: [what: string, frames: Uint8Array<ArrayBuffer>][] = [
    ["a ping", hex`c9 00`],
    ["a continuation", hex`41 01 f2 c0 01 00`],
  ];
  for (const [what, frames] of cases) {
    const { client: extension } = pair();
    const client = new WebSocketProtocol({ role: "client", extension });
    const closed = [...client.receive(frames)].at(-1)!;
    assert(closed.type === "close", what);
    assertEquals(closed.code, 1002, what);
  }
  const client = new WebSocketProtocol({ role: "client" });
  const [closed] = [...client.receive(hex`c1 01 00`)];
  assert(closed!.type === "close");
  assertEquals(closed!.code, 1002);
});

property(
  "what is damaged is judged like the slow twin does, however it is cut",
  [
    fc.uint8Array({ maxLength: 200 }),
    fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), {
      maxLength: 3,
    }),
    fc.boolean(),
    fc.array(fc.nat(), { maxLength: 3 }),
    fc.nat({ max: 3 }),
  ],
  (data, damage, final, cuts, lost) => {
    const source = concat(utf8("Hello, Hello, "), data, utf8("Hello, Hello"));
    const payload = deflate(source, { final, level: 1 + data.length % 9 });
    const damaged = payload.slice(0, payload.length - (final ? 0 : 4) - lost);
    for (const [at, change] of damage) {
      if (damaged.length > 0) damaged[at % damaged.length]! ^= change;
    }
    assertSameVerdict(damaged, cuts);
  },
);

property(
  "noise is judged like the slow twin does",
  [fc.uint8Array({ maxLength: 60 }), fc.array(fc.nat(), { maxLength: 3 })],
  assertSameVerdict,
);

function assertSameVerdict(payload: Uint8Array, cuts: number[]): void {
  const history = utf8("Hello");
  let expected: Uint8Array | undefined;
  try {
    expected = inflateSlowly(payload, history);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
  }
  const places = cuts.map((at) => at % (payload.length + 1))
    .sort((a, b) => a - b);
  const receiver = session();
  decodeAll(receiver, HELLO);
  const decode = () => decodeAll(receiver, ...cut(payload, ...places));
  if (expected === undefined) assertMalformed(decode);
  else assertEquals(decode(), expected);
}

// --- Limits ---------------------------------------------------------------

/** A message of some kilobytes that inflates to so many mebibytes of zeros. */
function bomb(mebibytes: number): Uint8Array<ArrayBuffer> {
  const one = deflate(new Uint8Array(1024 * 1024), { level: 9 });
  return concat(...Array.from({ length: mebibytes }, () => one), hex`00`);
}

/** Takes pieces up to a limit, and counts what it was given. */
class Taker {
  taken = 0;
  pieces = 0;
  largest = 0;
  readonly error = new RangeError("That is enough");

  constructor(readonly limit: number) {}

  readonly take = (piece: Uint8Array): void => {
    this.taken += piece.length;
    this.pieces++;
    this.largest = Math.max(this.largest, piece.buffer.byteLength);
    if (this.taken > this.limit) throw this.error;
  };
}

Deno.test("a bomb of 1 MB that would be 1 GB goes no further than the limit", () => {
  const payload = bomb(1024);
  assert(payload.length < 1_100_000, `${payload.length}`);
  for (const limit of [0, 1000, 1024 * 1024]) {
    const taker = new Taker(limit);
    const error = assertThrows(() => {
      session().decode(payload, true, taker.take);
    });
    assertStrictEquals(error, taker.error); // as it was thrown
    assert(taker.taken <= limit + PIECE_SIZE, `${taker.taken} > ${limit}`);
    assert(taker.largest <= PIECE_SIZE, "a piece is too large");
  }
});

Deno.test("a bomb in many small fragments goes no further either", () => {
  const payload = bomb(64);
  const limit = 1024 * 1024;
  const taker = new Taker(limit);
  const receiver = session();
  let given = 0;
  assertThrows(() => {
    for (; given < payload.length; given += 10) {
      receiver.decode(payload.subarray(given, given + 10), false, taker.take);
    }
  }, RangeError);
  assert(taker.taken <= limit + PIECE_SIZE, `${taker.taken}`);
  assert(given < 1500, `${given} bytes were looked at`);
});

Deno.test("a bomb fails the connection with 1009", () => {
  const { server: extension } = pair();
  const maxMessageSize = 1024 * 1024;
  const options = { role: "client", extension, maxMessageSize } as const;
  const client = new WebSocketProtocol(options);
  const payload = bomb(512);
  const header = hex`c2 7f 00 00 00 00 00 00 00 00`;
  new DataView(header.buffer).setUint32(6, payload.length);
  const [closed] = [...client.receive(concat(header, payload))];
  assert(closed!.type === "close");
  assertEquals(closed!.code, 1009);
});

Deno.test("a small message takes a small piece of memory", () => {
  const taker = new Taker(100);
  session().decode(HELLO, true, taker.take);
  assertEquals(
    taker,
    Object.assign(new Taker(100), {
      taken: 5,
      pieces: 1,
      largest: 5,
      error: taker.error,
      take: taker.take,
    }),
  );
});

Deno.test("a session whose output throws can be disposed of", () => {
  const { server, client } = pair();
  const encoded = encodeWhole(server, pattern(100));
  const taker = new Taker(50);
  assertThrows(() => client.decode(encoded, true, taker.take), RangeError);
  client.idle();
  client.dispose();
});

// --- Sending -----------------------------------------------------------------

Deno.test("the threshold decides where the sender does not", () => {
  const cases: [Role, options: object, short: number, long: number][] = [
    ["server", {}, 127, 128],
    ["server", { serverNoContextTakeover: true }, 511, 512],
    ["client", { serverNoContextTakeover: true }, 127, 128],
    ["client", { clientNoContextTakeover: true }, 511, 512],
    ["server", { threshold: 5 }, 4, 5],
    ["server", { threshold: 0 }, -1, 0],
    ["client", { threshold: 5000 }, 4999, 5000],
  ];
  for (const [role, options, short, long] of cases) {
    const extension = permessageDeflate(options);
    const response = extension.accept(extension.offers()[0]!)!;
    const negotiated = role === "server"
      ? response
      : extension.confirm(response.parameters);
    assertEquals(negotiated.wants(short), false);
    assertEquals(negotiated.wants(long), true);
    assertEquals(negotiated.wants(undefined), true);
  }
});

Deno.test("a message is compressed as its sender says", () => {
  const isCompressed = (length: number, compress?: boolean) => {
    const extension = permessageDeflate().accept([])!;
    const server = new WebSocketProtocol({ role: "server", extension });
    server.sendText(
      "a".repeat(length),
      compress === undefined ? {} : { compress },
    );
    return decodeFrameHeader(server.takeOutput()!)!.reservedBits === 0b100;
  };
  assertEquals(isCompressed(127), false);
  assertEquals(isCompressed(128), true);
  assertEquals(isCompressed(127, true), true);
  assertEquals(isCompressed(5000, false), false);
});

for (const compressor of NAMES) {
  Deno.test(`what does not shrink goes out as it is, without context (${compressor})`, () => {
    const { server, client } = pair(
      { serverNoContextTakeover: true },
      { compressor },
    );
    assertEquals(server.encode(noise(1000), true, true), undefined);
    const data = pattern(1000);
    assertEquals(decodeAll(client, encodeWhole(server, data)), data);
  });

  Deno.test(`what does not shrink goes out compressed, with context (${compressor})`, () => {
    const { server, client } = pair({}, { compressor });
    const data = noise(1000);
    const first = encodeWhole(server, data);
    assert(first.length > data.length);
    assertEquals(decodeAll(client, first), data);
    const second = encodeWhole(server, data);
    assert(second.length < 50, `${second.length}`);
    assertEquals(decodeAll(client, second), data);
  });

  Deno.test(`fragments can be read as soon as they arrive (${compressor})`, () => {
    for (const serverNoContextTakeover of [false, true]) {
      const { server, client } = pair(
        { serverNoContextTakeover },
        { compressor },
      );
      for (let round = 0; round < 3; round++) {
        for (const part of ["Once ", "upon ", "a time"]) {
          const fin = part === "a time";
          const encoded = server.encode(utf8(part), fin, false)!;
          const pieces: Uint8Array[] = [];
          client.decode(encoded, fin, (piece) => pieces.push(piece));
          assertEquals(concat(...pieces), utf8(part));
        }
      }
    }
  });

  Deno.test(`a large message comes out of small memory (${compressor})`, () => {
    const { server, client } = pair({}, { compressor });
    // Larger than what is compressed and inflated at once, both ways
    for (const data of [noise(300_000), new Uint8Array(3_000_000)]) {
      assertEquals(decodeAll(client, encodeWhole(server, data)), data);
    }
  });

  Deno.test(`neither data nor result share memory with others (${compressor})`, () => {
    const { server } = pair({}, { compressor });
    const data = pattern(500);
    const copy = data.slice();
    const first = server.encode(data, true, true)!;
    const kept = first.slice();
    server.encode(noise(500), true, true);
    assertEquals([first, data], [kept, copy]);
  });
}

Deno.test("a prepared message is compressed once, where no context is kept", () => {
  const connect = (serverNoContextTakeover: boolean) => {
    const extension = permessageDeflate({ serverNoContextTakeover }).accept(
      [],
    )!;
    return new WebSocketProtocol({ role: "server", extension });
  };
  const message = new PreparedMessage("Hello ".repeat(200));
  const [first, second] = [connect(true), connect(true)];
  first.sendPrepared(message);
  second.sendPrepared(message);
  assertStrictEquals(
    message.frame(first.extension),
    message.frame(second.extension),
  );
  const frame = first.takeOutput()!.slice();
  assertEquals(second.takeOutput(), frame);
  assertEquals(frame[0], 0xc1);
  assert(frame.length < 60);
  const [third, fourth] = [connect(false), connect(false)];
  for (const connection of [third, fourth]) {
    connection.sendPrepared(message);
    const whole = connection.takeOutput()!.slice();
    connection.sendPrepared(message);
    assert(connection.takeOutput()!.length < whole.length);
  }
});

// --- Contexts: lent, given up, never mixed up -----------------------------

Deno.test("a connection cannot refer to what another has sent", () => {
  const secret = utf8("the other connection's secret, the other's secret");
  const spying = deflate(secret, { dictionary: secret }).slice(0, -4);
  for (const maxContexts of [0, 1, 16]) {
    const extension = permessageDeflate({ maxContexts });
    for (const known of [hex``, utf8("a few bytes")]) {
      const victim = extension.accept([])!;
      const spy = extension.accept([])!;
      const pieces: Uint8Array[] = [];
      const take = (piece: Uint8Array) => pieces.push(piece);
      spy.decode(deflate(known).slice(0, -4), true, take);
      victim.decode(deflate(secret).slice(0, -4), true, take);
      pieces.length = 0;
      assertMalformed(() => spy.decode(spying, true, take), "too far back");
      assert(concat(...pieces).length < 3, "something came out");
    }
  }
});

Deno.test("nobody refers further back than was agreed, however it arrives", () => {
  const extension = permessageDeflate({ clientMaxWindowBits: 9 });
  const offer = [["client_max_window_bits", undefined]] as const;
  for (const [gap, isAllowed] of [[412, true], [413, false]] as const) {
    const begin = noise(100 + gap);
    const data = concat(begin, begin.subarray(0, 100));
    const final = deflate(utf8("a"), { final: true });
    const encoded = deflate(data).slice(0, -4);
    for (const message of [encoded, concat(final, encoded)]) {
      for (const fragments of [[message], eachByte(message)]) {
        const session = extension.accept(offer)!;
        const pieces: Uint8Array[] = [];
        const receive = () =>
          fragments.forEach((fragment, i) =>
            session.decode(fragment, i === fragments.length - 1, (piece) => {
              pieces.push(piece);
            })
          );
        if (!isAllowed) {
          assertMalformed(receive, "too far back");
          continue;
        }
        receive();
        const expected = message === encoded ? data : concat(utf8("a"), data);
        assertEquals(concat(...pieces), expected);
      }
    }
  }
});

Deno.test("more connections than contexts: each still gets its own", () => {
  for (const compressor of NAMES) {
    for (const maxContexts of [0, 1, 3, 16]) {
      const connect = sessionMaker({ compressor, maxContexts });
      const peers = Array.from({ length: 8 }, (_, i) => {
        const agreement = agree({ serverMaxWindowBits: i % 2 ? 12 : 15 });
        return {
          server: connect(agreement.server),
          client: connect(agreement.client),
        };
      });
      for (let round = 0; round < 6; round++) {
        peers.forEach(({ server, client }, i) => {
          const data = utf8(`connection ${i} `.repeat(20 + round * 500));
          assertEquals(decodeAll(client, encodeWhole(server, data)), data);
        });
      }
    }
  }
});

const WHOLE = deflate(utf8("Hello, ".repeat(30))).slice(0, -4);

function begin(session: NegotiatedExtension): void {
  session.decode(WHOLE.subarray(0, 5), false, () => {});
}

function goOn(session: NegotiatedExtension): void {
  session.decode(WHOLE.subarray(5, 6), false, () => {});
}

function end(session: NegotiatedExtension, goneOn = false): void {
  session.decode(WHOLE.subarray(goneOn ? 6 : 5), true, () => {});
}

function assertTurnedOut(session: NegotiatedExtension): void {
  for (let i = 0; i < 2; i++) {
    const error = assertThrows(() => goOn(session), ProtocolError);
    assertEquals([error.closeCode, error.kind], [1013, "extension"]);
    assertEquals(
      error.message,
      "A compressed message came too slowly: others were in need of its memory (20)",
    );
  }
}

const TAKEOVERS: ExtensionParameters[] = [
  [],
  [["client_no_context_takeover", undefined]],
];

Deno.test("peers that begin messages and never end them displace no others", () => {
  for (const offer of TAKEOVERS) {
    const extension = permessageDeflate({ maxUnfinished: 20 });
    const accept = () => extension.accept(offer)!;
    const stalled = Array.from({ length: 20 }, accept);
    stalled.forEach(begin);
    // Others come in turn, each with a message in two parts...
    for (let i = 0; i < 5; i++) {
      const other = accept();
      begin(other);
      end(other);
      decodeAll(other, WHOLE);
    }
    // ...which costs one of those its message: the one that has waited longest.
    assertTurnedOut(stalled[0]!);
    begin(accept());
    goOn(stalled[1]!);
    begin(accept());
    assertTurnedOut(stalled[2]!);
    end(stalled[1]!, true);
    begin(accept());
    end(stalled[3]!);
  }
});

Deno.test("a peer that goes on with its message keeps its decompressor, whoever begins others", () => {
  for (const offer of TAKEOVERS) {
    const extension = permessageDeflate({ maxUnfinished: 20 });
    const accept = () => extension.accept(offer)!;
    const slow = accept();
    const data = noise(1000);
    const encoded = deflate(data).slice(0, -4);
    const pieces: Uint8Array[] = [];
    for (let i = 0; i < encoded.length; i++) {
      const fin = i === encoded.length - 1;
      slow.decode(encoded.subarray(i, i + 1), fin, (it) => pieces.push(it));
      for (let j = 0; j < 19; j++) begin(accept());
    }
    assertEquals(concat(...pieces), data);
    // Empty fragments are no progress.
    const idle = accept();
    begin(idle);
    for (let j = 0; j < 19; j++) begin(accept());
    idle.decode(new Uint8Array(0), false, () => {});
    begin(accept());
    assertTurnedOut(idle);
  }
});

Deno.test("messages that have not really begun hold nothing", () => {
  for (const offer of TAKEOVERS) {
    const extension = permessageDeflate({ maxUnfinished: 20 });
    const accept = () => extension.accept(offer)!;
    const sessions = Array.from({ length: 20 }, accept);
    sessions.forEach(begin);
    const empty = Array.from({ length: 30 }, accept);
    for (const session of empty) {
      session.decode(new Uint8Array(0), false, () => {});
    }
    for (const session of sessions) end(session);
    for (const session of empty) {
      assertEquals(decodeAll(session, WHOLE), utf8("Hello, ".repeat(30)));
    }
  }
});

Deno.test("messages that end, fail, or whose connections do, make room", () => {
  for (const offer of TAKEOVERS) {
    const extension = permessageDeflate({ maxUnfinished: 20 });
    const accept = () => extension.accept(offer)!;
    const first = accept();
    begin(first);
    const others = Array.from({ length: 19 }, accept);
    others.forEach(begin);
    end(others[0]!);
    others[1]!.dispose!();
    others[1]!.dispose!();
    const tooMuch = new Error("It is too much");
    assertThrows(
      () =>
        others[2]!.decode(WHOLE.subarray(5), false, () => {
          throw tooMuch;
        }),
      Error,
      tooMuch.message,
    );
    for (let i = 0; i < 3; i++) begin(accept());
    goOn(first);
    for (let i = 0; i < 16; i++) begin(accept());
    end(first, true);
    // A session that was given up holds nothing.
    assertTurnedOut(others[18]!);
    others[18]!.dispose!();
  }
});

Deno.test("idle gives up what the negotiation allows, and nothing more", () => {
  for (const compressor of NAMES) {
    const { server, client } = pair({}, { compressor });
    const data = noise(400);
    const send = () => {
      const encoded = encodeWhole(server, data);
      assertEquals(decodeAll(client, encoded), data);
      return encoded.length;
    };
    assert(send() > 400);
    assert(send() < 20);
    client.idle(); // it keeps the history
    assert(send() < 20);
    server.idle(); // it drops its context, which it may
    assert(send() > 400);
    assert(send() < 20);
  }
});

Deno.test("idle and crowding within a message do no harm", () => {
  for (const serverNoContextTakeover of [false, true]) {
    for (const maxContexts of [0, 16]) {
      const { server, client } = pair(
        { serverNoContextTakeover },
        { maxContexts },
      );
      const whole = utf8("Hello, ".repeat(30));
      const fragments = eachByte(whole).map((byte, i, { length }) => {
        if (i % 5 === 0) server.idle();
        return server.encode(byte, i === length - 1, false)!.slice();
      });
      const pieces: Uint8Array[] = [];
      fragments.forEach((fragment, i) => {
        eachByte(fragment).forEach((byte, j) => {
          client.idle();
          const fin = i === fragments.length - 1 && j === fragment.length - 1;
          client.decode(byte, fin, (piece) => pieces.push(piece));
        });
      });
      assertEquals(concat(...pieces), whole);
      const next = encodeWhole(server, whole);
      assertEquals(decodeAll(client, next), whole);
    }
  }
});

class Counted {
  static made = 0;
  static closed = 0;
  readonly number = Counted.made++;
  constructor(readonly windowBits: number) {}
  close(): void {
    Counted.closed++;
  }
}

function countedLeases(capacity: number): Leases<object, Counted> {
  Counted.made = Counted.closed = 0;
  return new Leases({
    capacity,
    spares: new Spares<Counted>(4),
    kind: "counted",
    make: (windowBits) => new Counted(windowBits),
  });
}

Deno.test("leases: the owner that was away longest loses its machine", () => {
  const leases = countedLeases(2);
  const owners = [{}, {}, {}] as const;
  const machines = owners.map((owner) => {
    const machine = leases.borrow(15);
    leases.keep(owner, machine);
    return machine;
  });
  assertEquals(leases.reclaim(owners[0]), undefined);
  assertStrictEquals(leases.borrow(15), machines[0]);
  assertStrictEquals(leases.reclaim(owners[1]), machines[1]);
  leases.keep(owners[1], machines[1]!);
  leases.keep(owners[0], machines[0]!);
  assertEquals(leases.reclaim(owners[2]), undefined);
  assertStrictEquals(leases.reclaim(owners[1]), machines[1]);
  assertEquals(leases.reclaim(owners[1]), undefined); // lent already
  assertEquals(Counted.made, 3);
});

Deno.test("leases: few are spare, the others closed, and all of the right kind", () => {
  const leases = countedLeases(0);
  const machines = [9, 10, 9, 10, 9, 10, 9, 10].map((bits) =>
    leases.borrow(bits)
  );
  assertEquals(Counted.made, 8);
  for (const machine of machines) leases.keep({}, machine);
  assertEquals(Counted.closed, 4);
  for (const bits of [9, 9, 10, 10]) {
    assertEquals(leases.borrow(bits).windowBits, bits);
  }
  assertEquals(Counted.made, 8);
  assertEquals(leases.borrow(9).number, 8);
});

property(
  "a line is an array that one can leave anywhere",
  [fc.array(fc.nat({ max: 9 }), { maxLength: 60 })],
  (steps) => {
    const line = new Line<number>();
    const slow: Place<number>[] = [];
    steps.forEach((step, i) => {
      const leaving = slow.splice(step, 1);
      if (leaving[0] !== undefined) line.leave(leaving[0]);
      else slow.push(line.enter(i));
      assertEquals(line.length, slow.length);
      assertEquals(line.first, slow[0]?.holder);
    });
    for (const place of slow) {
      assertStrictEquals(line.first, place.holder);
      line.leave(place);
    }
    assertEquals([line.length, line.first], [0, undefined]);
  },
);

property(
  "the history is the end of what has come out",
  [
    fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }),
    fc.constantFrom(1, 16, 32, 64),
  ],
  (pieces, size) => {
    const history = new History(size);
    let slow: Uint8Array<ArrayBuffer> = new Uint8Array(0);
    for (const piece of pieces) {
      history.append(piece);
      slow = concat(slow, piece).slice(-size);
      assertEquals(concat(...history.parts()), slow);
    }
  },
);

Deno.test("the history takes no more memory than there is to remember", () => {
  const history = new History(32768);
  history.append(pattern(100));
  assert(history.parts()[0]!.buffer.byteLength <= 200);
  history.append(pattern(100_000));
  const memory = new Set(history.parts().map((part) => part.buffer));
  assertEquals([...memory].map((buffer) => buffer.byteLength), [32768]);
  history.clear();
  assertEquals(concat(...history.parts()).length, 0);
});

/** The memory for histories that is allocated during `act`, in bytes. */
function remembered(act: () => void): number {
  const histories = new Set<History>();
  const { append } = History.prototype;
  History.prototype.append = function (piece: Uint8Array) {
    histories.add(this);
    append.call(this, piece);
  };
  try {
    act();
  } finally {
    History.prototype.append = append;
  }
  const buffers = new Set<ArrayBufferLike>();
  for (const history of histories) {
    for (const { buffer } of history.parts()) buffers.add(buffer);
  }
  return [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

// What SECURITY.md says of the memory for any number of peers.
for (
  const [options, limited, unlimited] of [
    [{}, 4096, 32768],
    [{ clientMaxWindowBits: 12 }, 4096, 0],
    [{ clientMaxWindowBits: 9 }, 512, 0],
    [{ clientNoContextTakeover: true }, 0, 0],
  ] as const
) {
  Deno.test(`200 peers with a message of 60 bytes each: ${JSON.stringify(options)}`, () => {
    const message = deflate(new Uint8Array(40_000)).slice(0, -4);
    assert(message.length <= 60);
    const extension = permessageDeflate(options);
    for (
      const [offer, each] of [
        [[["client_max_window_bits", undefined]], limited],
        [[], unlimited],
      ] as [ExtensionParameters, number][]
    ) {
      const sessions = Array.from(
        { length: 200 },
        () => extension.accept(offer)!,
      );
      const held = remembered(() => {
        for (const session of sessions) session.decode(message, true, () => {});
      });
      assertEquals(held, 200 * each);
      for (const session of sessions) session.dispose!();
    }
  });
}

/**
 * A message of 32 bytes that are a power of 2 back, or one more than that: one
 * length and one distance in a block with fixed codes (RFC 1951 §3.2.5).
 */
function reference(power: number, isFurther: boolean): Uint8Array<ArrayBuffer> {
  const code = isFurther ? power * 2 : power * 2 - 1;
  const extra = isFurther ? "0".repeat(power - 1) : "1".repeat(power - 2);
  const inOrder = [
    "0" + "10", // BFINAL, BTYPE
    (272 - 256).toString(2).padStart(7, "0") + "10", // 31 and 1
    code.toString(2).padStart(5, "0") + extra,
    "0".repeat(7), // the end of the block
    "0" + "00", // the block that the tail ends
  ].join("");
  const octets = inOrder.padEnd(Math.ceil(inOrder.length / 8) * 8, "0")
    .match(/.{8}/g)!;
  return fromBits(
    octets.map((octet) => [...octet].reverse().join("")).join(""),
  );
}

Deno.test("a first message is like any other: its distances, its last blocks, its end", () => {
  const ignore = () => {};
  for (const bits of [9, 12, 15]) {
    const before = concat(deflate(noise(700, 5)), deflate(noise(1 << bits)));
    new Inflater(bits).push(concat(before, reference(bits, false)), ignore);
    assertMalformed(() =>
      new Inflater(bits).push(concat(before, reference(bits, true)), ignore)
    );
  }
  // 16 last blocks, and one for each 64 bytes: the 17th may end in byte 64.
  const short = Array.from({ length: 16 }, () => hex`03 00`);
  const stored = (length: number) =>
    concat(Uint8Array.of(1, length, 0, ~length, ~0), new Uint8Array(length));
  const allowed = concat(...short, stored(27));
  const inflater = new Inflater(15);
  for (let message = 0; message < 3; message++) {
    let length = 0;
    inflater.push(allowed, (piece) => length += piece.length);
    inflater.finish(ignore);
    assertEquals([allowed.length, length], [64, 27]);
  }
  for (
    const refused of [concat(...short, stored(26)), concat(allowed, short[0]!)]
  ) {
    const error = assertThrows(
      () => new Inflater(15).push(refused, ignore),
      ProtocolError,
      "Too many last blocks",
    );
    assertEquals(error.closeCode, 1008);
    const used = new Inflater(15);
    used.push(allowed, ignore);
    used.finish(ignore);
    assertThrows(() => used.push(refused, ignore), ProtocolError);
  }
  // Nothing but what RFC 7692 §7.2.1 removes.
  new Inflater(15).finish(() => {
    throw new Error("Something has come out of nothing");
  });
});

Deno.test("a history begins anew when it is cleared, and keeps its bytes to itself", () => {
  const first = new History(4);
  const second = new History(4);
  first.append(hex`01`);
  second.append(hex`02`);
  assertEquals(concat(...first.parts()), hex`01`);
  first.append(hex`03 04 05 06 07`);
  first.clear();
  assertEquals(concat(...first.parts()), hex``);
  first.append(hex`08 09`);
  assertEquals(concat(...first.parts()), hex`08 09`);
});

Deno.test("a peer may refer back as far as was agreed on, and no further", () => {
  for (const bits of [9, 10, 12, 15]) {
    const far = noise(1 << bits);
    for (const maxContexts of [0, 16]) {
      const receiver = permessageDeflate({ maxContexts }).confirm([
        ["server_max_window_bits", String(bits)],
      ]);
      const pieces: Uint8Array[] = [];
      const take = (piece: Uint8Array) => pieces.push(piece);
      receiver.decode(deflate(noise(700, 5)).slice(0, -4), true, take);
      receiver.decode(deflate(far).slice(0, -4), true, take);
      pieces.length = 0;
      receiver.decode(reference(bits, false), true, take);
      assertEquals(concat(...pieces), far.slice(0, 32), `${bits} bits`);
      assertMalformed(() => receiver.decode(reference(bits, true), true, take));
    }
  }
});

// --- Compressors ------------------------------------------------------------

Deno.test("a node:zlib that cannot do what is asked of it is not used", () => {
  assertEquals(isUsable({}), false);
  assertEquals(isUsable({ createDeflateRaw: () => ({}) }), false);
  // One that writes nothing
  const _handle = { writeSync() {}, reset() {}, close() {} };
  const _writeState = new Uint32Array([65536, 0]);
  assertEquals(
    isUsable({ createDeflateRaw: () => ({ _handle, _writeState }) }),
    false,
  );
  // One that stores, and so refers to nothing (RFC 1951 §3.2.4)
  const storing = {
    ..._handle,
    writeSync(
      ...[, input, from, length, output, , room]: Parameters<
        NodeStream["_handle"]["writeSync"]
      >
    ) {
      const size = [length & 0xff, length >> 8];
      const sent = input.subarray(from, from + length);
      const block = [0, ...size, ...size.map((byte) => ~byte & 0xff), ...sent];
      output.set(block);
      _writeState.set([room - block.length, 0]);
    },
  };
  assertEquals(
    isUsable({ createDeflateRaw: () => ({ _handle: storing, _writeState }) }),
    false,
  );
});

Deno.test("settings that zlib does not take are refused at once", () => {
  const settings = { level: 10, memLevel: 9, windowBits: 15 };
  assertThrows(() => new PakoDeflater(settings), RangeError, "level 10");
  assertThrows(() => new Inflater(16), RangeError, "16");
});

Deno.test("a compressor can be given up, whichever it is", () => {
  for (const make of Object.values(COMPRESSORS)) {
    const deflater = make()({ level: undefined, memLevel: 8, windowBits: 15 });
    assert(deflater.deflate(pattern(1000)).length > 0);
    deflater.close();
  }
});

Deno.test("a compressor keeps to its window", () => {
  for (const compressor of NAMES) {
    const data = noise(1024);
    const twice = concat(data, data);
    for (let bits = 9; bits <= 15; bits++) {
      const { server, client } = pair(
        { serverMaxWindowBits: bits },
        { compressor },
      );
      const encoded = encodeWhole(server, twice);
      const refersBack = encoded.length < 1200;
      assertEquals(refersBack, bits > 10, `${bits} bits: ${encoded.length}`);
      assertEquals(decodeAll(client, encoded), twice);
    }
  }
});

// --- Round trips -----------------------------------------------------------

const PARAMETERS = [
  {},
  { serverNoContextTakeover: true, clientNoContextTakeover: true },
  { serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
  { serverMaxWindowBits: 12, clientMaxWindowBits: 10 },
  {
    serverNoContextTakeover: true,
    clientNoContextTakeover: true,
    serverMaxWindowBits: 9,
    clientMaxWindowBits: 11,
  },
];
const SIZES = [0, 1, 125, 126, 1000, 16384, 65535, 65536];
const FRAGMENTS = [1, 2, 3, 17];

interface Peers {
  server: WebSocketProtocol;
  client: WebSocketProtocol;
}

function connect(parameters: object, options: SessionOptions): Peers {
  const { server, client } = pair(parameters, options);
  return {
    server: new WebSocketProtocol({ role: "server", extension: server }),
    client: new WebSocketProtocol({ role: "client", extension: client }),
  };
}

/** Sends a message in so many fragments, and takes what the other side sees. */
function exchange(
  from: WebSocketProtocol,
  to: WebSocketProtocol,
  data: Uint8Array<ArrayBuffer>,
  fragments: number,
): ProtocolEvent[] {
  const events: ProtocolEvent[] = [];
  const pump = () => {
    for (;;) {
      const bytes = from.takeOutput();
      if (bytes === undefined) return;
      events.push(...to.receive(bytes.slice()));
      from.releaseOutput();
    }
  };
  if (fragments === 1) {
    from.sendBinary(data, { compress: true });
  } else {
    const length = Math.ceil(data.length / fragments);
    for (let i = 0; i < fragments; i++) {
      const part = data.subarray(i * length, (i + 1) * length);
      const fin = i === fragments - 1;
      from.sendFragment("binary", part, { fin, compress: true });
      if (i % 2 === 0) pump();
    }
  }
  pump();
  return events;
}

for (const compressor of NAMES) {
  for (const [kind, make] of Object.entries(PAYLOADS)) {
    Deno.test(`round trips of ${kind} (${compressor})`, () => {
      for (const parameters of PARAMETERS) {
        const { server, client } = connect(parameters, {
          compressor,
          maxContexts: 1,
        });
        for (const size of SIZES) {
          const data = make(size);
          for (const fragments of FRAGMENTS) {
            const expected = [{ type: "binary" as const, data }];
            assertEquals(exchange(server, client, data, fragments), expected);
            if (size > 20_000 && fragments > 2) continue;
            assertEquals(exchange(client, server, data, fragments), expected);
          }
        }
      }
    });
  }

  for (const level of [1, 2, 3, 4, 5, 6, 7, 8, 9]) {
    Deno.test(`round trips at level ${level} (${compressor})`, () => {
      for (const memLevel of [1, 5, 9]) {
        const options = { compressor, level, memLevel };
        const { server, client } = connect({}, options);
        for (const make of Object.values(PAYLOADS)) {
          const data = make(5000);
          assertEquals(exchange(server, client, data, 1), [
            { type: "binary", data },
          ]);
        }
      }
    });
  }
}

property(
  "whatever is sent is received, however it is cut and whoever is idle",
  [
    fc.record({
      serverNoContextTakeover: fc.boolean(),
      serverMaxWindowBits: fc.integer({ min: 9, max: 15 }),
    }),
    fc.constantFrom(...NAMES),
    fc.array(
      fc.record({
        data: fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.string({ maxLength: 300 }).map(utf8),
          fc.nat({ max: 3000 }).map(pattern),
          fc.nat({ max: 70_000 }).map((length) => new Uint8Array(length)),
        ),
        cuts: fc.array(fc.nat(), { maxLength: 3 }),
        fragments: fc.array(fc.nat(), { maxLength: 3 }),
        idle: fc.boolean(),
      }),
      { maxLength: 8 },
    ),
    fc.constantFrom(0, 16),
  ],
  (parameters, compressor, messages, maxContexts) => {
    const options = { compressor, maxContexts };
    const { server, client } = pair(parameters, options);
    const places = (cuts: number[], length: number) =>
      cuts.map((at) => at % (length + 1)).sort((a, b) => a - b);
    for (const { data, cuts, fragments, idle } of messages) {
      const parts = cut(data, ...places(fragments, data.length));
      const encoded = parts.map((part, i) => {
        const result = server.encode(
          part,
          i === parts.length - 1,
          parts.length === 1,
        );
        if (idle) server.idle();
        return result?.slice();
      });
      if (encoded.includes(undefined)) continue; // sent as it is
      const payload = concat(...encoded as Uint8Array[]);
      const received = decodeAll(
        client,
        ...cut(payload, ...places(cuts, payload.length)),
      );
      assertEquals(received, concat(data));
      if (idle) client.idle();
    }
  },
);

Deno.test("every split of a compressed message gives the same", () => {
  const data = utf8("Hello, world. Hello, moon. ".repeat(3));
  for (const final of [false, true]) {
    const encoded = deflate(data, { final });
    const payload = final ? encoded : encoded.slice(0, -4);
    for (let i = 0; i <= payload.length; i++) {
      for (let j = i; j <= payload.length; j++) {
        const parts = cut(payload, i, j);
        assertEquals(decodeAll(session(), ...parts), data);
      }
    }
  }
});

Deno.test("an inflater can be used again after a fault", () => {
  const inflater = new Inflater(15);
  assertThrows(() => inflater.push(hex`06`, () => {}), ProtocolError);
  inflater.reset();
  const pieces: Uint8Array[] = [];
  inflater.push(HELLO, (piece) => pieces.push(piece));
  inflater.finish((piece) => pieces.push(piece));
  assertEquals(concat(...pieces), utf8("Hello"));
});
