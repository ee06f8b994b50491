/** The protocol with an extension: RFC 6455 §5.2 and §9. */
import { assert, assertEquals } from "@std/assert";
import { type FrameInit, RSV1, RSV2, RSV3 } from "../frame.ts";
import { permessageDeflate } from "../deflate.ts";
import type { NegotiatedExtension } from "../extension.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { concat, hex, pattern, utf8 } from "./_bytes.ts";
import { flip, flipping, repeating } from "./_fake_extensions.ts";
import {
  assertFails,
  assertReceived,
  binary,
  binaryEvent,
  cut,
  drain,
  feed,
  joinChunks,
  last,
  more,
  outcome,
  ping,
  pingEvent,
  pong,
  pongEvent,
  ROLES,
  sent,
  sentBy,
  takeAll,
  text,
  textEvent,
  WAYS,
  waysToCut,
  wire,
} from "./_protocol.ts";

/** The first or only frame of a message that is transformed. */
function flipped(frame: FrameInit): FrameInit {
  return { ...frame, reservedBits: RSV2, payload: flip(frame.payload!) };
}

function flippedMore(frame: FrameInit): FrameInit {
  return { ...frame, payload: flip(frame.payload!) };
}

/** A message of `count` times the letter, as `repeating` has it. */
function repeated(
  count: number,
  letter: string,
  isText = true,
): FrameInit {
  const pairs: number[] = [];
  for (let left = count; left > 0; left -= 255) {
    pairs.push(Math.min(left, 255), letter.charCodeAt(0));
  }
  const payload = Uint8Array.from(pairs);
  return { ...(isText ? text(payload) : binary(payload)), reservedBits: RSV1 };
}

Deno.test("§5.2: a message with the extension's bit is transformed back", () => {
  for (const role of ROLES) {
    const options = { role, extension: flipping() };
    const bytes = wire(
      role,
      flipped(text("Grüße")),
      text("plain"),
      flipped(binary("b")),
      flipped(text("")),
      binary(""),
    );
    assertReceived(options, bytes, {
      events: [
        textEvent("Grüße"),
        textEvent("plain"),
        binaryEvent(utf8("b")),
        textEvent(""),
        binaryEvent(utf8("")),
      ],
      state: "open",
    });
  }
});

Deno.test("§5.2: an extension may claim any of the three bits", () => {
  for (const reservedBits of [RSV1, RSV2, RSV3]) {
    for (const role of ROLES) {
      const extension = flipping({ reservedBits });
      const bytes = wire(
        role,
        { ...flipped(text("a")), reservedBits },
        { ...flipped(text("b", false)), reservedBits },
        flippedMore(last("c")),
        text("plain"),
      );
      assertReceived({ role, extension }, bytes, {
        events: [textEvent("a"), textEvent("bc"), textEvent("plain")],
      });
    }
  }
});

Deno.test("§5.4: the bit stands on the first fragment, for all of them", () => {
  for (const role of ROLES) {
    const options = { role, extension: flipping() };
    const bytes = wire(
      role,
      flipped(text("aé👋".slice(0, 2), false)),
      ping("not flipped"),
      flippedMore(more("👋")),
      flippedMore(more("")),
      pong("neither"),
      flippedMore(last("b")),
      text("pl", false),
      last("ain"),
    );
    assertReceived(options, bytes, {
      events: [
        pingEvent("not flipped"),
        pongEvent("neither"),
        textEvent("aé👋b"),
        textEvent("plain"),
      ],
    });
  }
});

Deno.test("§5.2: the extension's bit on another frame fails", () => {
  for (const role of ROLES) {
    const options = { role, extension: flipping() };
    for (const frame of [ping(), pong("a"), { opcode: 8 }]) {
      assertFails(options, wire(role, { ...frame, reservedBits: RSV2 }), {
        closeCode: 1002,
        kind: "reserved-bits",
        at: 2,
      });
    }
    for (const first of [text("a", false), flipped(text("a", false))]) {
      for (const next of [more("b"), last("b"), last("")]) {
        const begun = wire(role, first);
        const bytes = wire(role, begun, { ...next, reservedBits: RSV2 });
        assertFails(options, bytes, {
          closeCode: 1002,
          kind: "reserved-bits",
          at: begun.length + 2,
        });
      }
    }
  }
});

