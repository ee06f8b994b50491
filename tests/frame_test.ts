import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotStrictEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  checkFrameHeader,
  CloseCode,
  decodeClosePayload,
  decodeFrame,
  decodeFrameHeader,
  encodeClosePayload,
  encodeFrame,
  encodeFrameHeader,
  encodeFrameHeaderInto,
  type Frame,
  type FrameHeader,
  type FrameHeaderInit,
  frameHeaderLength,
  type FrameRules,
  isValidCloseCode,
  mask,
  MAX_CONTROL_PAYLOAD_LENGTH,
  MAX_FRAME_HEADER_LENGTH,
  Opcode,
  ProtocolError,
  type Role,
  RSV1,
  RSV2,
  RSV3,
} from "../frame.ts";
import { assertFault, assertUntouched, type Fault } from "./_assert.ts";
import { bits, concat, hex, pattern, shared, utf8 } from "./_bytes.ts";
import { fc, property } from "./_property.ts";
import {
  decodeHeaderSlowly,
  encodeHeaderSlowly,
  maskSlowly,
} from "./_slow_frame.ts";

const KEY = 0x37fa213d;
const ROLES: Role[] = ["client", "server"];
const OPCODES = Array.from({ length: 16 }, (_, opcode) => opcode);
const CONTROL = [Opcode.Close, Opcode.Ping, Opcode.Pong];
const DATA = [Opcode.Continuation, Opcode.Text, Opcode.Binary];

/** The header of an empty unmasked Text frame, with some fields replaced. */
function header(init: Partial<FrameHeader> = {}): FrameHeader {
  const { maskingKey, payloadLength = 0 } = init;
  return {
    fin: true,
    reservedBits: 0,
    opcode: Opcode.Text,
    maskingKey,
    payloadLength,
    byteLength: frameHeaderLength(payloadLength, {
      masked: maskingKey !== undefined,
    }),
    ...init,
  };
}

function frame(init: Partial<Frame> = {}): Frame {
  return {
    fin: true,
    reservedBits: 0,
    opcode: Opcode.Text,
    maskingKey: undefined,
    payload: new Uint8Array(),
    ...init,
  };
}

/** All beginnings of `bytes` that are shorter than `bytes`. */
function* beginnings(bytes: Uint8Array<ArrayBuffer>, from = 0) {
  for (let end = from; end < bytes.length; end++) yield bytes.subarray(0, end);
}

/** The bytes amid others that would show if they were read. */
function amidst(bytes: Uint8Array, before = 3): Uint8Array<ArrayBuffer> {
  return concat(pattern(before), bytes, hex`ff ff ff`);
}

// Names and numbers

Deno.test("opcodes have the numbers of RFC 6455 §5.2", () => {
  assertEquals(Opcode, {
    Continuation: 0x0,
    Text: 0x1,
    Binary: 0x2,
    Close: 0x8,
    Ping: 0x9,
    Pong: 0xa,
  });
});

Deno.test("close codes have the numbers of RFC 6455 §7.4.1 and the registry", () => {
  assertEquals(CloseCode, {
    NormalClosure: 1000,
    GoingAway: 1001,
    ProtocolError: 1002,
    UnsupportedData: 1003,
    NoStatusReceived: 1005,
    AbnormalClosure: 1006,
    InvalidFramePayloadData: 1007,
    PolicyViolation: 1008,
    MessageTooBig: 1009,
    MandatoryExtension: 1010,
    InternalError: 1011,
    ServiceRestart: 1012,
    TryAgainLater: 1013,
    BadGateway: 1014,
    TlsHandshake: 1015,
  });
});

Deno.test("limits are those of RFC 6455 §5.2 and §5.5", () => {
  assertEquals(MAX_CONTROL_PAYLOAD_LENGTH, 125);
  assertEquals(MAX_FRAME_HEADER_LENGTH, 14);
});

Deno.test("ProtocolError carries message, close code, kind and cause", () => {
  const cause = new Error("why");
  const error = new ProtocolError("The frame is odd (7)", {
    closeCode: 1002,
    kind: "extension",
    cause,
  });
  assertInstanceOf(error, Error);
  assertEquals(error.name, "ProtocolError");
  assertEquals(error.message, "The frame is odd (7)");
  assertEquals(error.closeCode, 1002);
  assertEquals(error.kind, "extension");
  assertStrictEquals(error.cause, cause);
});

// The layout of RFC 6455 §5.2

