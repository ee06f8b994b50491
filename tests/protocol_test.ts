/** Frames, and the rules of RFC 6455 §5 for each of them. */
import { assertEquals, assertThrows } from "@std/assert";
import { encodeFrame, Opcode, type Role, RSV1, RSV2, RSV3 } from "../frame.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
import {
  assertFails,
  assertReceived,
  binary,
  binaryEvent,
  cleanClose,
  close,
  drain,
  KEY,
  last,
  outcome,
  ping,
  pingEvent,
  pong,
  pongEvent,
  ROLES,
  sentBy,
  text,
  textEvent,
  wire,
} from "./_protocol.ts";

// Bytes of RFC 6455 §5.7

Deno.test("RFC 6455 §5.7: the examples, as a server receives them", () => {
  assertReceived({ role: "server" }, hex`81 85 37 fa 21 3d 7f 9f 4d 51 58`, {
    events: [textEvent("Hello")],
    sent: [],
    state: "open",
    transport: "keep",
  });
  assertReceived({ role: "server" }, hex`8a 85 37 fa 21 3d 7f 9f 4d 51 58`, {
    events: [pongEvent("Hello")],
    sent: [],
  });
});

Deno.test("RFC 6455 §5.7: the examples, as a client receives them", () => {
  const role = "client";
  assertReceived({ role }, hex`81 05 48 65 6c 6c 6f`, {
    events: [textEvent("Hello")],
  });
  assertReceived({ role }, hex`01 03 48 65 6c 80 02 6c 6f`, {
    events: [textEvent("Hello")],
  });
  assertReceived({ role }, hex`89 05 48 65 6c 6c 6f`, {
    events: [pingEvent("Hello")],
    sent: [pong("Hello")],
  });
  for (const length of [256, 65536]) {
    const header = length === 256
      ? hex`82 7e 01 00`
      : hex`82 7f 00 00 00 00 00 01 00 00`;
    assertReceived({ role }, concat(header, pattern(length)), {
      events: [binaryEvent(pattern(length))],
      sent: [],
      state: "open",
    });
  }
});

// Messages

Deno.test("§5.6: a message of any length comes whole, text as it was", () => {
  for (const role of ROLES) {
    for (const length of [0, 1, 31, 32, 33, 125, 126, 127, 300, 65535, 65536]) {
      const letters = "a".repeat(length);
      assertReceived({ role }, wire(role, text(letters)), {
        events: [textEvent(letters)],
      });
      assertReceived({ role }, wire(role, binary(pattern(length))), {
        events: [binaryEvent(pattern(length))],
      });
    }
  }
});

Deno.test("§5.6: messages come in their order, many from one read", () => {
  for (const role of ROLES) {
    const many = Array.from({ length: 30 }, (_, i) => `message ${i} é`);
    const bytes = wire(role, ...many.map((data) => text(data)));
    assertReceived({ role }, bytes, { events: many.map(textEvent) });
  }
});

Deno.test("text is delivered as checked bytes where these are asked for", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("naïve"), text("a", false), last("é"));
    assertReceived({ role, textAs: "bytes" }, bytes, {
      events: [
        { type: "text", data: utf8("naïve") },
        { type: "text", data: utf8("aé") },
      ],
    });
    assertFails({ role, textAs: "bytes" }, wire(role, text(hex`61 ff`)), {
      closeCode: 1007,
      kind: "invalid-utf8",
    });
  }
});

Deno.test("receive takes a Buffer for what it holds, and leaves it alone", () => {
  // Like Node's Buffer, whose slice() is a view
  class Bufferlike extends Uint8Array<ArrayBuffer> {
    override slice(start?: number, end?: number): Uint8Array<ArrayBuffer> {
      return this.subarray(start, end);
    }
  }
  const frame = wire("server", binary("abc"), text("abc", false), last("def"));
  const memory = new Bufferlike(new ArrayBuffer(frame.length + 3));
  memory.set(frame, 3);
  const protocol = new WebSocketProtocol({ role: "server" });
  const events = [...protocol.receive(memory.subarray(3))];
  assertEquals(new Uint8Array(memory).subarray(3), frame);
  assertEquals(events, [
    { type: "binary", data: utf8("abc") },
    { type: "text", data: "abcdef" },
  ]);
  const [first] = events;
  assertEquals(first?.type === "binary" && first.data.constructor, Uint8Array);
  for (const chunks of [false, true]) {
    const inPlace = new WebSocketProtocol({ role: "server", inPlace: true });
    inPlace.chunks = chunks;
    const given = new Bufferlike(frame.slice().buffer);
    const [event] = inPlace.receive(given);
    assertEquals(event?.type !== "close" && event?.data, utf8("abc"));
  }
});

