/** Limits on what the peer can make this side hold: RFC 6455 §10.4. */
import { assert, assertEquals } from "@std/assert";
import { encodeFrameHeader, Opcode, type Role } from "../frame.ts";
import { type ProtocolOptions, WebSocketProtocol } from "../protocol.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
import {
  assertFails,
  assertReceived,
  binary,
  binaryEvent,
  drain,
  feed,
  KEY,
  last,
  more,
  ping,
  pingEvent,
  pong,
  ROLES,
  sent,
  sentBy,
  takeAll,
  text,
  textEvent,
  wire,
} from "./_protocol.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const TOO_BIG = { closeCode: 1009, kind: "message-too-big" };
const TOO_MANY = { closeCode: 1008, kind: "too-many-fragments" };

/** A header that announces that many bytes, without a payload. */
function announce(
  role: Role,
  payloadLength: number,
  opcode: number = Opcode.Binary,
  fin = true,
): Uint8Array<ArrayBuffer> {
  const maskingKey = role === "server" ? KEY : undefined;
  return encodeFrameHeader({ opcode, fin, payloadLength, maskingKey });
}

function begin(options: ProtocolOptions, ...bytes: Uint8Array[]) {
  const protocol = new WebSocketProtocol(options);
  assertEquals(feed(protocol, [concat(...bytes)]), []);
  assertEquals(protocol.state, "open");
  return protocol;
}

// The size of a message

Deno.test("§10.4: a message up to maxMessageSize passes, in one frame or many", () => {
  for (const role of ROLES) {
    for (const size of [0, 1, 5, 125, 126, 300]) {
      const data = pattern(size);
      const half = size >> 1;
      const bytes = wire(
        role,
        binary(data),
        binary(data.subarray(0, half), false),
        more(),
        last(data.subarray(half)),
        binary(data, false),
        last(),
      );
      assertReceived({ role, maxMessageSize: size }, bytes, {
        events: [binaryEvent(data), binaryEvent(data), binaryEvent(data)],
      });
    }
  }
});

Deno.test("§7.4.1: a message above maxMessageSize fails with 1009 at its header", () => {
  for (const role of ROLES) {
    for (const size of [0, 1, 5, 124, 125, 126, 300, 65535]) {
      const options = { role, maxMessageSize: size };
      for (const opcode of [Opcode.Text, Opcode.Binary]) {
        for (const fin of [true, false]) {
          const header = announce(role, size + 1, opcode, fin);
          assertFails(options, header, TOO_BIG);
          assertFails(options, concat(header, pattern(40)), {
            ...TOO_BIG,
            at: header.length,
          });
        }
      }
      const all = wire(role, binary(pattern(size + 1)));
      assertFails(options, all, { ...TOO_BIG, at: all.length - size - 1 });
    }
  }
});

Deno.test("§10.4: the running total of a message's fragments is what is limited", () => {
  for (const role of ROLES) {
    const options = { role, maxMessageSize: 10 };
    const begun = wire(role, binary("12345", false), ping(), more("6789"));
    assertFails(options, concat(begun, announce(role, 2, 0x0)), {
      ...TOO_BIG,
      before: [pingEvent()],
      sentBefore: [pong()],
    });
    assertReceived(
      options,
      wire(role, begun, last("a"), binary("0123456789")),
      {
        events: [
          pingEvent(),
          binaryEvent(utf8("123456789a")),
          binaryEvent(utf8("0123456789")),
        ],
        state: "open",
      },
    );
    // Each message has all of it
    const full = wire(role, binary("0123456789", false), last());
    assertFails(options, concat(full, full, announce(role, 11)), {
      ...TOO_BIG,
      before: Array(2).fill(binaryEvent(utf8("0123456789"))),
    });
  }
});

Deno.test("control frames do not count, and are not limited by maxMessageSize", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("", false), ping("pinged"), last(""));
    assertReceived({ role, maxMessageSize: 0 }, bytes, {
      events: [pingEvent("pinged"), textEvent("")],
    });
  }
});

Deno.test("§10.4: the limit without being asked for is 16 MiB", () => {
  for (const role of ROLES) {
    begin({ role }, announce(role, 16 * MIB));
    assertFails({ role }, announce(role, 16 * MIB + 1), TOO_BIG);
    assertFails({ role }, announce(role, 2 ** 40), TOO_BIG);
    assertFails({ role }, announce(role, 2 ** 53 - 1), TOO_BIG);
    const begun = wire(role, binary("a", false));
    assertFails(
      { role },
      concat(begun, announce(role, 16 * MIB, Opcode.Continuation)),
      TOO_BIG,
    );
  }
});