const DRAWINGS: { name: string; bytes: Uint8Array; header: FrameHeader }[] = [
  {
    name: "an unmasked text frame of 5 bytes",
    bytes: bits`
      +-+-+-+-+-------+-+-------------+
      |F|R|R|R| opcode|M| Payload len |
      +-+-+-+-+-------+-+-------------+
      |1|0|0|0|0 0 0 1|0|0 0 0 0 1 0 1|
      +-+-+-+-+-------+-+-------------+`,
    header: header({ payloadLength: 5 }),
  },
  {
    name: "the first fragment of a compressed, masked binary message",
    bytes: bits`
       0                   1                   2                   3
       0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |F|R|R|R| opcode|M| Payload len |          Masking-key          |
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |0|1|0|0|0 0 1 0|1|1 1 1 1 1 0 1|1 1 1 1 0 0 0 0|0 0 0 0 0 0 0 1|
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |    Masking-key (continued)    |
      +-------------------------------+
      |1 0 0 0 0 0 0 0|0 1 1 1 1 1 1 0|
      +-------------------------------+`,
    header: header({
      fin: false,
      reservedBits: RSV1,
      opcode: Opcode.Binary,
      maskingKey: 0xf001807e,
      payloadLength: 125,
    }),
  },
  {
    name: "an unmasked continuation of 33,025 bytes, RSV2 set",
    bytes: bits`
       0                   1                   2                   3
       0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |F|R|R|R| opcode|M| Payload len |    Extended payload length    |
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |0|0|1|0|0 0 0 0|0|1 1 1 1 1 1 0|1 0 0 0 0 0 0 1|0 0 0 0 0 0 0 1|
      +-+-+-+-+-------+-+-------------+-------------------------------+`,
    header: header({
      fin: false,
      reservedBits: RSV2,
      opcode: Opcode.Continuation,
      payloadLength: 33025,
    }),
  },
  {
    name: "a masked frame with a 16-bit length, a reserved opcode, RSV3 set",
    bytes: bits`
       0                   1                   2                   3
       0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |F|R|R|R| opcode|M| Payload len |    Extended payload length    |
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |1|0|0|1|1 1 1 1|1|1 1 1 1 1 1 0|0 0 0 0 0 0 0 1|0 0 0 0 0 0 1 0|
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |                          Masking-key                          |
      +---------------------------------------------------------------+
      |0 0 0 0 0 0 0 0|0 0 0 0 0 0 0 0|0 0 0 0 0 0 0 0|0 0 0 0 0 0 0 0|
      +---------------------------------------------------------------+`,
    header: header({
      reservedBits: RSV3,
      opcode: 0xf,
      maskingKey: 0,
      payloadLength: 258,
    }),
  },
  {
    name: "a masked ping of 0x0010234567f9abcd bytes, all reserved bits set",
    bytes: bits`
       0                   1                   2                   3
       0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |F|R|R|R| opcode|M| Payload len |    Extended payload length    |
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |1|1|1|1|1 0 0 1|1|1 1 1 1 1 1 1|0 0 0 0 0 0 0 0|0 0 0 1 0 0 0 0|
      +-+-+-+-+-------+-+-------------+-------------------------------+
      |              Extended payload length (continued)              |
      +---------------------------------------------------------------+
      |0 0 1 0 0 0 1 1|0 1 0 0 0 1 0 1|0 1 1 0 0 1 1 1|1 1 1 1 1 0 0 1|
      +-------------------------------+-------------------------------+
      |  Extended length (continued)  |          Masking-key          |
      +-------------------------------+-------------------------------+
      |1 0 1 0 1 0 1 1|1 1 0 0 1 1 0 1|1 1 1 1 1 1 1 1|1 1 1 1 1 1 1 1|
      +-------------------------------+-------------------------------+
      |    Masking-key (continued)    |
      +-------------------------------+
      |1 1 1 1 1 1 1 1|1 1 1 1 1 1 1 1|
      +-------------------------------+`,
    header: header({
      reservedBits: RSV1 | RSV2 | RSV3,
      opcode: Opcode.Ping,
      maskingKey: 0xffffffff,
      payloadLength: 0x0010234567f9abcd,
    }),
  },
];

for (const { name, bytes, header } of DRAWINGS) {
  Deno.test(`header as drawn: ${name}`, () => {
    assertEquals(decodeFrameHeader(bytes), header);
    assertEquals(encodeFrameHeader(header), bytes);
    assertEquals(header.byteLength, bytes.length);
  });
}

Deno.test("header: every FIN, reserved bits, opcode and MASK", () => {
  for (const fin of [false, true]) {
    for (let reservedBits = 0; reservedBits < 8; reservedBits++) {
      for (const opcode of OPCODES) {
        for (const maskingKey of [undefined, 0, 1, KEY, 2 ** 31, 2 ** 32 - 1]) {
          const expected = header({ fin, reservedBits, opcode, maskingKey });
          const bytes = encodeHeaderSlowly(expected);
          assertEquals(encodeFrameHeader(expected), bytes);
          assertEquals(decodeFrameHeader(bytes), expected);
        }
      }
    }
  }
});

// Payload lengths

const LENGTHS: [payloadLength: number, lengthBytes: Uint8Array][] = [
  [0, hex`00`],
  [1, hex`01`],
  [124, hex`7c`],
  [125, hex`7d`],
  [126, hex`7e 007e`],
  [127, hex`7e 007f`],
  [128, hex`7e 0080`],
  [255, hex`7e 00ff`],
  [256, hex`7e 0100`],
  [32768, hex`7e 8000`],
  [65534, hex`7e fffe`],
  [65535, hex`7e ffff`],
  [65536, hex`7f 00000000 00010000`],
  [65537, hex`7f 00000000 00010001`],
  [2 ** 24 - 1, hex`7f 00000000 00ffffff`],
  [2 ** 31 - 1, hex`7f 00000000 7fffffff`],
  [2 ** 31, hex`7f 00000000 80000000`],
  [2 ** 32 - 1, hex`7f 00000000 ffffffff`],
  [2 ** 32, hex`7f 00000001 00000000`],
  [2 ** 32 + 1, hex`7f 00000001 00000001`],
  [2 ** 52, hex`7f 00100000 00000000`],
  [2 ** 53 - 1, hex`7f 001fffff ffffffff`],
];

for (const [payloadLength, lengthBytes] of LENGTHS) {
  Deno.test(`header: a payload of ${payloadLength} bytes`, () => {
    const unmasked = concat(hex`82`, lengthBytes);
    const masked = concat(unmasked, hex`37fa213d`);
    masked[1]! |= 0x80;
    for (const [bytes, maskingKey] of [[unmasked], [masked, KEY]] as const) {
      const expected = header({
        opcode: Opcode.Binary,
        maskingKey,
        payloadLength,
        byteLength: bytes.length,
      });
      assertEquals(decodeFrameHeader(bytes), expected);
      assertEquals(encodeFrameHeader(expected), bytes);
      const masked = maskingKey !== undefined;
      assertEquals(
        frameHeaderLength(payloadLength, { masked }),
        bytes.length,
      );
    }
    assertEquals(frameHeaderLength(payloadLength), unmasked.length);
  });
}

