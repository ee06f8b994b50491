/** Messages in parts as they arrive, and reads straight into their memory. */
import { assert, assertEquals } from "@std/assert";
import { type ProtocolEvent, WebSocketProtocol } from "../protocol.ts";
import { lendBuffer } from "../_buffers.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
import { flip, flipping, repeating } from "./_fake_extensions.ts";
import {
  assertReceived,
  binary,
  binaryEvent,
  drain,
  feed,
  joinChunks,
  last,
  more,
  ping,
  pingEvent,
  pong,
  ROLES,
  sent,
  sentBy,
  text,
  textEvent,
  wire,
} from "./_protocol.ts";

type Data = string | Uint8Array<ArrayBuffer>;

function chunk(of: "text" | "binary", data: Data, fin = false): ProtocolEvent {
  return { type: "chunk", of, data, fin };
}

function inChunks(
  role: "client" | "server",
  parts: Uint8Array<ArrayBuffer>[],
  textAs: "string" | "bytes" = "string",
): unknown[] {
  const protocol = new WebSocketProtocol({ role, textAs });
  protocol.chunks = true;
  return feed(protocol, parts);
}

Deno.test("chunks: each read's part of a frame is delivered at once", () => {
  for (const role of ROLES) {
    const bytes = wire(role, binary("abcdef"));
    const head = bytes.length - 6;
    const parts = [
      bytes.subarray(0, head),
      bytes.subarray(head, head + 1),
      bytes.subarray(head + 1, head + 4),
      bytes.subarray(head + 4),
    ];
    assertEquals(inChunks(role, parts), [
      chunk("binary", utf8("a")),
      chunk("binary", utf8("bcd")),
      chunk("binary", utf8("ef"), true),
    ]);
    assertEquals(inChunks(role, [bytes]), [
      chunk("binary", utf8("abcdef"), true),
    ]);
  }
});

Deno.test("chunks: each fragment is delivered, control frames between them", () => {
  for (const role of ROLES) {
    const frames = [text("a", false), ping("p"), more("b"), last("c")];
    assertEquals(inChunks(role, [wire(role, ...frames, binary("d"))]), [
      chunk("text", "a"),
      pingEvent("p"),
      chunk("text", "b"),
      chunk("text", "c", true),
      chunk("binary", utf8("d"), true),
    ]);
  }
});

Deno.test("chunks: empty messages and empty fragments", () => {
  for (const role of ROLES) {
    const frames = [
      text(""),
      binary(""),
      text("", false),
      last(""),
      binary("", false),
      more("a"),
      more(""),
      last(""),
    ];
    assertEquals(inChunks(role, [wire(role, ...frames)]), [
      chunk("text", "", true),
      chunk("binary", utf8(""), true),
      chunk("text", "", true),
      chunk("binary", utf8("a")),
      chunk("binary", utf8(""), true),
    ]);
    assertEquals(inChunks(role, [wire(role, text(""))], "bytes"), [
      chunk("text", utf8(""), true),
    ]);
  }
});

Deno.test("chunks: strings hold whole characters, and marks stay", () => {
  for (const role of ROLES) {
    const data = "\ufeffé\ufeff👋";
    const bytes = wire(role, text(data), text(data));
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
    const expected = ["\ufeff", "é", "\ufeff"].map((it) => chunk("text", it))
      .concat(chunk("text", "👋", true));
    assertEquals(inChunks(role, single), [...expected, ...expected]);
    const fragments = [
      text(hex`61 f0`, false),
      more(hex`9f`),
      more(hex`91`),
      last(hex`8b`),
    ];
    assertEquals(inChunks(role, [wire(role, ...fragments)]), [
      chunk("text", "a"),
      chunk("text", "👋", true),
    ]);
  }
});

Deno.test("chunks: bytes of text are delivered wherever they are cut", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("é", false), last("👋"));
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
    const expected = [...utf8("é👋")].map((byte, i) =>
      chunk("text", Uint8Array.of(byte), i === 5)
    );
    assertEquals(inChunks(role, single, "bytes"), expected);
  }
});

Deno.test("chunks: a last part that ends a character cut before is the end", () => {
  // All of the last fragment is needed to end what the one before has begun.
  for (const role of ROLES) {
    const frames = [text(hex`61 c3`, false), last(hex`a9`)];
    assertEquals(inChunks(role, [wire(role, ...frames)]), [
      chunk("text", "a"),
      chunk("text", "é", true),
    ]);
  }
});