Deno.test("§5.2: a bit that the extension does not claim fails", () => {
  for (const role of ROLES) {
    const options = { role, extension: flipping() };
    for (const reservedBits of [RSV1, RSV3, RSV1 | RSV2, RSV2 | RSV3, 7]) {
      for (const frame of [text("a"), binary("", false)]) {
        assertFails(options, wire(role, { ...frame, reservedBits }), {
          closeCode: 1002,
          kind: "reserved-bits",
          at: 2,
        });
      }
    }
  }
});

Deno.test("the extension is told of parts in order, and of the end once", () => {
  for (const role of ROLES) {
    const told: [string, boolean][] = [];
    const extension = flipping({
      decode: (data, fin, output) => {
        told.push([new TextDecoder().decode(flip(data)), fin]);
        output(flip(data));
      },
    });
    const protocol = new WebSocketProtocol({ role, extension });
    const frames = [
      flipped(text("ab", false)),
      flippedMore(more("")),
      flippedMore(last("cd")),
      flipped(binary("e")),
      flipped(binary("")),
      flipped(binary("", false)),
      last(""),
    ];
    feed(protocol, [wire(role, ...frames)]);
    assertEquals(told, [
      ["ab", false],
      ["", false],
      ["cd", true],
      ["e", true],
      ["", true],
      ["", false],
      ["", true],
    ]);
  }
});

Deno.test("a message that comes out in many pieces is one", () => {
  for (const role of ROLES) {
    for (const pieceLength of [1, 7, 100]) {
      for (const count of [1, 100, 254, 255, 256, 3000]) {
        const make = () => ({ role, extension: repeating(pieceLength) });
        const bytes = wire(role, repeated(count, "a"), repeated(2, "b", false));
        const expected = [
          textEvent("a".repeat(count)),
          binaryEvent(utf8("bb")),
        ];
        assertEquals(outcome(make(), bytes).events, expected);
        for (const cuts of count > 300 ? [[20]] : waysToCut(bytes.length)) {
          for (const way of WAYS) {
            assertEquals(
              outcome(make(), bytes, cuts, way).events,
              expected,
              `${cuts} ${way}`,
            );
          }
        }
      }
    }
  }
});

Deno.test("a transformed message is never read to where it comes out", () => {
  // In place, what comes out would overwrite what is still to go in.
  for (const role of ROLES) {
    for (const inPlace of [false, true]) {
      const options = { role, inPlace, extension: repeating(1) };
      const protocol = new WebSocketProtocol(options);
      const data = new Uint8Array(400).map((_, i) =>
        i % 2 ? 97 + (i >> 1) % 26 : 3
      );
      const bytes = wire(role, { ...text(data), reservedBits: RSV1 });
      const events = [];
      for (const part of cut(bytes, [15, 40, 47, 200])) {
        protocol.receive(part);
        events.push(...drain(protocol));
        assertEquals(protocol.destination, undefined);
      }
      const letters = Array.from(
        { length: 200 },
        (_, i) => String.fromCharCode(97 + i % 26).repeat(3),
      ).join("");
      assertEquals(events, [textEvent(letters)]);
    }
  }
});

Deno.test("a message that comes out in one piece is not copied", () => {
  for (const role of ROLES) {
    const piece = utf8("as it is");
    const extension = flipping({ decode: (_, __, output) => output(piece) });
    for (const chunks of [false, true]) {
      const protocol = new WebSocketProtocol({ role, extension });
      protocol.chunks = chunks;
      const [event] = protocol.receive(wire(role, flipped(binary("x"))));
      assert(event?.type === (chunks ? "chunk" : "binary"));
      assert(typeof event.data !== "string");
      assertEquals(event.data, utf8("as it is"));
      assert(event.data.buffer === piece.buffer);
    }
  }
});