for (const length of [0, 1, 124, 125, 126, 127, 65534, 65535, 65536, 65537]) {
  Deno.test(`frame: a payload of ${length} bytes`, () => {
    const payload = pattern(length);
    for (const maskingKey of [undefined, KEY]) {
      const expected = frame({ opcode: Opcode.Binary, maskingKey, payload });
      const bytes = encodeFrame(expected);
      assertEquals(
        bytes,
        concat(
          encodeHeaderSlowly({ ...expected, payloadLength: length }),
          maskingKey === undefined ? payload : maskSlowly(payload, KEY),
        ),
      );
      assertEquals(decodeFrame(bytes), {
        frame: expected,
        byteLength: bytes.length,
      });
    }
  });
}

/** Lengths that §5.2 does not allow: MASK and length fields, and the fault. */
const MALFORMED: [name: string, lengthBytes: Uint8Array, fault: Fault][] = [
  ...Array.from({ length: 126 }, (_, length) => notMinimal(length, 16)),
  ...[0, 1, 125, 126, 127, 65534, 65535].map((n) => notMinimal(n, 64)),
  tooLarge(2n ** 53n, 1009),
  tooLarge(2n ** 53n + 1n, 1009),
  tooLarge(2n ** 54n - 1n, 1009),
  tooLarge(2n ** 62n, 1009),
  tooLarge(2n ** 63n - 1n, 1009),
  tooLarge(2n ** 63n, 1002),
  tooLarge(2n ** 63n + 1n, 1002),
  tooLarge(2n ** 64n - 1n, 1002),
];

function lengthBytes(length: bigint, width: 16 | 64): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(9);
  bytes[0] = width === 16 ? 126 : 127;
  new DataView(bytes.buffer).setBigUint64(1, length << BigInt(64 - width));
  return bytes.slice(0, 1 + width / 8);
}

function notMinimal(length: number, width: 16 | 64): typeof MALFORMED[number] {
  return [
    `${length} in ${width} bits`,
    lengthBytes(BigInt(length), width),
    {
      kind: "length-not-minimal",
      closeCode: 1002,
      naming: `length of ${length} must not take the ${width}-bit form`,
    },
  ];
}

function tooLarge(length: bigint, closeCode: number): typeof MALFORMED[number] {
  const naming = `(0x${length.toString(16).padStart(16, "0")})`;
  return [
    `${length}`,
    lengthBytes(length, 64),
    { kind: "length-too-large", closeCode, naming },
  ];
}

for (const [name, lengthBytes, fault] of MALFORMED) {
  Deno.test(`malformed length: ${name} is refused once it is there`, () => {
    const bytes = concat(hex`82`, lengthBytes);
    for (const maskBit of [0, 0x80]) {
      bytes[1]! |= maskBit;
      for (const partial of beginnings(bytes)) {
        assertEquals(decodeFrameHeader(partial), undefined);
      }
      // No masking key is there yet, and no payload
      assertFault(() => decodeFrameHeader(bytes), fault);
      assertFault(() => decodeFrameHeader(amidst(bytes), 3), fault);
      assertFault(() => decodeFrame(bytes), fault);
    }
  });
}

Deno.test("malformed length: the top bit is named apart from 2^53", () => {
  const decode = (bytes: Uint8Array) =>
    assertThrows(() => decodeFrameHeader(bytes), ProtocolError).message;
  assert(
    decode(hex`827f 80000000 00000000`).startsWith("The most significant bit"),
  );
  assert(decode(hex`827f 7fffffff ffffffff`).includes("above 2^53-1"));
});

// Every split point, every place in a buffer

const HEADERS: FrameHeader[] = [0, 5, 126, 300, 65535, 65536, 2 ** 53 - 1]
  .flatMap((payloadLength) => [
    header({ payloadLength }),
    header({ payloadLength, maskingKey: KEY }),
  ]);

Deno.test("decodeFrameHeader: undefined at every split point", () => {
  for (const expected of HEADERS) {
    const bytes = encodeHeaderSlowly(expected);
    for (const partial of beginnings(bytes)) {
      assertEquals(decodeFrameHeader(partial), undefined);
    }
    assertEquals(decodeFrameHeader(bytes), expected);
    assertEquals(decodeFrameHeader(concat(bytes, hex`ff ff`)), expected);
  }
});

Deno.test("decodeFrameHeader: at an offset, at every split point", () => {
  for (const expected of HEADERS) {
    for (let offset = 0; offset <= 9; offset++) {
      const bytes = amidst(encodeHeaderSlowly(expected), offset);
      const end = offset + expected.byteLength;
      for (const partial of beginnings(bytes.subarray(0, end))) {
        assertEquals(decodeFrameHeader(partial, offset), undefined);
      }
      assertEquals(
        decodeFrameHeader(bytes.subarray(0, end), offset),
        expected,
      );
      assertEquals(decodeFrameHeader(bytes, offset), expected);
    }
  }
});

Deno.test("decodeFrameHeader leaves the bytes alone", () => {
  for (const expected of HEADERS) {
    const bytes = amidst(encodeHeaderSlowly(expected));
    assertUntouched(bytes, () => decodeFrameHeader(bytes, 3));
  }
});

Deno.test("decodeFrameHeader fills in the header that it is given", () => {
  const into = header();
  for (const expected of [...HEADERS, ...HEADERS.toReversed()]) {
    const bytes = encodeHeaderSlowly(expected);
    assertStrictEquals(decodeFrameHeader(bytes, 0, into), into);
    assertEquals(into, expected);
  }
  const bytes = encodeHeaderSlowly({
    fin: false,
    reservedBits: 5,
    opcode: Opcode.Pong,
    payloadLength: 0,
  });
  decodeFrameHeader(bytes, 0, into);
  assertEquals(into.fin, false);
  assertEquals(into.reservedBits, 5);
  assertEquals(into.opcode, Opcode.Pong);
});

Deno.test("decodeFrameHeader changes no given header before it is complete", () => {
  const into = header({ opcode: Opcode.Ping, maskingKey: 7, payloadLength: 9 });
  const before = { ...into };
  for (const expected of HEADERS) {
    for (const partial of beginnings(encodeHeaderSlowly(expected))) {
      assertEquals(decodeFrameHeader(partial, 0, into), undefined);
    }
  }
  assertThrows(() => decodeFrameHeader(hex`827e 0005`, 0, into));
  assertEquals(into, before);
});