Deno.test("the size told is the size announced so far", () => {
  const protocol = new WebSocketProtocol({
    role: "client",
    maxMessageSize: 1000,
  });
  const bytes = concat(
    wire("client", binary("abc", false)),
    announce("client", 70_000, Opcode.Continuation),
  );
  const [event] = feed(protocol, [bytes]);
  assert(event?.type === "close");
  assertEquals(
    event.reason,
    "The message is larger than 1000 bytes (at least 70003)",
  );
});

// Memory

Deno.test("§10.4: an announcement alone makes this side reserve 1 MiB at most", () => {
  const sizes = [1, 100, 65536, MIB - 1, MIB, MIB + 1, 2 ** 32, 2 ** 40]
    .concat(2 ** 53 - 1);
  for (const role of ROLES) {
    for (const size of sizes) {
      for (const fin of [true, false]) {
        for (const opcode of [Opcode.Text, Opcode.Binary]) {
          const options = { role, maxMessageSize: Infinity };
          const header = announce(role, size, opcode, fin);
          const protocol = begin(options, header);
          const reserved = protocol.destination!;
          assertEquals(reserved.length, Math.min(size, MIB));
          assertEquals(reserved.buffer.byteLength, reserved.length);
        }
      }
    }
  }
});

Deno.test("§10.4: what is reserved stays in proportion to what has arrived", () => {
  for (const role of ROLES) {
    for (const toDestination of [true, false]) {
      const protocol = begin(
        { role, maxMessageSize: Infinity },
        announce(role, 2 ** 40),
      );
      const read = new Uint8Array(64 * KIB);
      let arrived = 0;
      let moves = 0;
      let memory: ArrayBuffer | undefined;
      while (arrived < 24 * MIB) {
        const there = protocol.destination;
        if (there !== undefined) {
          if (memory !== there.buffer) moves++;
          memory = there.buffer;
          const most = Math.max(MIB, 2 * arrived);
          assert(there.buffer.byteLength <= most, "too much is reserved");
          assertEquals(there.byteOffset, arrived);
        }
        const length = Math.min(
          read.length,
          (toDestination ? there?.length : undefined) ?? read.length,
        );
        protocol.receive(
          (toDestination ? there ?? read : read).subarray(0, length),
        );
        assertEquals(protocol.nextEvent(), undefined);
        arrived += length;
        assertEquals(protocol.unfinishedLength, arrived);
      }
      assert(moves <= 6, `the message was moved ${moves} times`);
    }
  }
});

Deno.test("§10.4: fragments that announce much reserve no more than one frame", () => {
  for (const role of ROLES) {
    const protocol = begin(
      { role, maxMessageSize: Infinity },
      wire(role, binary(pattern(10), false), more(pattern(10))),
      announce(role, 2 ** 40, Opcode.Continuation),
    );
    const reserved = protocol.destination!;
    assertEquals(reserved.byteOffset, 20);
    assertEquals(reserved.buffer.byteLength, MIB);
  }
});

Deno.test("§10.4: many small fragments take memory in steps that double", () => {
  for (const role of ROLES) {
    for (const maxMessageSize of [1500, 2 ** 20]) {
      const options = { role, maxMessageSize };
      const protocol = begin(options, wire(role, binary("", false)));
      let memory: ArrayBuffer | undefined;
      let moves = 0;
      let most = 0;
      for (let arrived = 0; arrived < 1500; arrived += 3) {
        const [header, payload] = [
          announce(role, 3, Opcode.Continuation, false),
          pattern(3),
        ];
        assertEquals(feed(protocol, [header]), []);
        const there = protocol.destination!;
        assertEquals(there.length, 3, "no more than the frame's rest");
        if (memory !== there.buffer) moves++;
        memory = there.buffer;
        most = Math.max(most, memory.byteLength);
        assertEquals(feed(protocol, [payload]), []);
      }
      assert(most <= Math.min(3000, maxMessageSize), `${most}`);
      assert(moves <= 12, `${moves}`);
    }
  }
});

Deno.test("nothing is reserved for a message that is delivered in chunks", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role, maxMessageSize: Infinity });
    protocol.chunks = true;
    feed(protocol, [announce(role, 2 ** 40)]);
    assertEquals(protocol.destination, undefined);
    assertEquals(protocol.unfinishedLength, 0);
    const part = new Uint8Array(1000);
    for (let i = 0; i < 10; i++) {
      const [event, ...none] = [...protocol.receive(part)];
      assert(event?.type === "chunk" && event.data.length === 1000);
      assertEquals(none, []);
      assertEquals(protocol.unfinishedLength, 0);
      assertEquals(protocol.destination, undefined);
    }
  }
});