Deno.test("chunks are views on the bytes received only with inPlace", () => {
  for (const inPlace of [false, true]) {
    const protocol = new WebSocketProtocol({ role: "server", inPlace });
    protocol.chunks = true;
    const bytes = wire("server", binary("abc", false));
    const [event] = protocol.receive(bytes);
    assert(event?.type === "chunk" && typeof event.data !== "string");
    assertEquals(event.data, utf8("abc"));
    assertEquals(event.data.buffer === bytes.buffer, inPlace);
  }
});

// Asked for in the middle

Deno.test("chunks asked for at any point: what is there comes at once", () => {
  const frames = [text("aé", false), ping("p"), more("👋"), last("b")];
  for (const role of ROLES) {
    for (const textAs of ["string", "bytes"] as const) {
      const bytes = wire(role, ...frames, text("next"), binary("x"));
      for (let at = 0; at <= bytes.length; at++) {
        const protocol = new WebSocketProtocol({ role, textAs });
        const before = feed(protocol, [bytes.subarray(0, at)]);
        const held = protocol.unfinishedLength;
        protocol.chunks = true;
        const first = drain(protocol);
        assertEquals(protocol.unfinishedLength, 0);
        if (textAs === "bytes" && held > 0) {
          assert(first[0]?.type === "chunk");
          assertEquals(first[0].data.length, held);
          assertEquals(first[0].fin, false);
        }
        const rest = feed(protocol, [bytes.subarray(at)]);
        const all = joinChunks([...before, ...first, ...rest]);
        const as = (data: string) =>
          textAs === "string"
            ? textEvent(data)
            : { type: "text" as const, data: utf8(data) };
        assertEquals(all, [
          pingEvent("p"),
          as("aé👋b"),
          as("next"),
          binaryEvent(utf8("x")),
        ], `${at}`);
        assertEquals(sentBy(protocol), [sent(pong("p"))]);
      }
    }
  }
});

Deno.test("chunks: a begun message that has nothing yet tells nothing yet", () => {
  const protocol = new WebSocketProtocol({ role: "client" });
  feed(protocol, [wire("client", text("", false))]);
  protocol.chunks = true;
  assertEquals(drain(protocol), []);
  assertEquals(feed(protocol, [wire("client", last("a"))]), [
    chunk("text", "a", true) as never,
  ]);
});

Deno.test("chunks no longer wanted: a message begun in parts goes on in parts", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("ab", false), last("cd"), text("next"));
    for (let at = 0; at <= bytes.length; at++) {
      const protocol = new WebSocketProtocol({ role });
      protocol.chunks = true;
      const before = feed(protocol, [bytes.subarray(0, at)]);
      protocol.chunks = false;
      const all = [...before, ...feed(protocol, [bytes.subarray(at)])];
      assertEquals(joinChunks(all), [textEvent("abcd"), textEvent("next")]);
      const begun = before.some(({ type }) => type === "chunk");
      const after = all.slice(before.length);
      const [head] = after;
      const inParts = before.some((it) => it.type === "chunk" && it.fin);
      if (begun && !inParts) assertEquals(head?.type, "chunk");
      if (after.length > 0 && at < bytes.length - 6) {
        assertEquals(after.at(-1)?.type, "text", "the next one comes whole");
      }
    }
  }
});

Deno.test("chunks no longer wanted: the next message in fragments comes whole", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    protocol.chunks = true;
    const begun = feed(protocol, [wire(role, text("a", false))]);
    protocol.chunks = false;
    const frames = [last("b"), text("c", false), last("d")];
    assertEquals([...begun, ...feed(protocol, [wire(role, ...frames)])], [
      chunk("text", "a"),
      chunk("text", "b", true),
      textEvent("cd"),
    ]);
  }
});