Deno.test("decodeFrame: undefined at every split point", () => {
  for (const length of [0, 1, 5, 125, 126, 300, 65535, 65536]) {
    for (const maskingKey of [undefined, KEY]) {
      const expected = frame({ maskingKey, payload: pattern(length) });
      const bytes = encodeFrame(expected);
      const partials = assertUntouched(
        bytes,
        () =>
          [...beginnings(bytes)].filter((partial) =>
            decodeFrame(partial) === undefined &&
            decodeFrame(partial, { inPlace: true }) === undefined
          ),
      );
      assertEquals(partials.length, bytes.length);
      assertEquals(decodeFrame(bytes)?.frame, expected);
    }
  }
});

Deno.test("decodeFrame: frames one behind the other", () => {
  const frames = [
    frame({ fin: false, payload: utf8("Hel") }),
    frame({ opcode: Opcode.Ping, maskingKey: KEY, payload: pattern(125) }),
    frame({ opcode: Opcode.Continuation, reservedBits: RSV1 }),
    frame({ opcode: Opcode.Binary, maskingKey: 0, payload: pattern(70000) }),
  ];
  const bytes = concat(...frames.map(encodeFrame), hex`81`);
  for (const inPlace of [false, true]) {
    const memory = bytes.slice();
    let offset = 0;
    for (const expected of frames) {
      const decoded = decodeFrame(memory, { offset, inPlace });
      assertEquals(decoded?.frame, expected);
      offset += decoded!.byteLength;
    }
    assertEquals(offset, bytes.length - 1);
    assertEquals(decodeFrame(memory, { offset, inPlace }), undefined);
  }
});

// The examples of RFC 6455 §5.7

const EXAMPLES: { name: string; bytes: Uint8Array[]; frames: Frame[] }[] = [
  {
    name: "a single-frame unmasked text message",
    bytes: [hex`81 05 48 65 6c 6c 6f`],
    frames: [frame({ payload: utf8("Hello") })],
  },
  {
    name: "a single-frame masked text message",
    bytes: [hex`81 85 37 fa 21 3d 7f 9f 4d 51 58`],
    frames: [frame({ maskingKey: KEY, payload: utf8("Hello") })],
  },
  {
    name: "a fragmented unmasked text message",
    bytes: [hex`01 03 48 65 6c`, hex`80 02 6c 6f`],
    frames: [
      frame({ fin: false, payload: utf8("Hel") }),
      frame({ opcode: Opcode.Continuation, payload: utf8("lo") }),
    ],
  },
  {
    name: "an unmasked ping request",
    bytes: [hex`89 05 48 65 6c 6c 6f`],
    frames: [frame({ opcode: Opcode.Ping, payload: utf8("Hello") })],
  },
  {
    name: "a masked ping response",
    bytes: [hex`8a 85 37 fa 21 3d 7f 9f 4d 51 58`],
    frames: [
      frame({ opcode: Opcode.Pong, maskingKey: KEY, payload: utf8("Hello") }),
    ],
  },
  {
    name: "256 bytes binary in a single unmasked frame",
    bytes: [concat(hex`82 7e 01 00`, pattern(256))],
    frames: [frame({ opcode: Opcode.Binary, payload: pattern(256) })],
  },
  {
    name: "64 KiB binary in a single unmasked frame",
    bytes: [concat(hex`82 7f 00 00 00 00 00 01 00 00`, pattern(65536))],
    frames: [frame({ opcode: Opcode.Binary, payload: pattern(65536) })],
  },
];

for (const { name, bytes, frames } of EXAMPLES) {
  Deno.test(`RFC 6455 §5.7: ${name}`, () => {
    assertEquals(frames.map(encodeFrame), bytes);
    const whole = concat(...bytes);
    let offset = 0;
    for (const expected of frames) {
      const rules: FrameRules = {
        role: expected.maskingKey === undefined ? "client" : "server",
      };
      const decoded = decodeFrame(whole, { offset, rules });
      assertEquals(decoded?.frame, expected);
      offset += decoded!.byteLength;
    }
    assertEquals(offset, whole.length);
  });
}

// Whose memory it is

/** As Node's Buffer, whose `slice` is a view. */
class ViewSlicer extends Uint8Array<ArrayBuffer> {
  override slice(start?: number, end?: number): Uint8Array<ArrayBuffer> {
    return this.subarray(start, end);
  }
}

for (const maskingKey of [undefined, KEY]) {
  const which = maskingKey === undefined ? "an unmasked" : "a masked";

  Deno.test(`decodeFrame copies the payload of ${which} frame`, () => {
    for (const length of [0, 5, 64, 5000]) {
      const expected = frame({ maskingKey, payload: pattern(length) });
      const bytes = amidst(encodeFrame(expected));
      const slicer = new ViewSlicer(bytes.buffer);
      for (const received of [bytes, slicer, shared(bytes)]) {
        const decoded = assertUntouched(
          received,
          () => decodeFrame(received, { offset: 3 }),
        );
        assertEquals(decoded?.frame, expected);
        assertNotStrictEquals(decoded!.frame.payload.buffer, received.buffer);
      }
    }
  });

  Deno.test(`decodeFrame in place gives a view on ${which} frame`, () => {
    for (const length of [0, 5, 64, 5000]) {
      const payload = pattern(length);
      const bytes = amidst(encodeFrame(frame({ maskingKey, payload })));
      const headerLength = frameHeaderLength(length, {
        masked: maskingKey !== undefined,
      });
      const expected = bytes.slice();
      expected.set(payload, 3 + headerLength);

      const decoded = decodeFrame(bytes, { offset: 3, inPlace: true });
      assertEquals(decoded?.frame.payload, payload);
      assertStrictEquals(decoded?.frame.payload.buffer, bytes.buffer);
      assertEquals(decoded?.frame.payload.byteOffset, 3 + headerLength);
      assertEquals(decoded?.byteLength, headerLength + length);
      assertEquals(bytes, expected, "only the payload is changed");
    }
  });

  Deno.test(`encodeFrame leaves the payload of ${which} frame alone`, () => {
    for (const length of [0, 5, 64, 5000]) {
      const payload = amidst(pattern(length)).subarray(3, 3 + length);
      const init = Object.freeze(
        { opcode: Opcode.Binary, maskingKey, payload } as const,
      );
      const bytes = assertUntouched(payload, () => encodeFrame(init));
      assertNotStrictEquals(bytes.buffer, payload.buffer);
      assertEquals(bytes.length, bytes.buffer.byteLength, "one allocation");
    }
  });
}