Deno.test("pieces larger than what is reserved at once fit", () => {
  for (const role of ROLES) {
    for (const sizes of [[10, 2 ** 21], [2 ** 20, 5, 3_000_000], [1, 1, 1]]) {
      const pieces = sizes.map((size, i) => pattern(size).fill(i, 0, 1));
      const extension = flipping({
        decode: (_, __, output) => pieces.forEach((piece) => output(piece)),
      });
      const protocol = new WebSocketProtocol({ role, extension });
      const [event] = feed(protocol, [wire(role, flipped(binary("x")))]);
      assertEquals(event, binaryEvent(concat(...pieces)));
    }
  }
});

// Limits while transforming

Deno.test("§10.4: what comes out is limited while it comes out", () => {
  for (const role of ROLES) {
    for (const limit of [0, 1, 99, 100]) {
      let pieces = 0;
      const extension = flipping({
        decode: (_, __, output) => {
          for (let i = 0; i < 1000; i++) {
            pieces++;
            output(new Uint8Array(10));
          }
        },
      });
      const options = { role, extension, maxMessageSize: limit };
      const bytes = wire(role, flipped(binary("x")));
      const protocol = new WebSocketProtocol(options);
      const [event] = feed(protocol, [bytes]);
      assert(event?.type === "close");
      assertEquals(event.code, 1009);
      assertEquals(pieces, Math.floor(limit / 10) + 1);
      assertEquals(protocol.unfinishedLength, 0, "what came out is let go");
    }
  }
});

Deno.test("§10.4: exactly maxMessageSize may come out, one more byte not", () => {
  for (const role of ROLES) {
    for (const isInChunks of [false, true]) {
      for (const count of [499, 500, 501, 502, 510]) {
        const extension = repeating(100);
        const options = { role, extension, maxMessageSize: 500 };
        const protocol = new WebSocketProtocol(options);
        protocol.chunks = isInChunks;
        const events = feed(protocol, [
          wire(role, repeated(count, "a"), repeated(3, "b")),
        ]);
        if (count <= 500) {
          assertEquals(joinChunks(events), [
            textEvent("a".repeat(count)),
            textEvent("bbb"),
          ]);
        } else {
          const end = events.at(-1);
          assert(end?.type === "close" && end.code === 1009);
          assertEquals(
            end.reason,
            `The message is larger than 500 bytes (at least ${
              Math.min(count, 510)
            })`,
          );
        }
      }
    }
  }
});

Deno.test("§10.4: what comes out of all of a message's fragments is limited", () => {
  for (const role of ROLES) {
    const make = () => ({
      role,
      extension: repeating(100),
      maxMessageSize: 500,
    });
    const first = { ...repeated(255, "a"), fin: false };
    const rest = { ...repeated(246, "a"), opcode: 0, reservedBits: 0 };
    const [event] = outcome(make(), wire(role, first, rest)).events;
    assert(event?.type === "close" && event.code === 1009);
    const fits = { ...repeated(245, "a"), opcode: 0, reservedBits: 0 };
    assertEquals(outcome(make(), wire(role, first, fits)).events, [
      textEvent("a".repeat(500)),
    ]);
  }
});

Deno.test("what is transformed may be a little longer than the message", () => {
  // Bytes that cannot be compressed take 5 more for each block
  for (const role of ROLES) {
    const extension = flipping({
      decode: (data, fin, output) => {
        if (fin) output(new Uint8Array(data.length ? 10_000 : 0));
      },
    });
    const options = { role, extension, maxMessageSize: 10_000 };
    const allowed = 10_100 + 1024 + 16;
    const fits = { ...binary(pattern(allowed)), reservedBits: RSV2 };
    assertEquals(outcome(options, wire(role, fits)).events, [
      binaryEvent(new Uint8Array(10_000)),
    ]);
    const over = { ...binary(pattern(allowed + 1)), reservedBits: RSV2 };
    const [event] = outcome(options, wire(role, over)).events;
    assert(event?.type === "close" && event.code === 1009);
    const half = { ...fits, fin: false };
    const seventeen = last("x".repeat(17)); // a fragment may cost 16 of them
    const [sum] = outcome(options, wire(role, half, seventeen)).events;
    assert(sum?.type === "close" && sum.code === 1009);
  }
});