Deno.test("chunks switched on and off at every step", () => {
  const frames = [
    text("aé", false),
    more("👋👋"),
    ping(),
    last("b"),
    binary("c"),
  ];
  for (const role of ROLES) {
    const bytes = wire(role, ...frames);
    for (const period of [1, 2, 3, 5, 7]) {
      const protocol = new WebSocketProtocol({ role });
      const events = [];
      for (let at = 0; at < bytes.length; at++) {
        protocol.chunks = Math.floor(at / period) % 2 === 1;
        events.push(...feed(protocol, [bytes.subarray(at, at + 1)]));
      }
      assertEquals(joinChunks(events), [
        pingEvent(),
        textEvent("aé👋👋b"),
        binaryEvent(utf8("c")),
      ]);
    }
  }
});

Deno.test("a chunk's data is not changed by what comes after", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    const bytes = wire(role, binary(pattern(200)));
    feed(protocol, [bytes.subarray(0, 100)]);
    const there = protocol.destination!;
    protocol.chunks = true;
    const [first] = drain(protocol);
    assert(first?.type === "chunk" && typeof first.data !== "string");
    const copy = first.data.slice();
    // A read that was under way ends in the memory it was given.
    const rest = bytes.subarray(100);
    there.set(rest);
    protocol.receive(there.subarray(0, rest.length));
    const [second] = drain(protocol);
    assert(second?.type === "chunk" && typeof second.data !== "string");
    assertEquals(first.data, copy);
    assertEquals(concat(first.data, second.data), pattern(200));
    assert(second.fin);
  }
});

// Chunks through an extension

Deno.test("chunks: what an extension makes is delivered a little at a time", () => {
  for (const role of ROLES) {
    const extension = repeating(1000);
    const protocol = new WebSocketProtocol({ role, extension });
    protocol.chunks = true;
    const payload = hex`c8 61`;
    const data = concat(...Array(5000).fill(payload)); // 200 bytes for each two
    protocol.receive(wire(role, { ...binary(data), reservedBits: 0b100 }));
    let length = 0;
    let isEnded = false;
    while (!isEnded) {
      const event = protocol.nextEvent();
      assert(event?.type === "chunk");
      length += event.data.length;
      isEnded = event.fin;
    }
    assertEquals(length, 1_000_000);
    assertEquals(protocol.nextEvent(), undefined);
  }
});

Deno.test("chunks: 1,024 bytes at once go into an extension, and all come out", () => {
  for (const role of ROLES) {
    for (const length of [1, 1023, 1024, 1025, 2048, 5000]) {
      const sizes: [number, boolean][] = [];
      const extension = flipping({
        decode: (data, fin, output) => {
          sizes.push([data.length, fin]);
          output(flip(data));
        },
      });
      const protocol = new WebSocketProtocol({ role, extension });
      protocol.chunks = true;
      const data = pattern(length);
      const frame = { ...binary(flip(data)), reservedBits: 0b010 };
      const events = feed(protocol, [wire(role, frame)]);
      assertEquals(joinChunks(events), [binaryEvent(data)]);
      const expected: [number, boolean][] = [];
      for (let left = length; left > 0; left -= 1024) {
        expected.push([Math.min(left, 1024), left <= 1024]);
      }
      assertEquals(sizes, expected);
      // Whole, all at once
      sizes.length = 0;
      const whole = new WebSocketProtocol({ role, extension });
      assertEquals(feed(whole, [wire(role, frame)]), [binaryEvent(data)]);
      assertEquals(sizes, [[length, true]]);
    }
  }
});

// Reads straight into a message's memory

Deno.test("destination: the rest of a frame is read to where it is delivered", () => {
  for (const role of ROLES) {
    const data = pattern(5000);
    const bytes = wire(role, binary(data));
    const head = bytes.length - 5000;
    for (const at of [head, head + 1, head + 3, head + 4999]) {
      const protocol = new WebSocketProtocol({ role });
      assertEquals(feed(protocol, [bytes.subarray(0, at)]), []);
      const there = protocol.destination!;
      assertEquals(there.length, bytes.length - at);
      there.set(bytes.subarray(at));
      const [event, ...none] = [...protocol.receive(there)];
      assertEquals(none, []);
      assert(event?.type === "binary");
      assertEquals(event.data, data);
      assert(event.data.buffer === there.buffer, "it was copied");
      assertEquals(protocol.destination, undefined);
    }
  }
});