Deno.test("decodeFrame judges the header before the payload has arrived", () => {
  const bytes = hex`81 84 37fa213d`;
  assertEquals(decodeFrame(bytes), undefined);
  assertEquals(decodeFrame(bytes, { rules: { role: "server" } }), undefined);
  assertFault(() => decodeFrame(bytes, { rules: { role: "client" } }), {
    kind: "masking",
    closeCode: 1002,
    naming: "A frame from the server is masked",
  });
  const rules: FrameRules = { role: "server", maxPayloadLength: 3 };
  assertFault(() => decodeFrame(bytes, { rules }), {
    kind: "message-too-big",
    closeCode: 1009,
    naming: "larger than 3 bytes (4)",
  });
});

Deno.test("decodeFrame judges nothing where no rules are given", () => {
  const reserved = frame({ fin: false, reservedBits: 7, opcode: 0xf });
  assertEquals(decodeFrame(encodeFrame(reserved))?.frame, reserved);
});

// The rules of RFC 6455 §5.1, §5.2 and §5.5

/** As a frame that `role` receives: masked if that is the server. */
function received(role: Role, init: Partial<FrameHeader> = {}): FrameHeader {
  return header({ maskingKey: role === "server" ? KEY : undefined, ...init });
}

Deno.test("checkFrameHeader takes the six opcodes and refuses the others", () => {
  for (const role of ROLES) {
    for (const opcode of OPCODES) {
      const check = () =>
        checkFrameHeader(received(role, { opcode }), { role });
      if ([...DATA, ...CONTROL].some((known) => known === opcode)) check();
      else {
        assertFault(check, {
          kind: "reserved-opcode",
          closeCode: 1002,
          naming: `(0x${opcode.toString(16)})`,
        });
      }
    }
  }
});

Deno.test("checkFrameHeader: a server takes masked frames, a client unmasked ones", () => {
  for (const opcode of [...DATA, ...CONTROL]) {
    for (const maskingKey of [0, KEY]) {
      const masked = header({ opcode, maskingKey });
      checkFrameHeader(masked, { role: "server" });
      assertFault(() => checkFrameHeader(masked, { role: "client" }), {
        kind: "masking",
        closeCode: 1002,
        naming: "A frame from the server is masked",
      });
    }
    const unmasked = header({ opcode });
    checkFrameHeader(unmasked, { role: "client" });
    assertFault(() => checkFrameHeader(unmasked, { role: "server" }), {
      kind: "masking",
      closeCode: 1002,
      naming: "A frame from the client is not masked",
    });
  }
});

Deno.test("reserved bits are numbered from RSV1 down", () => {
  assertEquals([RSV1, RSV2, RSV3], [4, 2, 1]);
});

Deno.test("checkFrameHeader takes only the reserved bits that are claimed", () => {
  const role = "client";
  for (let reservedBits = 0; reservedBits < 8; reservedBits++) {
    for (const claimed of [undefined, 0, 1, 2, 3, 4, 5, 6, 7]) {
      const rules: FrameRules = claimed === undefined
        ? { role }
        : { role, reservedBits: claimed };
      const check = () => checkFrameHeader(header({ reservedBits }), rules);
      const unclaimed = [RSV1, RSV2, RSV3].map((bit) =>
        (reservedBits & bit) !== 0 && ((claimed ?? 0) & bit) === 0 ? 1 : 0
      ).join("");
      if (unclaimed === "000") check();
      else {
        assertFault(check, {
          kind: "reserved-bits",
          closeCode: 1002,
          naming: `(RSV1-3: ${unclaimed})`,
        });
      }
    }
  }
});

Deno.test("checkFrameHeader refuses fragments of control frames only", () => {
  for (const role of ROLES) {
    for (const opcode of DATA) {
      checkFrameHeader(received(role, { opcode, fin: false }), { role });
    }
    for (const opcode of CONTROL) {
      const fragment = received(role, { opcode, fin: false });
      assertFault(() => checkFrameHeader(fragment, { role }), {
        kind: "control-frame-fragmented",
        closeCode: 1002,
        naming: `(opcode 0x${opcode.toString(16)})`,
      });
    }
  }
});

Deno.test("checkFrameHeader takes at most 125 bytes in control frames only", () => {
  for (const role of ROLES) {
    for (const payloadLength of [0, 1, 124, 125, 126, 65536, 2 ** 53 - 1]) {
      for (const opcode of DATA) {
        checkFrameHeader(received(role, { opcode, payloadLength }), { role });
      }
      for (const opcode of CONTROL) {
        const sized = received(role, { opcode, payloadLength });
        if (payloadLength <= 125) checkFrameHeader(sized, { role });
        else {
          assertFault(() => checkFrameHeader(sized, { role }), {
            kind: "control-frame-too-long",
            closeCode: 1002,
            naming: `at most 125 bytes (${payloadLength})`,
          });
        }
      }
    }
  }
});

Deno.test("checkFrameHeader takes a payload up to the limit", () => {
  const role = "client";
  for (const limit of [0, 1, 1000, 2 ** 32]) {
    const rules: FrameRules = { role, maxPayloadLength: limit };
    checkFrameHeader(header({ payloadLength: 0 }), rules);
    checkFrameHeader(header({ payloadLength: limit }), rules);
    const larger = header({ payloadLength: limit + 1 });
    assertFault(() => checkFrameHeader(larger, rules), {
      kind: "message-too-big",
      closeCode: 1009,
      naming: `larger than ${limit} bytes (${limit + 1})`,
    });
  }
});

