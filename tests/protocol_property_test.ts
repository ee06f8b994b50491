/** Any frames, any messages, cut anywhere: RFC 6455 §5 to §8. */
import { assert, assertEquals } from "@std/assert";
import { encodeFrame } from "../frame.ts";
import { PreparedMessage } from "../prepared.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
import { flipping } from "./_fake_extensions.ts";
import { anyCharacter, fc, property } from "./_property.ts";
import {
  cut,
  drain,
  feed,
  framesFrom,
  joinChunks,
  KEY,
  outcome,
  outcomeInChunks,
  ROLES,
  type Seen,
  takeAll,
  WAYS,
} from "./_protocol.ts";
import { bytesOf, receiveSlowly, type SlowFrame } from "./_slow_protocol.ts";

const roles = fc.constantFrom(...ROLES);
const ways = fc.constantFrom(...WAYS);
const positions = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
  maxLength: 12,
});

function cutsIn(length: number, at: number[]): number[] {
  return at.map((part) => Math.floor(part * length)).sort((a, b) => a - b);
}

// Any frames

const payloads = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.string({ unit: anyCharacter, maxLength: 12 }).map(utf8),
  },
  { weight: 2, arbitrary: fc.string({ maxLength: 50 }).map(utf8) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 4 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(hex`c3`, hex`a9`, hex`f0 9f`, hex`91 8b`),
  },
  { weight: 1, arbitrary: fc.integer({ min: 120, max: 140 }).map(pattern) },
).map((bytes) => new Uint8Array(bytes));

const closePayloads = fc.tuple(
  fc.constantFrom(1000, 1001, 1005, 1014, 1015, 2999, 3000, 4999, 5000),
  payloads,
).map(([code, reason]) =>
  concat(Uint8Array.of(code >> 8, code & 255), reason.subarray(0, 123))
);

/** Mostly what a peer might send, and now and then what it must not. */
function framesTo(role: "client" | "server"): fc.Arbitrary<SlowFrame[]> {
  const rarely = <T>(usual: T, others: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 60, arbitrary: fc.constant(usual) }, {
      weight: 1,
      arbitrary: others,
    });
  const common = {
    reservedBits: rarely(0, fc.nat(7)),
    masked: rarely(role === "server", fc.boolean()),
  };
  const data = fc.record({
    ...common,
    fin: fc.boolean(),
    opcode: fc.constantFrom(0, 0, 0, 1, 2),
    payload: payloads,
  });
  const control = fc.record({
    ...common,
    fin: rarely(true, fc.boolean()),
    opcode: fc.constantFrom(9, 10),
    payload: payloads,
  });
  const close = fc.record({
    ...common,
    fin: fc.constant(true),
    opcode: fc.constant(8),
    payload: fc.oneof(closePayloads, payloads),
  });
  const any = fc.record({
    ...common,
    fin: fc.boolean(),
    opcode: fc.nat(15),
    payload: payloads,
  });
  return fc.array(
    fc.oneof(
      { weight: 20, arbitrary: data },
      { weight: 6, arbitrary: control },
      { weight: 1, arbitrary: close },
      { weight: 1, arbitrary: any },
    ),
    { maxLength: 12 },
  ).map((frames) => inSequence(frames));
}

/** Puts most opcodes right, so that not all end at the second frame. */
function inSequence(frames: SlowFrame[]): SlowFrame[] {
  let isBegun = false;
  return frames.map((frame, i) => {
    if (frame.opcode >= 3) return frame;
    const isOdd = (frame.payload[0] ?? i) % 40 === 17;
    const opcode = isOdd ? frame.opcode : isBegun ? 0 : frame.opcode || 1;
    isBegun = !frame.fin;
    return { ...frame, opcode };
  });
}

