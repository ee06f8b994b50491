/** The closing handshake and failures: RFC 6455 §5.5.1 and §7. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  CloseCode,
  encodeClosePayload,
  encodeFrame,
  ProtocolError,
} from "../frame.ts";
import { type Closed, WebSocketProtocol } from "../protocol.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
import {
  assertFails,
  assertReceived,
  cleanClose,
  close,
  feed,
  KEY,
  last,
  ping,
  pingEvent,
  pong,
  ROLES,
  seen,
  sent,
  sentBy,
  takeAll,
  text,
  textEvent,
  wire,
} from "./_protocol.ts";

const AWAITING = { client: "await-close", server: "close" } as const;

/** A payload that encodeClosePayload would not make. */
function codeBytes(code: number, reason = ""): Uint8Array<ArrayBuffer> {
  return concat(Uint8Array.of(code >> 8, code & 0xff), utf8(reason));
}

function invalidState(act: () => unknown): DOMException {
  const error = assertThrows(act, DOMException);
  assertEquals(error.name, "InvalidStateError");
  return error;
}

// The peer begins

Deno.test("§5.5.1: a Close frame is answered, drawn in bytes", () => {
  assertReceived({ role: "client" }, hex`88 02 03 e8`, {
    events: [cleanClose(1000)],
    sent: [close(1000)],
    state: "handshake-closed",
    transport: "await-close",
  });
  assertReceived({ role: "server" }, hex`88 82 00 00 00 00 03 e8`, {
    events: [cleanClose(1000)],
    sent: [close(1000)],
    state: "handshake-closed",
    transport: "close",
  });
  const server = new WebSocketProtocol({ role: "server" });
  assertEquals([...server.receive(hex`88 80 01 02 03 04`)].length, 1);
  assertEquals(server.takeOutput(), hex`88 00`);
});

Deno.test("§7.1.5: a Close frame without a code is 1005, and so answered", () => {
  for (const role of ROLES) {
    assertReceived({ role }, wire(role, close()), {
      events: [cleanClose(1005)],
      sent: [close()],
      state: "handshake-closed",
      transport: AWAITING[role],
    });
  }
});

Deno.test("§5.5.1: the answer carries the peer's code", () => {
  for (const role of ROLES) {
    for (const reason of ["", "bye", "再見 👋", "r".repeat(123), "\ufeff"]) {
      assertReceived({ role }, wire(role, close(4321, reason)), {
        events: [cleanClose(4321, reason)],
        sent: [close(4321)],
      });
    }
  }
});

const CODES: [from: number, to: number, isValid: boolean, why: string][] = [
  [0, 999, false, "§7.4.2: not used"],
  [1000, 1003, true, "§7.4.1"],
  [1004, 1006, false, "§7.4.1: reserved, and never on the wire"],
  [1007, 1011, true, "§7.4.1"],
  [1012, 1014, true, "registered with IANA"],
  [1015, 1015, false, "§7.4.1: never on the wire"],
  [1016, 2999, false, "§7.4.2: reserved for the protocol"],
  [3000, 3999, true, "§7.4.2: for libraries and applications"],
  [4000, 4999, true, "§7.4.2: private"],
  [5000, 65535, false, "§7.4: not defined"],
];

for (const [from, to, isValid, why] of CODES) {
  const verb = isValid ? "ends well" : "fails with 1002";
  Deno.test(`a Close frame with ${from} to ${to} ${verb} (${why})`, () => {
    for (const role of ROLES) {
      for (let code = from; code <= to; code++) {
        const isEdge = code < from + 2 || code > to - 2;
        if (!isEdge && code % Math.ceil((to - from) / 16) !== 0) continue;
        for (const reason of isEdge ? ["", "why"] : ["why"]) {
          const bytes = wire(role, close(codeBytes(code, reason)));
          if (isValid) {
            assertReceived({ role }, bytes, {
              events: [cleanClose(code, reason)],
              sent: [close(code)],
              state: "handshake-closed",
            });
          } else {
            assertFails({ role }, bytes, {
              closeCode: 1002,
              kind: "invalid-close-code",
            });
          }
        }
      }
    }
  });
}