// Encoding

Deno.test("encodeFrame: a final frame without payload is what opcode alone asks for", () => {
  assertEquals(encodeFrame({ opcode: Opcode.Pong }), hex`8a 00`);
  assertEquals(
    encodeFrame({ opcode: Opcode.Close, maskingKey: KEY }),
    hex`88 80 37fa213d`,
  );
  assertEquals(
    encodeFrameHeader({ opcode: Opcode.Text, payloadLength: 0 }),
    hex`81 00`,
  );
});

Deno.test("encodeFrame writes every field", () => {
  assertEquals(
    encodeFrame({
      fin: false,
      reservedBits: RSV1 | RSV3,
      opcode: 0xb,
      maskingKey: 0,
      payload: hex`01 02`,
    }),
    bits`
      +-+-+-+-+-------+-+-------------+
      |F|R|R|R| opcode|M| Payload len |
      +-+-+-+-+-------+-+-------------+
      |0|1|0|1|1 0 1 1|1|0 0 0 0 0 1 0|
      +-+-+-+-+-------+-+-------------+
      |          Masking-key          |
      +-------------------------------+
      |0 0 0 0 0 0 0 0|0 0 0 0 0 0 0 0|
      |0 0 0 0 0 0 0 0|0 0 0 0 0 0 0 0|
      +-------------------------------+
      |         Payload Data          |
      +-------------------------------+
      |0 0 0 0 0 0 0 1|0 0 0 0 0 0 1 0|
      +-------------------------------+`,
  );
});

Deno.test("encodeFrameHeaderInto writes at the offset and nowhere else", () => {
  for (const init of HEADERS) {
    const expected = encodeHeaderSlowly(init);
    for (let offset = 0; offset <= 9; offset++) {
      const memory = pattern(offset + expected.length + 2);
      const around = memory.slice();
      around.set(expected, offset);
      assertEquals(
        encodeFrameHeaderInto(init, memory, offset),
        expected.length,
      );
      assertEquals(memory, around);
    }
    const exact = new Uint8Array(expected.length);
    encodeFrameHeaderInto(init, exact);
    assertEquals(exact, expected);
  }
});

Deno.test("encodeFrameHeaderInto refuses where there is no room, and writes nothing", () => {
  for (const init of HEADERS) {
    const { byteLength } = init;
    const memory = new Uint8Array(20);
    for (const offset of [-1, 21 - byteLength, 20, 21, NaN]) {
      const encode = () => encodeFrameHeaderInto(init, memory, offset);
      assertUntouched(memory, () =>
        assertThrows(
          encode,
          RangeError,
          `A header of ${byteLength} bytes does not fit at offset ${offset} of 20 bytes`,
        ));
    }
    encodeFrameHeaderInto(init, memory, 20 - byteLength);
  }
});

const OUT_OF_RANGE: Record<
  Exclude<keyof FrameHeaderInit, "fin">,
  number[]
> = {
  opcode: [-1, 16, 1.5, NaN],
  reservedBits: [-1, 8, 0.5, NaN],
  maskingKey: [-1, 2 ** 32, 0.5, NaN],
  payloadLength: [-1, 0.5, 125.5, 2 ** 53, Infinity, NaN],
};

for (const [field, values] of Object.entries(OUT_OF_RANGE)) {
  Deno.test(`encoding refuses a header whose ${field} is out of range`, () => {
    for (const value of values) {
      const init: FrameHeaderInit = {
        opcode: Opcode.Text,
        payloadLength: 0,
        [field]: value,
      };
      const says = `The header's ${field} is out of range (${value})`;
      assertThrows(() => encodeFrameHeader(init), RangeError, says);
      const memory = new Uint8Array(14);
      assertUntouched(memory, () =>
        assertThrows(
          () => encodeFrameHeaderInto(init, memory),
          RangeError,
          says,
        ));
      if (field === "payloadLength") continue;
      assertThrows(() => encodeFrame(init), RangeError, says);
    }
  });
}

// Masking (RFC 6455 §5.3)

/** A key of which no byte equals another, the highest bit set. */
const UNEVEN_KEY = 0xc1a5397e;

/**
 * Masks from `start` to `end` of `length` bytes that begin `alignment` bytes
 * behind an 8-byte boundary, and compares all memory with the slow way.
 */
function assertMasks(
  { length, alignment = 0, key = UNEVEN_KEY, offset = 0, start, end }: {
    length: number;
    alignment?: number;
    key?: number;
    offset?: number;
    start?: number;
    end?: number;
  },
): void {
  const memory = pattern(alignment + length + 9);
  const bytes = memory.subarray(alignment, alignment + length);
  const expected = memory.slice();
  const from = start ?? 0;
  expected.set(
    maskSlowly(bytes.subarray(from, end ?? length), key, offset),
    alignment + from,
  );
  mask(bytes, key, offset, start, end);
  if (memory.every((byte, i) => byte === expected[i])) return;
  const where = { length, alignment, key, offset, start, end };
  assertEquals(memory, expected, JSON.stringify(where));
}

Deno.test("mask: every length to 300, every alignment and offset", () => {
  for (let length = 0; length <= 300; length++) {
    for (let alignment = 0; alignment < 8; alignment++) {
      for (let offset = 0; offset < 4; offset++) {
        assertMasks({ length, alignment, offset });
      }
    }
  }
});

Deno.test("mask: every length about 2048, every alignment and offset", () => {
  for (let length = 2030; length <= 2070; length++) {
    for (let alignment = 0; alignment < 8; alignment++) {
      for (let offset = 0; offset < 4; offset++) {
        assertMasks({ length, alignment, offset });
      }
    }
  }
});

Deno.test("mask: every start and end within 80 bytes", () => {
  const length = 80;
  for (let start = 0; start <= length; start++) {
    for (let end = start; end <= length; end++) {
      assertMasks({ length, alignment: 1, offset: start & 3, start, end });
    }
  }
});