for (const role of ROLES) {
  property(
    `any frames to a ${role} are judged as the slow way does`,
    [framesTo(role), positions, ways, fc.boolean(), fc.nat(6), fc.nat(200)],
    (frames, at, way, chunks, fragments, size) => {
      const options = {
        role,
        maxFragments: fragments === 0 ? 1000 : fragments + 1,
        maxMessageSize: size < 20 ? size : 1000,
      };
      const expected = receiveSlowly(frames, options);
      const bytes = concat(
        ...frames.map(({ masked, ...frame }, i) =>
          encodeFrame({
            ...frame,
            maskingKey: masked ? Math.imul(KEY, i + 1) >>> 0 : undefined,
          })
        ),
      );
      const receive = chunks ? outcomeInChunks : outcome;
      const found = receive(options, bytes, cutsIn(bytes.length, at), way);
      const messages = found.events.flatMap((event): [string, Uint8Array][] =>
        event.type === "close" ? [] : [[event.type, bytesOf(event.data)]]
      );
      assertEquals(messages, expected.events);
      const answers = found.sent.map((
        { opcode, payload },
      ): [number, Uint8Array] => [opcode, payload]);
      const end = found.events.at(-1);
      if (expected.end === undefined) {
        assertEquals([found.state, found.transport], ["open", "keep"]);
      } else if (expected.end[0] === "closed") {
        assert(end?.type === "close" && end.wasClean);
        assertEquals(found.state, "handshake-closed");
        assertEquals(end.code, expected.end[1]);
      } else {
        assert(end?.type === "close" && end.error && "kind" in end.error);
        assertEquals([end.error.kind, end.code], expected.end);
        assertEquals(found.state, "failed");
        const [opcode, payload] = answers.pop()!;
        assertEquals(opcode, 8);
        assertEquals(payload[0]! * 256 + payload[1]!, end.code);
      }
      assertEquals(answers, expected.answers);
    },
    1000,
  );
}

property("any bytes: no error but a Close frame, however they are cut", [
  roles,
  fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.array(
      fc.constantFrom(0, 1, 2, 0x80, 0x81, 0x82, 0x88, 0x89, 0x84, 0x85),
      {
        maxLength: 60,
      },
    ).map((bytes) => Uint8Array.from(bytes)),
  ),
  positions,
  ways,
], (role, bytes, at, way) => {
  const given = new Uint8Array(bytes);
  const whole = outcome({ role }, given);
  const cuts = cutsIn(given.length, at);
  assertEquals(outcome({ role }, given, cuts, way), whole);
  assertEquals(
    joinChunks(outcomeInChunks({ role }, given, cuts, way).events),
    whole.events,
  );
}, 1000);

// Any messages, there and back

type Action =
  | { do: "text"; data: string; asBytes: boolean }
  | { do: "binary"; data: Uint8Array<ArrayBuffer> }
  | { do: "prepared"; data: string }
  | { do: "fragments"; data: string; at: number[] }
  | { do: "binaryFragments"; data: Uint8Array<ArrayBuffer>; at: number[] }
  | { do: "ping" | "pong"; data: Uint8Array<ArrayBuffer> };

const texts = fc.oneof(
  fc.string({ unit: anyCharacter, maxLength: 60 }),
  fc.string({ maxLength: 200 }),
  fc.nat(70_000).map((length) => "ab".repeat(length).slice(0, length)),
  // Lone surrogates as well
  fc.array(fc.nat(0xffff), { maxLength: 20 }).map((units) =>
    String.fromCharCode(...units)
  ),
);
const blobs = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => new Uint8Array(bytes)),
  fc.constantFrom(125, 126, 65535, 65536, 131072, 200_000).map(pattern),
);
const small = fc.uint8Array({ maxLength: 125 })
  .map((bytes) => new Uint8Array(bytes));

const actions: fc.Arbitrary<Action[]> = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant("text" as const),
      data: texts,
      asBytes: fc.boolean(),
    }),
    fc.record({ do: fc.constant("binary" as const), data: blobs }),
    fc.record({ do: fc.constant("prepared" as const), data: texts }),
    fc.record({
      do: fc.constant("fragments" as const),
      data: texts,
      at: positions,
    }),
    fc.record({
      do: fc.constant("binaryFragments" as const),
      data: blobs,
      at: positions,
    }),
    fc.record({
      do: fc.constantFrom("ping" as const, "pong" as const),
      data: small,
    }),
  ),
  { minLength: 1, maxLength: 8 },
);

/** Performs the step, and returns what the other side should receive. */
function perform(protocol: WebSocketProtocol, action: Action): Seen[] {
  const { data } = action;
  const wellFormed = typeof data === "string" ? data.toWellFormed() : "";
  switch (action.do) {
    case "text":
      protocol.sendText(action.asBytes ? utf8(action.data) : action.data);
      return [{ type: "text", data: wellFormed }];
    case "prepared":
      protocol.sendPrepared(new PreparedMessage(action.data));
      return [{ type: "text", data: wellFormed }];
    case "binary":
      protocol.sendBinary(action.data);
      return [{ type: "binary", data: action.data }];
    case "fragments": {
      const ends = [...cutsIn(action.data.length, action.at), undefined];
      let from = 0;
      for (const end of ends) {
        const part = action.data.slice(from, end);
        protocol.sendFragment("text", part, { fin: end === undefined });
        from = end ?? 0;
      }
      return [{ type: "text", data: wellFormed }];
    }
    case "binaryFragments": {
      const parts = cut(action.data, cutsIn(action.data.length, action.at));
      const seen: Seen[] = [];
      parts.forEach((part, i) => {
        protocol.sendFragment("binary", part, { fin: i === parts.length - 1 });
        if (i === parts.length - 1) return;
        protocol.ping(Uint8Array.of(i));
        seen.push({ type: "ping", data: Uint8Array.of(i) });
      });
      return [...seen, { type: "binary", data: action.data }];
    }
    case "ping":
      protocol.ping(action.data);
      return [{ type: "ping", data: action.data }];
    case "pong":
      protocol.pong(action.data);
      return [{ type: "pong", data: action.data }];
  }
}