Deno.test("§5.5.1: a Close frame of one byte fails", () => {
  for (const role of ROLES) {
    for (const byte of [0x00, 0x03, 0xe8]) {
      assertFails({ role }, wire(role, close(Uint8Array.of(byte))), {
        closeCode: 1002,
        kind: "invalid-close-payload",
      });
    }
  }
});

Deno.test("§1.4, §5.5.1: what comes after a Close frame is ignored", () => {
  for (const role of ROLES) {
    for (
      const after of [
        text("late"),
        ping("late"),
        close(1001),
        pattern(200), // no frame at all
        hex`81`,
        last("x"),
      ]
    ) {
      assertReceived({ role }, wire(role, text("a"), close(1000, "x"), after), {
        events: [textEvent("a"), cleanClose(1000, "x")],
        sent: [close(1000)],
        state: "handshake-closed",
      });
    }
  }
});

Deno.test("§7.1.1: whether something came behind the Close frame is told", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("a"), close(1000));
    for (const isInSameRead of [true, false]) {
      const protocol = new WebSocketProtocol({ role });
      const after = utf8("x");
      drainAll(protocol, isInSameRead ? concat(bytes, after) : bytes);
      assertEquals(protocol.hasIgnoredInput, isInSameRead);
      protocol.receive(new Uint8Array(0));
      assertEquals(protocol.hasIgnoredInput, isInSameRead);
      protocol.receive(after);
      assertEquals(protocol.hasIgnoredInput, true);
      protocol.receiveEnd();
      assertEquals(protocol.hasIgnoredInput, true);
    }
  }
});

Deno.test("what comes after the end is not kept", () => {
  for (const role of ROLES) {
    for (const end of [close(1000), last("a fault")]) {
      const protocol = new WebSocketProtocol({ role });
      drainAll(protocol, wire(role, end));
      const before = protocol.state;
      const buffers = Array.from({ length: 8 }, () => wire(role, text("late")));
      for (const bytes of buffers) {
        assertEquals([...protocol.receive(bytes)], []);
        assertEquals(protocol.destination, undefined);
      }
      // If it were kept, joining it would take memory of its own every time.
      const time = performance.now();
      const large = new Uint8Array(1 << 20);
      for (let i = 0; i < 20_000; i++) protocol.receive(large);
      assert(performance.now() - time < 5000);
      assertEquals(protocol.state, before);
    }
  }
});

function drainAll(protocol: WebSocketProtocol, bytes: Uint8Array<ArrayBuffer>) {
  return feed(protocol, [bytes]);
}

// This side begins

Deno.test("§7.1.2: close() sends a Close frame, drawn in bytes", () => {
  const server = new WebSocketProtocol({ role: "server" });
  server.close(1000, "bye");
  assertEquals(takeAll(server), hex`88 05 03 e8 62 79 65`);
  const client = new WebSocketProtocol({ role: "client" });
  client.close();
  const bytes = takeAll(client);
  assertEquals([bytes.length, bytes[0], bytes[1]], [6, 0x88, 0x80]);
});

Deno.test("§7.1.2: close() waits for the peer's Close frame", () => {
  for (const role of ROLES) {
    for (const answer of [close(1000), close(4000, "I see"), close()]) {
      const protocol = new WebSocketProtocol({ role });
      protocol.close(1000, "bye");
      assertEquals(protocol.state, "local-closing");
      assertEquals(protocol.transport, "await-close");
      assertEquals(protocol.nextEvent(), undefined);
      assertEquals(sentBy(protocol), [sent(close(1000, "bye"))]);
      const [event, ...none] = drainAll(protocol, wire(role, answer));
      const { code, reason } = answer.payload!.length === 0
        ? { code: 1005, reason: "" }
        : answer.payload!.length === 2
        ? { code: 1000, reason: "" }
        : { code: 4000, reason: "I see" };
      assertEquals(event, cleanClose(code, reason));
      assertEquals(none, []);
      assertEquals(protocol.outputLength, 0, "a second Close frame");
      assertEquals(protocol.state, "handshake-closed");
      assertEquals(protocol.transport, AWAITING[role]);
    }
  }
});