// Reserved bits and opcodes

Deno.test("§5.2: a reserved bit that nothing has given a meaning fails", () => {
  for (const role of ROLES) {
    for (const reservedBits of [RSV1, RSV2, RSV3, RSV1 | RSV3, 0b111]) {
      const frames = [text("a"), binary("a"), ping("a"), pong("a"), close()];
      for (const frame of frames) {
        assertFails({ role }, wire(role, { ...frame, reservedBits }), {
          closeCode: 1002,
          kind: "reserved-bits",
          at: 2,
        });
      }
      const begun = wire(role, text("a", false));
      const bytes = wire(role, begun, { ...last("b"), reservedBits });
      assertFails({ role }, bytes, {
        closeCode: 1002,
        kind: "reserved-bits",
        at: begun.length + 2,
      });
    }
  }
});

Deno.test("§5.2: a reserved opcode fails, in and between messages", () => {
  for (const role of ROLES) {
    for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
      for (const fin of [true, false]) {
        for (const payload of [utf8(""), utf8("abc")]) {
          assertFails({ role }, wire(role, { opcode, fin, payload }), {
            closeCode: 1002,
            kind: "reserved-opcode",
            at: 2,
          });
        }
      }
      const begun = wire(role, text("a", false));
      assertFails({ role }, wire(role, begun, { opcode }), {
        closeCode: 1002,
        kind: "reserved-opcode",
        at: begun.length + 2,
      });
    }
  }
});

Deno.test("§5.2: a length that is not in its shortest form fails", () => {
  const lengths = [
    [hex`7e 00 00`, 3],
    [hex`7e 00 7d`, 3],
    [hex`7f 00 00 00 00 00 00 00 7e`, 9],
    [hex`7f 00 00 00 00 00 00 ff ff`, 9],
  ] as const;
  for (const [bytes, at] of lengths) {
    for (const opcode of [0x81, 0x82, 0x02]) {
      const masked = bytes.slice();
      masked[0]! |= 0x80;
      const after = hex`00 00 00 00`;
      assertFails(
        { role: "client" },
        concat(Uint8Array.of(opcode), bytes, after),
        {
          closeCode: 1002,
          kind: "length-not-minimal",
          at: at + 1,
        },
      );
      assertFails(
        { role: "server" },
        concat(Uint8Array.of(opcode), masked, after),
        {
          closeCode: 1002,
          kind: "length-not-minimal",
          at: at + 1,
        },
      );
    }
  }
});

Deno.test("§5.2: a length with its top bit set fails, one above 2^53-1 is too big", () => {
  assertFails({ role: "client" }, hex`82 7f 80 00 00 00 00 00 00 00`, {
    closeCode: 1002,
    kind: "length-too-large",
  });
  assertFails(
    { role: "server" },
    hex`82 ff ff ff ff ff ff ff ff ff 01 02 03 04`,
    {
      closeCode: 1002,
      kind: "length-too-large",
      at: 10,
    },
  );
  assertFails({ role: "client" }, hex`82 7f 00 20 00 00 00 00 00 00`, {
    closeCode: 1009,
    kind: "length-too-large",
  });
});

Deno.test("§5.2: the first fault of a header is the one that is told", () => {
  // RSV1, opcode 3, masked wrongly, a length that is not minimal
  const faults = [
    [hex`d3 fe 00 00 00 00 00 00`, "reserved-bits"],
    [hex`93 fe 00 00 00 00 00 00`, "reserved-bits"],
    [hex`83 fe 00 00 00 00 00 00`, "reserved-opcode"],
    [hex`09 fe 00 00 00 00 00 00`, "control-frame-fragmented"],
    [hex`89 fe 00 00 00 00 00 00`, "control-frame-too-long"],
    [hex`89 ff 00 00 00 00 00 00 00 00 00 00 00 00`, "control-frame-too-long"],
    [hex`80 fe 00 00 00 00 00 00`, "masking"],
    [hex`80 7e 00 00`, "unexpected-continuation"],
  ] as const;
  for (const [bytes, kind] of faults) {
    assertFails({ role: "client" }, bytes, { closeCode: 1002, kind, at: 2 });
  }
});

// Masking

Deno.test("§5.1: a server fails a frame that is not masked", () => {
  for (const frame of [text("a"), binary(), ping(), pong("a"), close(1000)]) {
    assertFails({ role: "server" }, encodeFrame(frame), {
      closeCode: 1002,
      kind: "masking",
      at: 2,
    });
  }
  const begun = wire("server", text("a", false));
  assertFails({ role: "server" }, concat(begun, encodeFrame(last())), {
    closeCode: 1002,
    kind: "masking",
  });
});