Deno.test("in chunks, too, a message is limited as a whole", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role, maxMessageSize: 10 });
    protocol.chunks = true;
    const bytes = wire(role, binary("12345", false), more("67890"));
    assertEquals([...protocol.receive(bytes)].length, 2);
    const events = feed(protocol, [announce(role, 1, Opcode.Continuation)]);
    assertEquals(events.map(({ type }) => type), ["close"]);
    assertEquals(protocol.state, "failed");
  }
});

Deno.test("a whole message takes as much memory as it is long", () => {
  for (const role of ROLES) {
    for (const size of [1, 1000, 70_000, MIB, 3 * MIB + 17]) {
      const bytes = wire(role, binary(new Uint8Array(size)));
      for (
        const parts of [[bytes], [bytes.subarray(0, 20), bytes.subarray(20)]]
      ) {
        const protocol = new WebSocketProtocol({ role });
        let found = 0;
        for (const part of parts) {
          for (const event of protocol.receive(part)) {
            assert(event.type === "binary");
            assertEquals(event.data.buffer.byteLength, size);
            found++;
          }
        }
        assertEquals(found, 1);
        assertEquals(protocol.unfinishedLength, 0);
      }
    }
  }
});

Deno.test("the last fragment makes a message's memory as large as it is", () => {
  for (const role of ROLES) {
    const frames = [binary(pattern(100), false), last("a")];
    const protocol = new WebSocketProtocol({ role });
    const [event] = protocol.receive(wire(role, ...frames));
    assert(event?.type === "binary");
    assertEquals(event.data.buffer.byteLength, 101);
  }
});

// The number of fragments

Deno.test("§10.4: a message of maxFragments frames passes, one more fails with 1008", () => {
  for (const role of ROLES) {
    for (const maxFragments of [1, 2, 3, 10]) {
      for (const data of ["", "a"]) {
        const begun = wire(
          role,
          binary(data, maxFragments === 1),
          ...Array(Math.max(0, maxFragments - 2)).fill(more(data)),
          ...maxFragments > 1 ? [last(data)] : [],
        );
        const whole = binaryEvent(utf8(data.repeat(maxFragments)));
        const options = { role, maxFragments };
        assertReceived(options, wire(role, begun, begun), {
          events: [whole, whole],
          state: "open",
        });
        const unfinished = wire(
          role,
          binary(data, false),
          ...Array(maxFragments - 1).fill(more(data)),
        );
        for (const frame of [more(data), last(data), last(), more("abc")]) {
          const header = role === "server" ? 6 : 2;
          assertFails(options, wire(role, unfinished, frame), {
            ...TOO_MANY,
            at: unfinished.length + header,
          });
        }
      }
    }
  }
});

Deno.test("control frames are no fragments", () => {
  for (const role of ROLES) {
    const bytes = wire(
      role,
      text("a", false),
      ping(),
      ping(),
      ping(),
      last("b"),
    );
    assertReceived({ role, maxFragments: 2 }, bytes, {
      events: [pingEvent(), pingEvent(), pingEvent(), textEvent("ab")],
    });
  }
});

Deno.test("fragments are limited in chunks as well", () => {
  const protocol = new WebSocketProtocol({ role: "client", maxFragments: 2 });
  protocol.chunks = true;
  const frames = [text("a", false), more("b"), more("c")];
  const events = feed(protocol, [wire("client", ...frames)]);
  assertEquals(events.map(({ type }) => type), ["chunk", "chunk", "close"]);
});

Deno.test("§10.4: 131,072 fragments by default, and empty ones take no memory", () => {
  const protocol = begin({ role: "client" }, hex`02 00`);
  const empty = new Uint8Array(2 * 1024);
  for (let i = 0; i < 128; i++) {
    if (i === 127) {
      const rest = empty.subarray(0, 2 * 1023);
      assertEquals(feed(protocol, [rest]), []);
    } else assertEquals(feed(protocol, [empty]), []);
  }
  assertEquals(protocol.state, "open");
  assertEquals(protocol.unfinishedLength, 0);
  const [event] = feed(protocol, [hex`80 00`]);
  assertEquals(event?.type === "close" && event.code, 1008);
});