Deno.test("the ends of many short fragments do not count as the message", () => {
  const deflate = permessageDeflate();
  const client = new WebSocketProtocol({
    role: "client",
    extension: deflate.confirm([]),
  });
  const server = new WebSocketProtocol({
    role: "server",
    extension: deflate.accept([]),
    maxMessageSize: 65_536,
  });
  const LENGTH = 12_000;
  for (let i = 0; i < LENGTH; i++) {
    client.sendFragment("text", String.fromCharCode(97 + i * i % 26));
  }
  client.sendFragment("text", "", { fin: true });
  assert(client.outputLength > 100_000);
  const [event] = feed(server, [takeAll(client)]);
  assert(event?.type === "text", event?.type);
  assertEquals(event.data.length, LENGTH);
});

Deno.test("§8.1: what comes out of an extension as text is checked", () => {
  for (const role of ROLES) {
    const options = { role, extension: flipping() };
    for (const bad of [hex`61 ff 62`, hex`e2 82`, hex`ed a0 80`]) {
      assertFails(options, wire(role, flipped(text(bad))), {
        closeCode: 1007,
        kind: "invalid-utf8",
        at: wire(role, text(bad.subarray(0, 2))).length,
      });
    }
    const split = [flipped(text(hex`c3`, false)), flippedMore(last(hex`a9`))];
    assertReceived(options, wire(role, ...split), {
      events: [textEvent("é")],
    });
  }
});

Deno.test("a fault that an extension finds is answered with its code", () => {
  for (const role of ROLES) {
    const make = (): NegotiatedExtension => repeating(10);
    const bytes = wire(role, { ...text(hex`05 61 05`), reservedBits: RSV1 });
    for (const cuts of waysToCut(bytes.length)) {
      const protocol = new WebSocketProtocol({ role, extension: make() });
      const events = feed(protocol, cut(bytes, cuts));
      const [event] = events;
      assert(event?.type === "close");
      assertEquals([event.code, event.reason], [
        1007,
        "A byte is missing after (5)",
      ]);
      assertEquals(sentBy(protocol).length, 1);
    }
  }
});

// Sending through an extension

Deno.test("§5.2: messages go out transformed, with the bit on the first frame", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role, extension: flipping() });
    protocol.sendText("é");
    protocol.sendText(utf8("b"));
    protocol.sendBinary(hex`00`);
    protocol.sendFragment("text", "a");
    protocol.ping(utf8("p"));
    protocol.sendFragment("text", "b", { fin: true });
    protocol.sendFragment("binary", hex`01`, { fin: true });
    assertEquals(
      sentBy(protocol),
      [
        flipped(text("é")),
        flipped(text("b")),
        flipped(binary(hex`00`)),
        flipped(text("a", false)),
        ping("p"),
        flippedMore(last("b")),
        flipped(binary(hex`01`)),
      ].map(sent),
    );
  }
});

Deno.test("the sender decides, and otherwise the extension", () => {
  for (const role of ROLES) {
    const asked: (number | undefined)[] = [];
    const extension = flipping({
      wants: (length) => {
        asked.push(length);
        return length === undefined || length > 2;
      },
    });
    const protocol = new WebSocketProtocol({ role, extension });
    protocol.sendText("é");
    protocol.sendText("éa");
    protocol.sendBinary(hex`00 00 00`);
    protocol.sendFragment("text", "");
    protocol.sendFragment("text", "x", { fin: true, compress: false });
    assertEquals(asked, [2, 3, 3, undefined]);
    protocol.sendText("a", { compress: true });
    protocol.sendText("abc", { compress: false });
    protocol.sendBinary(hex`00`, { compress: true });
    protocol.sendBinary(hex`00 00 00`, { compress: false });
    protocol.sendFragment("text", "", { compress: false, fin: true });
    protocol.sendFragment("text", "", { compress: true, fin: true });
    assertEquals(asked.length, 4);
    assertEquals(
      sentBy(protocol).map(({ reservedBits }) => reservedBits),
      [0, RSV2, RSV2, RSV2, 0, RSV2, 0, RSV2, 0, 0, RSV2],
    );
    const plain = new WebSocketProtocol({ role });
    plain.sendText("a", { compress: true });
    plain.sendFragment("text", "a", { compress: true, fin: true });
    assertEquals(sentBy(plain), [sent(text("a")), sent(text("a"))]);
  }
});