Deno.test("§1.4: messages are received until the peer's Close frame", () => {
  for (const role of ROLES) {
    const frames = [text("a"), ping("p"), text("b", false), last("c"), pong()];
    const bytes = wire(role, ...frames, close(1000));
    for (let at = 0; at <= bytes.length; at++) {
      const protocol = new WebSocketProtocol({ role });
      const events = drainAll(protocol, bytes.subarray(0, at));
      if (at === bytes.length) continue;
      protocol.close(1001);
      events.push(...drainAll(protocol, bytes.subarray(at)));
      assertEquals(events, [
        textEvent("a"),
        pingEvent("p"),
        textEvent("bc"),
        { type: "pong", data: utf8("") },
        cleanClose(1000),
      ]);
      const out = sentBy(protocol);
      assertEquals(out.at(-1), sent(close(1001)), "nothing after Close");
    }
  }
});

Deno.test("both sides close at once, and both end well", () => {
  const server = new WebSocketProtocol({ role: "server" });
  const client = new WebSocketProtocol({ role: "client" });
  server.close(1001, "going away");
  client.close(1000);
  const [fromServer, fromClient] = [takeAll(server), takeAll(client)];
  assertEquals(drainAll(client, fromServer), [cleanClose(1001, "going away")]);
  assertEquals(drainAll(server, fromClient), [cleanClose(1000)]);
  for (const protocol of [server, client]) {
    assertEquals(protocol.state, "handshake-closed");
    assertEquals(protocol.outputLength, 0);
    assertEquals(protocol.receiveEnd(), undefined);
    assertEquals(protocol.state, "closed");
    assertEquals(protocol.transport, "close");
  }
});

Deno.test("nothing can be sent once the connection is closing", () => {
  for (const role of ROLES) {
    const closings: [string, (protocol: WebSocketProtocol) => void][] = [
      ["local-closing", (protocol) => protocol.close()],
      [
        "handshake-closed",
        (protocol) => drainAll(protocol, wire(role, close())),
      ],
      ["failed", (protocol) => drainAll(protocol, wire(role, last()))],
      ["closed", (protocol) => protocol.receiveEnd()],
    ];
    for (const [state, end] of closings) {
      const protocol = new WebSocketProtocol({ role });
      protocol.sendFragment("text", "begun");
      end(protocol);
      assertEquals(protocol.state, state);
      takeAll(protocol);
      for (
        const act of [
          () => protocol.sendText("a"),
          () => protocol.sendText(utf8("a")),
          () => protocol.sendBinary(utf8("a")),
          () => protocol.sendFragment("text", "a"),
          () => protocol.sendFragment("text", "a", { fin: true }),
          () => protocol.ping(),
          () => protocol.pong(),
        ]
      ) {
        assert(invalidState(act).message.includes(`(${state})`));
      }
      protocol.close(1000, "again");
      protocol.close();
      protocol.fail(
        new ProtocolError("late", { closeCode: 1002, kind: "extension" }),
      );
      assertEquals(protocol.outputLength, 0);
      assertEquals(
        protocol.state,
        state === "local-closing" ? "failed" : state,
      );
    }
  }
});