Deno.test("destination: in several reads, each behind the one before", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("é".repeat(500)), ping("p"));
    const protocol = new WebSocketProtocol({ role, textAs: "bytes" });
    let at = role === "server" ? 8 : 4;
    feed(protocol, [bytes.subarray(0, at)]);
    let memory: ArrayBuffer | undefined;
    for (const length of [1, 2, 3, 100, 893, 1]) {
      const there = protocol.destination!;
      memory ??= there.buffer;
      assert(there.buffer === memory);
      there.set(bytes.subarray(at, at + length));
      const events = [...protocol.receive(there.subarray(0, length))];
      at += length;
      assertEquals(events.length, length === 1 && at > 100 ? 1 : 0);
      if (events.length > 0) {
        assertEquals(events, [
          { type: "text", data: utf8("é".repeat(500)) },
        ]);
        assertEquals(protocol.destination, undefined);
      }
    }
    assertEquals(feed(protocol, [bytes.subarray(at)]), [pingEvent("p")]);
  }
});

Deno.test("destination: the last fragments of a message", () => {
  for (const role of ROLES) {
    const bytes = wire(role, binary("abc", false), last("defgh"));
    const protocol = new WebSocketProtocol({ role });
    feed(protocol, [bytes.subarray(0, bytes.length - 5)]);
    const there = protocol.destination!;
    assertEquals([there.byteOffset, there.length], [3, 5]);
    there.set(bytes.subarray(bytes.length - 5));
    assertEquals(feed(protocol, [there]), [binaryEvent(utf8("abcdefgh"))]);
  }
});

Deno.test("destination: none where nothing of a message's frame is missing", () => {
  for (const role of ROLES) {
    const none = (bytes: Uint8Array<ArrayBuffer>, chunks = false) => {
      const protocol = new WebSocketProtocol({ role });
      protocol.chunks = chunks;
      feed(protocol, [bytes]);
      assertEquals(protocol.destination, undefined);
    };
    const begun = wire(role, binary("abc", false));
    none(hex``);
    none(begun.subarray(0, 1));
    none(begun);
    none(wire(role, begun, last()));
    none(wire(role, begun, hex`80`));
    none(wire(role, ping("a ping")).subarray(0, 8));
    none(wire(role, begun, wire(role, ping("a ping")).subarray(0, 8)));
    none(begun.subarray(0, begun.length - 1), true);
    none(wire(role, last("fault")));
  }
});

Deno.test("destination: none for a control frame, though the message has room", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    const fragments = [
      binary(pattern(10), false),
      more(pattern(15)),
      more("a"),
    ];
    feed(protocol, [wire(role, ...fragments)]);
    const bytes = wire(role, ping("pinged"));
    for (let at = 0; at < bytes.length; at++) {
      assertEquals(protocol.destination, undefined);
      const isLast = at === bytes.length - 1;
      const events = feed(protocol, [bytes.subarray(at, at + 1)]);
      assertEquals(events, isLast ? [pingEvent("pinged")] : []);
    }
    feed(protocol, [wire(role, last("bc")).subarray(0, -1)]);
    assertEquals(protocol.destination?.length, 1);
    assertEquals(protocol.destination?.buffer.byteLength, 50);
  }
});

Deno.test("destination: none unless all events have been taken", () => {
  for (const role of ROLES) {
    const bytes = wire(role, text("a"), binary(pattern(300)));
    const protocol = new WebSocketProtocol({ role });
    protocol.receive(bytes.subarray(0, 60));
    assertEquals(protocol.destination, undefined);
    assertEquals(protocol.nextEvent(), textEvent("a") as ProtocolEvent);
    assertEquals(protocol.destination, undefined);
    assertEquals(protocol.nextEvent(), undefined);
    assertEquals(protocol.destination?.length, bytes.length - 60);
    protocol.receive(bytes.subarray(60, 70));
    assertEquals(protocol.destination, undefined, "there is more to look at");
    drain(protocol);
    assertEquals(protocol.destination?.length, bytes.length - 70);
  }
});

Deno.test("destination: a large message is moved only as it grows", () => {
  for (const role of ROLES) {
    const data = pattern(3_000_000);
    const bytes = wire(role, binary(data), text("next"));
    for (const inPlace of [false, true]) {
      const protocol = new WebSocketProtocol({ role, inPlace });
      const reads: Uint8Array<ArrayBuffer>[] = [];
      for (let at = 0; at < bytes.length; at += 65536) {
        reads.push(bytes.slice(at, at + 65536));
      }
      const events = feed(protocol, reads, "to the destination");
      assertEquals(events, [binaryEvent(data), textEvent("next")]);
    }
  }
});