Deno.test("mask: starts and ends about the longest words", () => {
  const length = 2100;
  for (let start = 0; start <= 20; start++) {
    for (let left = 0; left <= 40; left++) {
      assertMasks({ length, alignment: 3, start, end: length - left });
    }
  }
});

Deno.test("mask: any offset at which a payload can stand", () => {
  for (const big of [2 ** 29, 2 ** 31, 2 ** 32, 2 ** 48, 2 ** 53 - 4]) {
    for (let further = 0; further < 4; further++) {
      for (const length of [5, 100, 2100]) {
        assertMasks({ length, offset: big + further });
      }
    }
  }
});

Deno.test("mask: every bit of the key", () => {
  for (let bit = 0; bit < 32; bit++) {
    for (const length of [11, 43, 2059]) {
      assertMasks({ length, alignment: 2, offset: 1, key: 2 ** bit });
    }
  }
});

Deno.test("mask: continued at every point, the parts give the whole", () => {
  for (const length of [100, 2100]) {
    const expected = maskSlowly(pattern(length), UNEVEN_KEY);
    for (let split = 0; split <= length; split++) {
      const views = pattern(length);
      mask(views.subarray(0, split), UNEVEN_KEY);
      mask(views.subarray(split), UNEVEN_KEY, split);
      assertEquals(views, expected);

      const ranges = pattern(length);
      mask(ranges, UNEVEN_KEY, 0, 0, split);
      mask(ranges, UNEVEN_KEY, split, split);
      assertEquals(ranges, expected);
    }
  }
});

Deno.test("mask undoes itself, and a key of 0 changes nothing", () => {
  for (const length of [0, 31, 32, 2047, 2048, 100_000]) {
    const bytes = pattern(length);
    mask(bytes, UNEVEN_KEY);
    mask(bytes, UNEVEN_KEY);
    mask(bytes, 0);
    assertEquals(bytes, pattern(length));
  }
});

Deno.test("mask refuses a range that is not within the bytes", () => {
  const memory = pattern(5000);
  for (const length of [0, 10, 100, 3000]) {
    const bytes = memory.subarray(1000, 1000 + length);
    const ranges = [
      [-1, length],
      [0, length + 1],
      [0, length + 100],
      [length + 1, length],
      [length + 1, length + 1],
      [1, 0],
      [NaN, length],
      [0, NaN],
    ] as const;
    for (const [start, end] of ranges) {
      assertUntouched(bytes, () =>
        assertThrows(
          () => mask(bytes, KEY, 0, start, end),
          RangeError,
          `(${start} to ${end} of ${length})`,
        ));
    }
    mask(bytes, KEY, 0, length, length);
    mask(bytes, KEY, 0, 0, 0);
  }
});

// Close frames (RFC 6455 §5.5.1, §7.4)

const CLOSE_CODES: [from: number, to: number, valid: boolean, why: string][] = [
  [0, 999, false, "not used"],
  [1000, 1003, true, "defined by §7.4.1"],
  [1004, 1004, false, "reserved"],
  [1005, 1006, false, "never on the wire"],
  [1007, 1011, true, "defined by §7.4.1"],
  [1012, 1014, true, "registered with IANA"],
  [1015, 1015, false, "never on the wire"],
  [1016, 2999, false, "reserved for the protocol"],
  [3000, 3999, true, "registered by libraries"],
  [4000, 4999, true, "private"],
  [5000, 65535, false, "not defined"],
];

function codeBytes(code: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(Math.floor(code / 256), code % 256);
}

for (const [from, to, valid, why] of CLOSE_CODES) {
  const verb = valid ? "may" : "must not";
  Deno.test(`close codes ${from} to ${to} ${verb} be sent: ${why}`, () => {
    for (let code = from; code <= to; code++) {
      assertEquals(isValidCloseCode(code), valid, `${code}`);
      const payload = concat(codeBytes(code), utf8("why"));
      const decode = () => decodeClosePayload(payload);
      const encode = () => encodeClosePayload(code, "why");
      if (valid) {
        assertEquals(decode(), { code, reason: "why" });
        assertEquals(encode(), payload);
        continue;
      }
      assertFault(decode, {
        kind: "invalid-close-code",
        closeCode: 1002,
        naming: `(${code})`,
      });
      assertThrows(encode, RangeError, `must not be sent (${code})`);
    }
  });
}

Deno.test("close codes are whole numbers of 16 bits", () => {
  for (const code of [1000.5, 3000.5, NaN, -1, -1000, 65536 + 1000, Infinity]) {
    assertEquals(isValidCloseCode(code), false);
    assertThrows(() => encodeClosePayload(code), RangeError, `(${code})`);
  }
});

Deno.test("a Close frame without a code is empty", () => {
  assertEquals(encodeClosePayload(), new Uint8Array());
  assertEquals(encodeClosePayload(undefined, ""), new Uint8Array());
  assertEquals(decodeClosePayload(new Uint8Array()), {
    code: CloseCode.NoStatusReceived,
    reason: "",
  });
  assertThrows(
    () => encodeClosePayload(undefined, "so"),
    TypeError,
    `A close reason needs a close code ("so")`,
  );
});

Deno.test("a close code alone has an empty reason", () => {
  assertEquals(encodeClosePayload(1000), hex`03 e8`);
  assertEquals(decodeClosePayload(hex`03 e8`), { code: 1000, reason: "" });
});

Deno.test("a close payload of one byte is refused", () => {
  for (const byte of [0x00, 0x03, 0xff]) {
    assertFault(() => decodeClosePayload(Uint8Array.of(byte)), {
      kind: "invalid-close-payload",
      closeCode: 1002,
      naming: `(1: 0x${byte.toString(16).padStart(2, "0")})`,
    });
  }
});