Deno.test("close() refuses what must not be sent, open or not", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const refuse = () => {
    for (
      const code of [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, NaN]
    ) {
      assertThrows(() => protocol.close(code), RangeError, `(${code})`);
    }
    assertThrows(() => protocol.close(1000, "r".repeat(124)), RangeError);
    assertThrows(() => protocol.close(1000, "é".repeat(62)), RangeError);
    assertThrows(() => protocol.close(undefined, "why"), TypeError);
  };
  refuse();
  assertEquals(protocol.state, "open");
  assertEquals(protocol.outputLength, 0);
  protocol.close(4999, "r".repeat(123));
  assertEquals(protocol.state, "local-closing");
  refuse();
  assertEquals(sentBy(protocol), [sent(close(4999, "r".repeat(123)))]);
});

Deno.test("§5.5.1: close() in the middle of a message that is being sent", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    protocol.sendFragment("text", "half a \ud83d");
    protocol.close(1001);
    invalidState(() => protocol.sendFragment("text", "\udc4b", { fin: true }));
    assertEquals(sentBy(protocol), [
      sent(text("half a ", false)),
      sent(close(1001)),
    ]);
  }
});

Deno.test("§5.5.1: the peer closes in the middle of a message being sent", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    protocol.sendFragment("binary", utf8("half"));
    drainAll(protocol, wire(role, close(1000)));
    assertEquals(sentBy(protocol).map(({ opcode, fin }) => [opcode, fin]), [
      [0x2, false],
      [0x8, true],
    ]);
    invalidState(() =>
      protocol.sendFragment("binary", utf8(""), { fin: true })
    );
  }
});

// Failures

Deno.test("§7.1.7: after a fault nothing more is taken, and nothing answered", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("a"), ping("1"), last("fault"));
    const more = wire(role, text("b"), ping("2"), close(1000));
    assertFails({ role }, wire(role, bytes, more), {
      closeCode: 1002,
      kind: "unexpected-continuation",
      at: bytes.length - (role === "server" ? 4 : 0) - 5,
      before: [textEvent("a"), pingEvent("1")],
      sentBefore: [pong("1")],
    });
  }
});

Deno.test("§7.1.7: a fault after this side's Close frame sends no second one", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    protocol.close(1000);
    takeAll(protocol);
    const [event] = drainAll(protocol, wire(role, last("fault")));
    assert(event?.type === "close");
    assertEquals([event.code, event.wasClean], [1002, false]);
    assertEquals(protocol.state, "failed");
    assertEquals(protocol.transport, "close");
    assertEquals(protocol.outputLength, 0);
  }
});

Deno.test("fail() sends the code and reason, and tells why", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    const error = new ProtocolError("You talk too much (12)", {
      closeCode: 1008,
      kind: "extension",
    });
    protocol.receive(wire(role, text("unseen")));
    protocol.fail(error);
    const event = protocol.nextEvent() as Closed;
    assertEquals(event.error, error);
    const { error: _, ...rest } = event;
    assertEquals(rest, {
      type: "close",
      code: 1008,
      reason: "You talk too much (12)",
      wasClean: false,
    });
    assertEquals(protocol.nextEvent(), undefined);
    assertEquals(sentBy(protocol), [
      sent(close(1008, "You talk too much (12)")),
    ]);
    assertEquals(protocol.state, "failed");
    protocol.fail(error);
    assertEquals(protocol.outputLength, 0);
  }
});

Deno.test("fail() cuts the reason to 123 bytes, between characters", () => {
  const long = [
    ["a".repeat(124), "a".repeat(123)],
    ["é".repeat(100), "é".repeat(61)],
    [`a${"é".repeat(100)}`, `a${"é".repeat(61)}`],
    ["👋".repeat(31), "👋".repeat(30)],
    [`abc${"👋".repeat(31)}`, `abc${"👋".repeat(30)}`],
    ["r".repeat(123), "r".repeat(123)],
  ] as const;
  for (const [message, reason] of long) {
    const protocol = new WebSocketProtocol({ role: "server" });
    protocol.fail(
      new ProtocolError(message, { closeCode: 1011, kind: "extension" }),
    );
    assertEquals(
      takeAll(protocol),
      encodeFrame({ opcode: 8, payload: encodeClosePayload(1011, reason) }),
    );
    assertEquals((protocol.nextEvent() as Closed).reason, reason);
  }
});