Deno.test("§5.1: a client fails a frame that is masked", () => {
  for (const frame of [text("a"), binary(), ping(), pong("a"), close(1000)]) {
    const bytes = encodeFrame({ ...frame, maskingKey: KEY });
    assertFails({ role: "client" }, bytes, {
      closeCode: 1002,
      kind: "masking",
      at: 2,
    });
  }
});

Deno.test("§5.3: any masking key, 0 as well", () => {
  for (const maskingKey of [0, 1, 0xff, 0x80000000, 0xffffffff]) {
    const frames = [text("Grüße", false), last("!"), ping("?"), close(4000)];
    const bytes = concat(
      ...frames.map((frame) => encodeFrame({ ...frame, maskingKey })),
    );
    assertReceived({ role: "server" }, bytes, {
      events: [textEvent("Grüße!"), pingEvent("?"), cleanClose(4000)],
    });
  }
});

// Control frames

Deno.test("§5.5: a control frame carries up to 125 bytes", () => {
  for (const role of ROLES) {
    for (const length of [0, 1, 124, 125]) {
      const data = pattern(length);
      assertReceived({ role }, wire(role, ping(data), pong(data)), {
        events: [{ type: "ping", data }, { type: "pong", data }],
        sent: [pong(data)],
        state: "open",
      });
    }
    const reason = "r".repeat(123);
    assertReceived({ role }, wire(role, close(3000, reason)), {
      events: [cleanClose(3000, reason)],
    });
  }
});

Deno.test("§5.5: a control frame of more than 125 bytes fails", () => {
  for (const role of ROLES) {
    for (const opcode of [Opcode.Close, Opcode.Ping, Opcode.Pong]) {
      for (const length of [126, 127, 300, 65535, 65536]) {
        const frame = { opcode, payload: pattern(length) };
        const bytes = wire(role, frame).subarray(0, 40);
        assertFails({ role }, bytes, {
          closeCode: 1002,
          kind: "control-frame-too-long",
          at: 2,
        });
      }
    }
  }
});

Deno.test("§5.5: a control frame must not be fragmented", () => {
  for (const role of ROLES) {
    for (const opcode of [Opcode.Close, Opcode.Ping, Opcode.Pong]) {
      for (const payload of [utf8(""), utf8("ab")]) {
        const bytes = wire(role, { opcode, fin: false, payload });
        assertFails({ role }, bytes, {
          closeCode: 1002,
          kind: "control-frame-fragmented",
          at: 2,
        });
      }
    }
  }
});

Deno.test("§5.5.2: a ping is answered with a pong of the same data", () => {
  for (const role of ROLES) {
    const bytes = wire(role, ping(), ping("a"), ping(hex`00 ff fe`));
    assertReceived({ role }, bytes, {
      events: [pingEvent(), pingEvent("a"), {
        type: "ping",
        data: hex`00 ff fe`,
      }],
      sent: [pong(), pong("a"), pong(hex`00 ff fe`)],
      state: "open",
    });
  }
});

Deno.test("§5.5.2: the pong is queued when its ping is delivered, not later", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  protocol.receive(wire("server", ping("1"), text("x"), ping("2")));
  assertEquals(protocol.outputLength, 0);
  assertEquals(protocol.nextEvent()?.type, "ping");
  assertEquals(sentBy(protocol).length, 1);
  assertEquals(protocol.nextEvent()?.type, "text");
  assertEquals(protocol.outputLength, 0);
  assertEquals(protocol.nextEvent()?.type, "ping");
  assertEquals(sentBy(protocol).length, 1);
});

Deno.test("§5.5.3: a pong that nobody asked for is no fault, and not answered", () => {
  for (const role of ROLES) {
    assertReceived({ role }, wire(role, pong(), pong("unasked"), text("a")), {
      events: [pongEvent(), pongEvent("unasked"), textEvent("a")],
      sent: [],
      state: "open",
    });
  }
});

// Taking events

Deno.test("events are found one by one as they are asked for", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const events = protocol.receive(wire("server", text("1"), text("2")));
  for (const event of events) {
    assertEquals(event, { type: "text", data: "1" });
    break;
  }
  protocol.receive(wire("server", text("3")).subarray(0, 3));
  assertEquals(drain(protocol), [textEvent("2")]);
  assertEquals([...events], []);
  protocol.receive(wire("server", text("3")).subarray(3));
  assertEquals([...events], [{ type: "text", data: "3" }]);
});