Deno.test("close reasons are UTF-8, kept as they are", () => {
  const reasons: [reason: string, bytes: Uint8Array][] = [
    ["bye", hex`62 79 65`],
    ["é", hex`c3 a9`],
    ["再見", hex`e5 86 8d e8 a6 8b`],
    ["👋", hex`f0 9f 91 8b`],
    ["\0", hex`00`],
    ["\ufeffx", hex`ef bb bf 78`],
  ];
  for (const [reason, bytes] of reasons) {
    const payload = concat(hex`03 e9`, bytes);
    assertEquals(encodeClosePayload(1001, reason), payload);
    assertEquals(decodeClosePayload(payload), { code: 1001, reason });
  }
});

Deno.test("close reasons take at most 123 bytes, however many characters", () => {
  const full = [
    "a".repeat(123),
    "é".repeat(61) + "a",
    "界".repeat(41),
    "👋".repeat(30) + "abc",
  ];
  for (const reason of full) {
    const payload = encodeClosePayload(1000, reason);
    assertEquals(payload.length, MAX_CONTROL_PAYLOAD_LENGTH);
    assertEquals(decodeClosePayload(payload), { code: 1000, reason });
    assertThrows(
      () => encodeClosePayload(1000, reason + "a"),
      RangeError,
      "at most 123 bytes of UTF-8 (124)",
    );
  }
});

Deno.test("a close reason that is not UTF-8 is answered with 1007", () => {
  const wrong = [
    hex`ff`, // never in UTF-8
    hex`80`, // a continuation without a beginning
    hex`c3`, // cut off
    hex`f0 9f 91`, // cut off
    hex`c0 80`, // overlong
    hex`e0 80 af`, // overlong
    hex`ed a0 80`, // a surrogate
    hex`f4 90 80 80`, // above U+10FFFF
  ];
  for (const bytes of wrong) {
    for (const reason of [bytes, concat(utf8("why: "), bytes)]) {
      const payload = concat(codeBytes(4001), reason);
      const error = assertFault(() => decodeClosePayload(payload), {
        kind: "invalid-utf8",
        closeCode: 1007,
        naming: "not valid UTF-8 (code 4001)",
      });
      assertInstanceOf(error.cause, TypeError);
    }
  }
});

Deno.test("the code of a Close frame is judged before its reason", () => {
  assertFault(() => decodeClosePayload(hex`03 ed ff`), {
    kind: "invalid-close-code",
    closeCode: 1002,
    naming: "(1005)",
  });
});

Deno.test("decodeClosePayload leaves the payload alone", () => {
  const payload = amidst(hex`03 e8 62 79 65`).subarray(3, 8);
  const decoded = assertUntouched(payload, () => decodeClosePayload(payload));
  assertEquals(decoded, { code: 1000, reason: "bye" });
});

// Properties

const maskingKeys = fc.option(fc.nat(2 ** 32 - 1), { nil: undefined });

const fields = {
  fin: fc.boolean(),
  reservedBits: fc.nat(7),
  opcode: fc.nat(15),
  maskingKey: maskingKeys,
};

const headers = fc.record({
  ...fields,
  payloadLength: fc.oneof(
    fc.nat(130),
    fc.integer({ min: 65530, max: 65540 }),
    fc.maxSafeNat(),
  ),
}, { noNullPrototype: true });

const frames: fc.Arbitrary<Frame> = fc.record({
  ...fields,
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.nat(70000).map(pattern),
  ),
}, { noNullPrototype: true });

/** Bytes that are, more often than any, the beginning of a long frame. */
const wire = fc.tuple(
  fc.nat(255),
  fc.oneof(fc.nat(255), fc.constantFrom(126, 127, 254, 255)),
  fc.array(fc.oneof(fc.constantFrom(0, 0, 1), fc.nat(255)), { maxLength: 14 }),
).map(([first, second, rest]) => Uint8Array.of(first, second, ...rest));

property("any header is encoded as the slow way does", [headers], (init) => {
  const bytes = encodeFrameHeader(init);
  assertEquals(bytes, encodeHeaderSlowly(init));
  assertEquals(decodeFrameHeader(bytes), {
    ...init,
    byteLength: bytes.length,
  });
});

property("any bytes are decoded as the slow way does", [
  fc.oneof(wire, fc.uint8Array({ maxLength: 16 })),
  fc.nat(9),
], (bytes, offset) => {
  const decode = () =>
    decodeFrameHeader(concat(pattern(offset), bytes), offset);
  const expected = decodeHeaderSlowly(bytes);
  if (typeof expected === "string") {
    assertEquals(assertThrows(decode, ProtocolError).kind, expected);
  } else assertEquals(decode(), expected);
});

property("any frame comes back from its bytes, and only from all of them", [
  frames,
  fc.uint8Array({ maxLength: 20 }),
  fc.boolean(),
  fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
], (expected, rest, inPlace, part) => {
  const bytes = encodeFrame(expected);
  const partial = bytes.slice(0, Math.floor(bytes.length * part));
  assertEquals(decodeFrame(partial, { inPlace }), undefined);
  assertEquals(decodeFrame(concat(bytes, rest), { inPlace }), {
    frame: expected,
    byteLength: bytes.length,
  });
});

property("any range is masked as the slow way does", [
  fc.nat(5000),
  fc.nat(7),
  fc.nat(2 ** 32 - 1),
  fc.maxSafeNat(),
  fc.tuple(fc.nat(5000), fc.nat(5000)),
], (length, alignment, key, offset, ends) => {
  const [start, end] = ends.map((at) => Math.min(at, length))
    .sort((a, b) => a - b);
  assertMasks({ length, alignment, key, offset, start: start!, end: end! });
});

property("any close code and reason come back from their bytes", [
  fc.oneof(
    fc.integer({ min: 3000, max: 4999 }),
    fc.constantFrom(1000, 1001, 1003, 1011, 1014),
  ),
  fc.string({ unit: "grapheme", maxLength: 40 })
    .filter((reason) => utf8(reason).length <= 123),
], (code, reason) => {
  const payload = encodeClosePayload(code, reason);
  assertEquals(decodeClosePayload(payload), { code, reason });
});