Deno.test("size is judged after the number of fragments", () => {
  const options = {
    role: "client" as const,
    maxFragments: 1,
    maxMessageSize: 1,
  };
  const bytes = wire("client", binary("a", false), last("b"));
  assertFails(options, bytes, { ...TOO_MANY, at: 5 });
});

// Pings

Deno.test("§5.5.3: a flood of pings queues a bounded number of pongs", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    const payloads = Array.from({ length: 1000 }, (_, i) => utf8(`${i}`));
    const overhead = role === "client" ? 6 : 2;
    for (let round = 0; round < 100; round++) {
      const bytes = wire(role, ...payloads.map((data) => ping(data)));
      const events = feed(protocol, [bytes]);
      assertEquals(events.length, 1000, "pings are told of all the same");
      assert(protocol.outputLength < 65536 + 65536 * overhead / 2);
    }
    const queued = protocol.outputLength;
    feed(protocol, [wire(role, ping("the latest"))]);
    assertEquals(protocol.outputLength, queued);
    const frames = sentBy(protocol);
    assertEquals(frames.at(-1), sent(pong("the latest")));
    assert(frames.every(({ opcode }) => opcode === Opcode.Pong));
    // Up to the bound each has its own, in order
    const before = frames.slice(0, -1).map(({ payload }) => payload);
    assert(before.length > 10_000);
    before.forEach((payload, i) => assertEquals(payload, utf8(`${i % 1000}`)));
    // Written, and all is as before
    feed(protocol, [wire(role, ping("a"), ping("b"))]);
    assertEquals(sentBy(protocol), [pong("a"), pong("b")].map(sent));
  }
});

Deno.test("§5.5.3: the bound on pongs is 64 KiB, each counted with its header", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const frames = Array(520).fill(ping(pattern(125)));
  feed(protocol, [wire("server", ...frames)]);
  // 516 pongs of 127 bytes are the first to be more than 65,536 bytes
  assertEquals(protocol.outputLength, 127 * 517);
  assertEquals(sentBy(protocol).length, 518);
});

Deno.test("§5.5.3: pongs stay bounded while earlier output is taken bit by bit", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const flood = wire("server", ...Array(600).fill(ping(pattern(125))));
  for (let i = 0; i < 8; i++) protocol.sendBinary(new Uint8Array(131072));
  feed(protocol, [flood]);
  let owed = protocol.outputLength;
  for (let i = 0; i < 16; i++) {
    owed -= protocol.takeOutput()!.length;
    feed(protocol, [flood]);
    assertEquals(protocol.outputLength, owed);
  }
  assertEquals(sentBy(protocol).length, 517 + 1);
});

Deno.test("§5.5.3: pongs are answered for ever, though other output always waits", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const pings = wire("server", ...Array(100).fill(ping(pattern(125))));
  protocol.sendBinary(new Uint8Array(131072));
  let pongs = 0;
  for (let i = 0; i < 100; i++) {
    feed(protocol, [pings]);
    const before = protocol.outputLength;
    protocol.sendBinary(new Uint8Array(131072));
    // All but the last message, which waits for the next round.
    while (protocol.outputLength > 131072) {
      const bytes = protocol.takeOutput()!;
      if (bytes.length < 131072) pongs += Math.floor(bytes.length / 127);
      protocol.releaseOutput();
    }
    assert(before < 131072 + 127 * 101 + 20, `${before}`);
  }
  assertEquals(pongs, 100 * 100);
});

Deno.test("§5.5.3: pongs that were dropped do not count", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  feed(protocol, [wire("server", ...Array(600).fill(ping(pattern(125))))]);
  protocol.dropOutput();
  feed(protocol, [wire("server", ping("a"), ping("b"))]);
  assertEquals(sentBy(protocol), [pong("a"), pong("b")].map(sent));
});

Deno.test("a pong put off goes out once the others are taken, with its own data", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  feed(protocol, [wire("server", ...Array(600).fill(ping(pattern(125))))]);
  const bytes = wire("server", ping("latest"));
  for (const event of protocol.receive(bytes)) {
    if (event.type === "ping") event.data.fill(0);
  }
  protocol.sendText("between");
  const frames = sentBy(protocol);
  assertEquals(frames.slice(-2), [text("between"), pong("latest")].map(sent));
});

Deno.test("a Close frame is the last: no pong put off comes after it", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    feed(protocol, [wire(role, ...Array(600).fill(ping(pattern(125))))]);
    protocol.close(1000);
    assertEquals(sentBy(protocol).at(-1)?.opcode, Opcode.Close);
    assertEquals(takeAll(protocol).length, 0);
    assertEquals(drain(protocol), []);
  }
});