Deno.test("a message of more than 1 MiB in reads of any size", () => {
  const data = pattern(2 ** 20 + 5);
  for (const role of ROLES) {
    assertReceived({ role }, wire(role, binary(data), text("é")), {
      events: [binaryEvent(data), textEvent("é")],
    });
  }
});

// Memory that is given back

Deno.test("reuse: the memory of a message is used for later ones, and for no other's", () => {
  for (const role of ROLES) {
    for (const inPlace of [false, true]) {
      const protocols = [0, 1].map(() => {
        const protocol = new WebSocketProtocol({ role, inPlace });
        protocol.reusesMemory = true;
        return protocol;
      });
      const memories = new Set<ArrayBuffer>();
      let count = 0;
      for (const length of [900, 3000, 60_000, 3000, 200_000, 900, 900_000]) {
        for (const protocol of [...protocols, ...protocols]) {
          const data = pattern(length).fill(count & 0xff, 0, 1);
          const frames = [binary(data), text("a", false), last("é")];
          const bytes = wire(role, ...frames);
          const found = [];
          for (let at = 0; at < bytes.length;) {
            const there = protocol.destination;
            const size = Math.min(there?.length ?? 512, bytes.length - at);
            const read = there?.subarray(0, size) ?? new Uint8Array(size);
            read.set(bytes.subarray(at, at + size));
            at += size;
            for (const event of protocol.receive(read)) {
              assert(event.type === "binary" || event.type === "text");
              found.push(
                typeof event.data === "string"
                  ? event.data
                  : event.data.slice(),
              );
              if (typeof event.data !== "string") {
                memories.add(event.data.buffer);
                event.data.fill(0xee);
              }
              protocol.reuse(event.data);
            }
          }
          assertEquals(found, [data, "aé"]);
          count++;
        }
      }
      assert(memories.size < count, "none was used again");
    }
  }
});

Deno.test("reuse: a view on the bytes received is not given back", () => {
  const protocol = new WebSocketProtocol({ role: "server", inPlace: true });
  protocol.reusesMemory = true;
  const bytes = new Uint8Array(1024);
  bytes.set(wire("server", binary(pattern(1000))));
  const length = wire("server", binary(pattern(1000))).length;
  const [event] = protocol.receive(bytes.subarray(0, length));
  assert(event?.type === "binary" && event.data.buffer === bytes.buffer);
  protocol.reuse(event.data);
  bytes.fill(0x11);
  protocol.sendBinary(pattern(900));
  protocol.sendText("a");
  assertEquals(bytes, new Uint8Array(1024).fill(0x11));
});

Deno.test("reuse: nor is one at the beginning of what is read into, as an extension may pass it on", () => {
  const extension = flipping({
    decode: (data, _, output) => output(data as Uint8Array<ArrayBuffer>),
  });
  const protocol = new WebSocketProtocol({
    role: "client",
    inPlace: true,
    extension,
  });
  protocol.reusesMemory = true;
  const bytes = wire("client", {
    ...binary(pattern(1000)),
    reservedBits: extension.reservedBits,
  });
  const read = new Uint8Array(65_536);
  read.set(bytes.subarray(4));
  protocol.receive(bytes.slice(0, 4)); // the header alone
  assertEquals(protocol.nextEvent(), undefined);
  const [event] = protocol.receive(read.subarray(0, 1000));
  assert(event?.type === "binary" && event.data.buffer === read.buffer);
  protocol.reuse(event.data);
  assert(lendBuffer(65_536).buffer !== read.buffer);
});

Deno.test("reuse: memory that is given back twice is lent once", () => {
  const protocol = new WebSocketProtocol({ role: "client" });
  protocol.reusesMemory = true;
  const bytes = wire("client", binary(pattern(50_000)));
  protocol.receive(bytes.slice(0, 100));
  assertEquals(protocol.nextEvent(), undefined);
  const [event] = protocol.receive(bytes.slice(100));
  assert(event?.type === "binary");
  for (let i = 0; i < 2; i++) protocol.reuse(event.data);
  const lent = [lendBuffer(65_536), lendBuffer(65_536)];
  assert(lent[0]!.buffer !== lent[1]!.buffer);
});
