/** Fragmentation, RFC 6455 §5.4. */
import type { FrameInit } from "../frame.ts";
import { assertEquals } from "@std/assert";
import { hex, pattern, utf8 } from "./_bytes.ts";
import {
  assertFails,
  assertReceived,
  binary,
  binaryEvent,
  cleanClose,
  close,
  last,
  more,
  ping,
  pingEvent,
  pong,
  pongEvent,
  ROLES,
  type Seen,
  text,
  textEvent,
  wire,
} from "./_protocol.ts";

Deno.test("§5.4: fragments make one message", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("Hel", false), more("l"), last("o"));
    assertReceived({ role }, bytes, {
      events: [textEvent("Hello")],
      sent: [],
      state: "open",
    });
    const two = wire(role, binary("a", false), last("b"), binary("c"));
    assertReceived({ role }, two, {
      events: [binaryEvent(utf8("ab")), binaryEvent(utf8("c"))],
    });
  }
});

Deno.test("§5.4: a message in fragments, bit by bit", () => {
  const server = hex`
    01 82 00 00 00 00 c3 a9
    00 80 01 02 03 04
    89 81 00 00 00 0f 21
    80 81 ff 00 00 00 9e`;
  // "é", nothing, a ping of "!" under a key that begins with 0, and "a"
  assertReceived({ role: "server" }, server, {
    events: [pingEvent("!"), textEvent("éa")],
    sent: [pong("!")],
  });
});

Deno.test("§5.4: a message cut into fragments at every point", () => {
  const whole = utf8("naïve 再見 👋 end");
  for (const role of ROLES) {
    for (let at = 0; at <= whole.length; at++) {
      const [first, second] = [whole.subarray(0, at), whole.subarray(at)];
      assertReceived({ role }, wire(role, text(first, false), last(second)), {
        events: [textEvent("naïve 再見 👋 end")],
      });
    }
  }
});

Deno.test("§5.4: a fragment for each byte", () => {
  for (const role of ROLES) {
    const bytes = Array.from(utf8("é👋"), (byte) => more(Uint8Array.of(byte)));
    assertReceived({ role }, wire(role, text("", false), ...bytes, last()), {
      events: [textEvent("é👋")],
    });
  }
});

Deno.test("§5.4: fragments may be empty: any of them, all of them", () => {
  const cases: [FrameInit[], Seen][] = [
    [[text("", false), last("")], textEvent("")],
    [[binary("", false), last("")], binaryEvent(utf8(""))],
    [[text("", false), more(""), more(""), last("")], textEvent("")],
    [[text("", false), more("a"), last("")], textEvent("a")],
    [[text("a", false), more(""), last("b")], textEvent("ab")],
    [[binary("", false), last("b")], binaryEvent(utf8("b"))],
  ];
  for (const role of ROLES) {
    for (const [frames, event] of cases) {
      assertReceived({ role }, wire(role, ...frames, text("next")), {
        events: [event, textEvent("next")],
        state: "open",
      });
    }
  }
});

Deno.test("§5.4: control frames between fragments, any number in any order", () => {
  for (const role of ROLES) {
    const bytes = wire(
      role,
      ping("1"),
      text("a", false),
      ping("2"),
      pong("3"),
      more("b"),
      pong("4"),
      ping("5"),
      ping(""),
      last("c"),
      pong("6"),
    );
    assertReceived({ role }, bytes, {
      events: [
        pingEvent("1"),
        pingEvent("2"),
        pongEvent("3"),
        pongEvent("4"),
        pingEvent("5"),
        pingEvent(""),
        textEvent("abc"),
        pongEvent("6"),
      ],
      sent: [pong("1"), pong("2"), pong("5"), pong("")],
      state: "open",
    });
  }
});

Deno.test("§5.4: control frames do not disturb a character cut in two", () => {
  for (const role of ROLES) {
    const bytes = wire(
      role,
      text(hex`61 f0 9f`, false),
      ping(hex`ff 80`),
      more(hex`91`),
      pong(hex`c0`),
      last(hex`8b`),
    );
    assertReceived({ role }, bytes, {
      events: [
        { type: "ping", data: hex`ff 80` },
        { type: "pong", data: hex`c0` },
        textEvent("a👋"),
      ],
    });
  }
});

Deno.test("§5.4: large fragments with control frames between them", () => {
  for (const role of ROLES) {
    const data = pattern(5000);
    const bytes = wire(
      role,
      binary(data.subarray(0, 200), false),
      ping("p"),
      more(data.subarray(200, 4500)),
      last(data.subarray(4500)),
      text("after"),
    );
    assertReceived({ role }, bytes, {
      events: [pingEvent("p"), binaryEvent(data), textEvent("after")],
    });
  }
});

Deno.test("§5.4, §5.5.1: a Close frame in the middle of a message ends it", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("a", false), close(1001, "bye"), last("b"));
    assertReceived({ role }, bytes, {
      events: [cleanClose(1001, "bye")],
      sent: [close(1001)],
      state: "handshake-closed",
    });
  }
});

Deno.test("§5.4: a continuation with nothing to continue fails", () => {
  for (const role of ROLES) {
    for (const frame of [more("a"), last("a"), more(""), last("")]) {
      assertFails({ role }, wire(role, frame), {
        closeCode: 1002,
        kind: "unexpected-continuation",
        reason: "There is no message to continue (opcode 0x0)",
        at: 2,
      });
      const whole = wire(role, text("whole"));
      assertFails({ role }, wire(role, whole, frame), {
        closeCode: 1002,
        kind: "unexpected-continuation",
        at: whole.length + 2,
        before: [textEvent("whole")],
      });
      const ended = wire(role, binary("a", false), last("b"), ping());
      assertFails({ role }, wire(role, ended, frame), {
        closeCode: 1002,
        kind: "unexpected-continuation",
        at: ended.length + 2,
        before: [binaryEvent(utf8("ab")), pingEvent()],
        sentBefore: [pong()],
      });
    }
  }
});

Deno.test("§5.4: a message must not begin within another", () => {
  for (const role of ROLES) {
    for (const first of [text("a", false), binary("", false)]) {
      for (const fin of [true, false]) {
        for (const second of [text("b", fin), binary("", fin)]) {
          for (const between of [[], [more("x")], [ping("p")]]) {
            const begun = wire(role, first, ...between);
            const { sent, events } = assertReceived({ role }, begun, {
              state: "open",
            });
            assertFails({ role }, wire(role, begun, second), {
              closeCode: 1002,
              kind: "expected-continuation",
              at: begun.length + 2,
              before: events,
              sentBefore: sent,
            });
          }
        }
      }
    }
  }
});

Deno.test("§5.4: after the last fragment a new message may begin", () => {
  for (const role of ROLES) {
    const bytes = wire(
      role,
      text("1", false),
      last("2"),
      binary("3", false),
      last("4"),
      text("5"),
      text("", false),
      last(""),
      binary("6"),
    );
    const { events } = assertReceived({ role }, bytes, { state: "open" });
    assertEquals(events, [
      textEvent("12"),
      binaryEvent(utf8("34")),
      textEvent("5"),
      textEvent(""),
      binaryEvent(utf8("6")),
    ]);
  }
});

Deno.test("an unfinished message is not delivered", () => {
  for (const role of ROLES) {
    const unfinished = [
      [text("a", false)],
      [text("a", false), more("b")],
      [binary("a", false), ping()],
    ];
    for (const frames of unfinished) {
      const { events } = assertReceived({ role }, wire(role, ...frames), {
        state: "open",
      });
      assertEquals(events.filter(({ type }) => type !== "ping"), []);
    }
  }
});