Deno.test("bytes can be given while the events of earlier ones are taken", () => {
  const protocol = new WebSocketProtocol({ role: "client" });
  const found: unknown[] = [];
  for (const event of protocol.receive(wire("client", text("1"), text("2")))) {
    found.push(event.type === "text" && event.data);
    if (found.length === 1) protocol.receive(wire("client", text("3")));
  }
  assertEquals(found, ["1", "2", "3"]);
});

Deno.test("empty input gives no event, and changes nothing", () => {
  for (const role of ROLES) {
    const nothing = new Uint8Array(0);
    const protocol = new WebSocketProtocol({ role });
    const whole = wire(role, text("ab", false), last("c"));
    const found: unknown[] = [...protocol.receive(nothing)];
    for (const byte of whole) {
      found.push(...protocol.receive(Uint8Array.of(byte)));
      found.push(...protocol.receive(nothing));
    }
    assertEquals(found, [textEvent("abc")]);
  }
});

Deno.test("messages are views on the bytes received only with inPlace", () => {
  for (const role of ROLES) {
    const bytes = wire(role, binary("abc"), ping("p"));
    for (const inPlace of [false, true]) {
      const protocol = new WebSocketProtocol({ role, inPlace });
      const given = bytes.slice();
      const [message, pinged] = protocol.receive(given);
      assertEquals(message, binaryEvent(utf8("abc")) as typeof message);
      const isView = message?.type === "binary" &&
        message.data.buffer === given.buffer;
      assertEquals(isView, inPlace);
      assertEquals(pinged, pingEvent("p") as typeof pinged);
    }
  }
});

Deno.test("a delivered message is not changed by what comes after it", () => {
  for (const role of ROLES) {
    for (const frames of [[binary("abc")], [binary("ab", false), last("c")]]) {
      const protocol = new WebSocketProtocol({ role });
      const bytes = wire(role, ...frames);
      const [message] = protocol.receive(bytes);
      bytes.fill(0xee);
      const next = wire(role, binary("zyx", false), last("wvutsr"));
      assertEquals([...protocol.receive(next)].length, 1);
      assertEquals(message?.type === "binary" && message.data, utf8("abc"));
    }
  }
});

// Options

Deno.test("limits out of range are refused", () => {
  for (const maxMessageSize of [-1, NaN]) {
    assertThrows(
      () => new WebSocketProtocol({ role: "server", maxMessageSize }),
      RangeError,
      `maxMessageSize must be 0 or more (${maxMessageSize})`,
    );
  }
  for (const maxFragments of [0, -1, 0.5, NaN]) {
    assertThrows(
      () => new WebSocketProtocol({ role: "server", maxFragments }),
      RangeError,
      `maxFragments must be 1 or more (${maxFragments})`,
    );
  }
});

// It would neither mask, nor take what is masked.
Deno.test("an unknown role is refused", () => {
  for (const role of ["sever", "", undefined, null] as unknown as Role[]) {
    assertThrows(
      () => new WebSocketProtocol({ role }),
      TypeError,
      `role must be "client" or "server" (${role})`,
    );
  }
});

Deno.test("a protocol begins open, with nothing to send or to tell", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    assertEquals(protocol.role, role);
    assertEquals(protocol.extension, undefined);
    assertEquals(protocol.state, "open");
    assertEquals(protocol.transport, "keep");
    assertEquals(protocol.chunks, false);
    assertEquals(protocol.outputLength, 0);
    assertEquals(protocol.takeOutput(), undefined);
    assertEquals(protocol.nextEvent(), undefined);
    assertEquals(protocol.destination, undefined);
  }
});

Deno.test("an error of the program's own is thrown, and not sent to the peer", () => {
  const extension = {
    name: "x-broken",
    parameters: [],
    reservedBits: RSV1,
    wants: () => true,
    encode: () => undefined,
    decode: () => {
      throw new TypeError("broken");
    },
  };
  const protocol = new WebSocketProtocol({ role: "client", extension });
  const frame = { ...text("a"), reservedBits: RSV1 };
  assertThrows(
    () => [...protocol.receive(wire("client", frame))],
    TypeError,
    "broken",
  );
  assertEquals(protocol.outputLength, 0);
});

Deno.test("a frame of several parts in a read of their own is one message", () => {
  // The header in three reads, the payload in four
  const bytes = wire("server", binary(pattern(300)));
  const whole = outcome({ role: "server" }, bytes, [1, 3, 8, 9, 100, 200]);
  assertEquals(whole.events, [binaryEvent(pattern(300))]);
});
