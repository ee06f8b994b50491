/** Text is UTF-8, and fails where it is not: RFC 6455 §5.6 and §8.1. */
import { assert, assertEquals } from "@std/assert";
import { WebSocketProtocol } from "../protocol.ts";
import { concat, hex, utf8 } from "./_bytes.ts";
import {
  assertFails,
  assertReceived,
  binary,
  binaryEvent,
  close,
  drain,
  last,
  more,
  ping,
  pingEvent,
  pong,
  ROLES,
  text,
  textEvent,
  wire,
} from "./_protocol.ts";

const FAULT = { closeCode: 1007, kind: "invalid-utf8" };

/** What is not UTF-8, and which of its bytes is the first to show it. */
const MALFORMED: [
  why: string,
  bytes: Uint8Array<ArrayBuffer>,
  shows: number,
][] = [
  ["a continuation with no beginning", hex`80`, 0],
  ["the last continuation with no beginning", hex`bf`, 0],
  ["overlong: C0", hex`c0 80`, 0],
  ["overlong: C1", hex`c1 bf`, 0],
  ["beyond any character: F5", hex`f5 80 80 80`, 0],
  ["never in UTF-8: FE", hex`fe`, 0],
  ["never in UTF-8: FF", hex`ff`, 0],
  ["two bytes, the second ASCII", hex`c2 41`, 1],
  ["two bytes, the second too high", hex`df c0`, 1],
  ["overlong in three bytes", hex`e0 80 80`, 1],
  ["the last overlong one in three bytes", hex`e0 9f bf`, 1],
  ["the first surrogate", hex`ed a0 80`, 1],
  ["the last surrogate", hex`ed bf bf`, 1],
  ["a pair of surrogates", hex`ed a0 bd ed b1 8b`, 1],
  ["three bytes, the second ASCII", hex`e1 41 80`, 1],
  ["three bytes, the third too low", hex`e1 80 7f`, 2],
  ["three bytes, the third too high", hex`ec bf c0`, 2],
  ["overlong in four bytes", hex`f0 80 80 80`, 1],
  ["the last overlong one in four bytes", hex`f0 8f bf bf`, 1],
  ["U+110000", hex`f4 90 80 80`, 1],
  ["four bytes, the second ASCII", hex`f1 41 80 80`, 1],
  ["four bytes, the third ASCII", hex`f1 80 41 80`, 2],
  ["four bytes, the fourth ASCII", hex`f1 80 80 41`, 3],
  ["a character begun within another", hex`e2 82 c2 a9`, 2],
  ["a character begun within another's last byte", hex`f0 9f 91 f0`, 3],
];

const BEFORE = ["", "a", "é", "日本", "👋", "x".repeat(40)].map(utf8);

for (const [why, bytes, shows] of MALFORMED) {
  Deno.test(`§8.1: text fails at the byte that shows it: ${why}`, () => {
    for (const role of ROLES) {
      for (const before of BEFORE) {
        const all = concat(before, bytes, utf8("after"));
        const head = role === "server" ? 6 : 2;
        // The frame is never finished
        const frame = wire(role, text(concat(all, utf8("and more"))));
        assertFails({ role }, frame.subarray(0, head + all.length), {
          ...FAULT,
          at: head + before.length + shows + 1,
        });
      }
      assertFails({ role }, wire(role, text("a", false), last(bytes)), {
        ...FAULT,
        at: wire(role, text("a", false), more()).length + shows + 1,
      });
    }
  });

  Deno.test(`§8.1: text fails, whole and cut into fragments: ${why}`, () => {
    const data = concat(utf8("aé"), bytes, utf8("b"));
    for (const role of ROLES) {
      const whole = wire(role, text("fine"), text(data), ping("unseen"));
      assertFails({ role }, whole, {
        ...FAULT,
        at: wire(role, text("fine"), text(data.subarray(0, 4 + shows))).length,
        before: [textEvent("fine")],
      });
      for (let at = 0; at <= data.length; at++) {
        const fragments = [
          text(data.subarray(0, at), false),
          ping("between"),
          last(data.subarray(at)),
        ];
        const isSeenFirst = at > 3 + shows;
        assertFails({ role }, wire(role, ...fragments), {
          ...FAULT,
          at: isSeenFirst
            ? wire(role, text(data.subarray(0, 4 + shows), false)).length
            : wire(
              role,
              fragments[0]!,
              fragments[1]!,
              last(data.subarray(at, 4 + shows)),
            ).length,
          ...(isSeenFirst ? undefined : {
            before: [pingEvent("between")],
            sentBefore: [pong("between")],
          }),
        });
      }
    }
  });

  Deno.test(`binary data is not looked at: ${why}`, () => {
    for (const role of ROLES) {
      const frames = [binary(bytes), binary(bytes, false), last(bytes)];
      assertReceived({ role }, wire(role, ...frames), {
        events: [binaryEvent(bytes), binaryEvent(concat(bytes, bytes))],
      });
    }
  });
}