Deno.test("a whole message that an extension leaves alone goes out without the bit", () => {
  for (const role of ROLES) {
    const told: [number, boolean, boolean][] = [];
    const extension = flipping({
      encode: (data, fin, whole) => {
        told.push([data.length, fin, whole]);
        return whole ? undefined : flip(data);
      },
    });
    const protocol = new WebSocketProtocol({ role, extension });
    protocol.sendText("abc");
    protocol.sendBinary(hex`00`);
    protocol.sendFragment("text", "ab");
    protocol.sendFragment("text", "", { fin: true });
    protocol.sendFragment("binary", "a", { fin: true });
    assertEquals(told, [
      [3, true, true],
      [1, true, true],
      [2, false, false],
      [0, true, false],
      [1, true, false],
    ]);
    assertEquals(
      sentBy(protocol),
      [
        text("abc"),
        binary(hex`00`),
        flipped(text("ab", false)),
        last(""),
        flipped(binary("a")),
      ].map(sent),
    );
  }
});

Deno.test("mayGoOn: what comes out pauses, and goes on as if it had not", () => {
  const large = {
    ...binary(new Uint8Array(4096).fill(255)),
    reservedBits: RSV1,
  };
  const small = { ...binary(hex`01 07`), reservedBits: RSV1 };
  for (const inChunks of [false, true]) {
    const bytes = wire("server", small, large, ping("a"), small, text("b"));
    const whole = new WebSocketProtocol({
      role: "server",
      extension: repeating(512),
    });
    whole.chunks = inChunks;
    whole.receive(bytes);
    const expected = joinChunks(drain(whole));
    let parts = 0;
    const protocol = new WebSocketProtocol({
      role: "server",
      extension: repeating(512),
      mayGoOn: () => ++parts % 3 > 0,
    });
    protocol.chunks = inChunks;
    protocol.receive(bytes);
    const events = [];
    let pauses = 0;
    for (;;) {
      events.push(...drain(protocol));
      if (!protocol.isPaused) break;
      assertEquals(protocol.nextEvent(), undefined);
      pauses++;
      protocol.resume();
    }
    assertEquals(joinChunks(events), expected);
    // 4,096 bytes in parts of 1,024, and two of 2: every third one pauses.
    assertEquals(parts, 6);
    assertEquals(pauses, 2);
  }
});

Deno.test("an extension is disposed of when the transport has ended, once", () => {
  let disposed = 0;
  const extension = flipping({
    dispose() {
      disposed++;
      throw new Error("mine");
    },
  });
  const protocol = new WebSocketProtocol({ role: "server", extension });
  protocol.close();
  assertEquals(disposed, 0);
  assertEquals(protocol.receiveEnd()?.code, 1006);
  assertEquals(protocol.receiveEnd(), undefined);
  assertEquals(disposed, 1);
});

Deno.test("compressed messages that end with their connection take no place from others", () => {
  const deflate = permessageDeflate({ maxUnfinished: 4 });
  const begun = (): WebSocketProtocol => {
    const client = new WebSocketProtocol({
      role: "client",
      extension: deflate.confirm([]),
    });
    const server = new WebSocketProtocol({
      role: "server",
      extension: deflate.accept([]),
    });
    client.sendFragment("text", "a".repeat(100));
    assertEquals(feed(server, [takeAll(client)]), []);
    return server;
  };
  for (let i = 0; i < 10; i++) {
    const server = begun();
    assertEquals(server.state, "open");
    server.receiveEnd();
  }
});