property("any messages arrive, and are echoed, and both sides end well", [
  actions,
  positions,
  ways,
  fc.boolean(),
  fc.boolean(),
  fc.boolean(),
], (todo, at, way, chunks, isFlipped, fromServer) => {
  const make = (role: "client" | "server") => {
    const extension = isFlipped
      ? flipping({
        wants: (length) => length === undefined || length % 2 === 0,
      })
      : undefined;
    const protocol = new WebSocketProtocol({
      role,
      extension,
      inPlace: way === "in place",
    });
    protocol.chunks = chunks;
    return protocol;
  };
  const [near, far] = fromServer
    ? [make("server"), make("client")]
    : [make("client"), make("server")];
  const expected = todo.flatMap((action) => perform(near, action));
  const pass = (from: WebSocketProtocol, to: WebSocketProtocol): Seen[] => {
    const bytes = takeAll(from);
    const events = feed(to, cut(bytes, cutsIn(bytes.length, at)), way);
    return joinChunks([...events, ...drain(to)]);
  };
  const arrived = pass(near, far);
  assertEquals(arrived, expected);
  for (const event of arrived) {
    if (event.type === "text") far.sendText(event.data);
    else if (event.type === "binary") far.sendBinary(event.data);
  }
  const isMessage = ({ type }: Seen) => type === "text" || type === "binary";
  const back = pass(far, near);
  assertEquals(back.filter(isMessage), expected.filter(isMessage));
  assertEquals(
    back.filter((event) => event.type === "pong"),
    expected.filter((event) => event.type === "ping")
      .map((event) => ({ ...event, type: "pong" })),
  );
  assert(takeAll(near).length === 0);
  near.close(1000, "done");
  const closed: Seen = {
    type: "close",
    code: 1000,
    reason: "done",
    wasClean: true,
  };
  assertEquals(pass(near, far), [closed]);
  assertEquals(pass(far, near), [{ ...closed, reason: "" }]);
  assertEquals([near.state, far.state], [
    "handshake-closed",
    "handshake-closed",
  ]);
});

property("frames that are queued come out in order, taken at any time", [
  roles,
  fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.nat(2000) },
      { weight: 1, arbitrary: fc.integer({ min: 120_000, max: 300_000 }) },
      { weight: 2, arbitrary: fc.constant("take" as const) },
      { weight: 1, arbitrary: fc.constant("release" as const) },
      {
        weight: 1,
        arbitrary: fc.string({ unit: anyCharacter, maxLength: 300 }),
      },
      {
        weight: 2,
        arbitrary: fc.oneof(fc.nat(300), fc.nat(200_000))
          .map((length) => new PreparedMessage(pattern(length))),
      },
    ),
    { maxLength: 40 },
  ),
], (role, steps) => {
  const protocol = new WebSocketProtocol({ role });
  const taken: Uint8Array[] = [];
  const expected: [number, Uint8Array][] = [];
  for (const step of steps) {
    if (step === "take") {
      const before = protocol.outputLength;
      const bytes = protocol.takeOutput();
      assertEquals(protocol.outputLength, before - (bytes?.length ?? 0));
      if (bytes !== undefined) taken.push(bytes.slice());
    } else if (step === "release") {
      protocol.releaseOutput();
    } else if (typeof step === "string") {
      protocol.sendText(step);
      expected.push([1, utf8(step)]);
    } else if (step instanceof PreparedMessage) {
      protocol.sendPrepared(step);
      expected.push([2, step.data]);
    } else {
      protocol.sendBinary(pattern(step));
      expected.push([2, pattern(step)]);
    }
  }
  const rest = takeAll(protocol);
  const frames = framesFrom(role, concat(...taken, rest));
  assertEquals(
    frames.map((
      { opcode, payload },
    ): [number, Uint8Array] => [opcode, payload]),
    expected,
  );
});