Deno.test("fail() with a code that must not be sent says 1011", () => {
  for (const closeCode of [0, 1005, 1006, 1015, 2000, 5000, NaN]) {
    const protocol = new WebSocketProtocol({ role: "server" });
    protocol.fail(new ProtocolError("odd", { closeCode, kind: "extension" }));
    assertEquals(sentBy(protocol), [
      sent(close(CloseCode.InternalError, "odd")),
    ]);
    assertEquals((protocol.nextEvent() as Closed).code, 1011);
  }
});

// The transport ends

Deno.test("§7.1.5: an end without a Close frame is 1006", () => {
  const frames = [text("a"), text("b", false), ping("p"), last("c")];
  for (const role of ROLES) {
    const bytes = wire(role, ...frames);
    for (let at = 0; at <= bytes.length; at++) {
      for (const isClosing of [false, true]) {
        const protocol = new WebSocketProtocol({ role });
        if (isClosing) protocol.close(1000);
        drainAll(protocol, bytes.subarray(0, at));
        assertEquals(protocol.receiveEnd(), {
          type: "close",
          code: 1006,
          reason: "",
          wasClean: false,
        });
        assertEquals(protocol.state, "closed");
        assertEquals(protocol.transport, "close");
        assertEquals(protocol.nextEvent(), undefined);
        assertEquals(protocol.receiveEnd(), undefined);
        assertEquals(protocol.destination, undefined);
        assertEquals(drainAll(protocol, wire(role, text("late"))), []);
      }
    }
  }
});

Deno.test("receiveEnd tells why the transport was cut", () => {
  const error = new Error("Connection reset by peer");
  const protocol = new WebSocketProtocol({ role: "client" });
  assertEquals(seen(protocol.receiveEnd(error)!), {
    type: "close",
    code: 1006,
    reason: "",
    wasClean: false,
    error,
  });
});

Deno.test("an end after the handshake, or after a fault, adds nothing", () => {
  for (const role of ROLES) {
    for (const frame of [close(1000), last("fault")]) {
      const taken = new WebSocketProtocol({ role });
      assertEquals(drainAll(taken, wire(role, frame)).length, 1);
      assertEquals(taken.receiveEnd(new Error("reset")), undefined);
      assertEquals(taken.state, "closed");
    }
  }
});

Deno.test("a failure that nobody has asked for is told at the end", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  protocol.fail(
    new ProtocolError("why", { closeCode: 1008, kind: "extension" }),
  );
  const closed = protocol.receiveEnd(new Error("reset"));
  assertEquals([closed?.code, closed?.reason], [1008, "why"]);
  assertEquals(protocol.nextEvent(), undefined);
});

Deno.test("the answer is still owed when the peer ends after its Close frame", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  drainAll(protocol, wire("server", close(1000)));
  protocol.receiveEnd();
  assertEquals(sentBy(protocol), [sent(close(1000))]);
  protocol.dropOutput();
  assertEquals(protocol.outputLength, 0);
});

Deno.test("dropOutput forgets all that is owed, pongs put off as well", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const pings = wire("server", ...Array(2000).fill(ping(pattern(125))));
  drainAll(protocol, pings);
  protocol.sendBinary(new Uint8Array(200_000));
  protocol.dropOutput();
  assertEquals(protocol.outputLength, 0);
  assertEquals(protocol.takeOutput(), undefined);
  assertEquals(protocol.outputLength, 0);
  drainAll(protocol, encodeFrame({ ...ping("again"), maskingKey: KEY }));
  assertEquals(sentBy(protocol), [sent(pong("again"))]);
});