Deno.test("§8.1: a text that ends within a character fails at its end", () => {
  for (const role of ROLES) {
    for (const character of ["é", "界", "👋"].map(utf8)) {
      for (let length = 1; length < character.length; length++) {
        const tail = character.subarray(0, length);
        for (const before of BEFORE) {
          const data = concat(before, tail);
          assertFails({ role }, wire(role, text(data)), FAULT);
          assertFails({ role }, wire(role, text(data, false), last()), FAULT);
        }
        const begun = wire(role, text(tail, false), more());
        assertReceived({ role }, begun, { events: [], state: "open" });
        assertFails({ role }, wire(role, begun, last()), FAULT);
      }
    }
  }
});

Deno.test("§8.1: what a text ends with is not carried into the next one", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("a", false), last("é"), text(hex`a9`));
    assertFails({ role }, bytes, { ...FAULT, before: [textEvent("aé")] });
  }
});

Deno.test("§8.1: the first and last characters of each length", () => {
  const characters = [0, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfffd]
    .concat([0xfffe, 0xffff, 0x10000, 0x3ffff, 0x40000, 0xfffff, 0x10ffff])
    .map((point) => String.fromCodePoint(point));
  for (const role of ROLES) {
    const all = characters.join("");
    const data = utf8(all);
    const bytes = wire(
      role,
      ...characters.map((character) => text(character)),
      text(all),
      text(data.subarray(0, 8), false),
      more(data.subarray(8, 9)),
      last(data.subarray(9)),
    );
    assertReceived({ role }, bytes, {
      events: [...characters, all, all].map(textEvent),
    });
  }
});

Deno.test("§5.6: a byte order mark is kept, anywhere", () => {
  for (const role of ROLES) {
    for (const tail of ["", "x", "long ".repeat(20), "é\ufeff"]) {
      const data = `\ufeff${tail}`;
      const bytes = wire(
        role,
        text(data),
        text(hex`ef bb`, false),
        last(concat(hex`bf`, utf8(tail))),
        text(data),
      );
      assertReceived({ role }, bytes, {
        events: [data, data, data].map(textEvent),
      });
    }
  }
});

Deno.test("§5.5.1: a close reason that is not UTF-8 fails", () => {
  for (const role of ROLES) {
    for (const [, bytes] of MALFORMED) {
      const payload = concat(hex`03 e8`, utf8("why: "), bytes);
      assertFails({ role }, wire(role, close(payload)), FAULT);
    }
    assertFails({ role }, wire(role, close(hex`03 e8 e2 82`)), FAULT);
  }
});

Deno.test("in chunks, all that comes before the offending byte is delivered", () => {
  for (const textAs of ["string", "bytes"] as const) {
    const protocol = new WebSocketProtocol({ role: "client", textAs });
    protocol.chunks = true;
    const frame = wire("client", text(hex`61 c3 a9 e2 82 ff 62`));
    const data: unknown[] = [];
    for (const byte of frame) {
      protocol.receive(Uint8Array.of(byte));
      for (const event of drain(protocol)) {
        data.push(event.type === "chunk" ? event.data : event.type);
      }
    }
    const expected = textAs === "string"
      ? ["a", "é", "close"]
      : [...hex`61 c3 a9 e2 82`].map((byte) => Uint8Array.of(byte));
    assertEquals(data.slice(0, expected.length), expected);
    assertEquals(data.at(-1), "close");
  }
});

Deno.test("§7.1.6: the reason says in which fragment the fault is", () => {
  const fault = last(hex`ff`);
  for (
    const [frames, where] of [
      [[text(hex`ff`)], "in a frame"],
      [[text("a", false), fault], "in fragment 2"],
      [[text("a", false), more(), fault], "in fragment 3"],
    ] as const
  ) {
    for (const role of ROLES) {
      const protocol = new WebSocketProtocol({ role });
      protocol.receive(wire(role, ...frames));
      const event = drain(protocol).at(-1);
      assert(event?.type === "close");
      assertEquals(event.reason, `The text is not valid UTF-8 (${where})`);
    }
  }
});
