/** What goes out: RFC 6455 §5.1 to §5.6 and §6.1. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Opcode } from "../frame.ts";
import { PreparedMessage } from "../prepared.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { concat, hex, inEachForm, noData, pattern, utf8 } from "./_bytes.ts";
import { flip, flipping } from "./_fake_extensions.ts";
import {
  binary,
  close,
  feed,
  last,
  more,
  ping,
  pong,
  ROLES,
  type Sent,
  sent,
  sentBy,
  takeAll,
  text,
  wire,
} from "./_protocol.ts";

const LENGTHS = [0, 1, 31, 32, 33, 124, 125, 126, 127, 1000]
  .concat([65534, 65535, 65536, 65537, 131071, 131072, 131073, 300_000]);

function afterSending(
  role: "client" | "server",
  send: (protocol: WebSocketProtocol) => void,
): Sent[] {
  const protocol = new WebSocketProtocol({ role });
  send(protocol);
  return sentBy(protocol);
}

Deno.test("§5.6: a server's messages, drawn in bytes", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  protocol.sendText("Hello");
  protocol.sendText("é");
  protocol.sendText(utf8("raw"));
  protocol.sendBinary(hex`00 ff`);
  protocol.ping(hex`01`);
  protocol.pong();
  assertEquals(protocol.outputLength, 7 + 4 + 5 + 4 + 3 + 2);
  assertEquals(
    protocol.takeOutput(),
    hex`81 05 48 65 6c 6c 6f 81 02 c3 a9 81 03 72 61 77 82 02 00 ff 89 01 01 8a 00`,
    "all that is owed lies together",
  );
  assertEquals(protocol.outputLength, 0);
  assertEquals(protocol.takeOutput(), undefined);
});

Deno.test("bytes are bytes, whatever form they are given in", () => {
  const expected = pattern(16);
  for (const [name, bytes] of inEachForm(expected)) {
    const protocol = new WebSocketProtocol({ role: "server" });
    protocol.sendText(bytes);
    protocol.sendBinary(bytes);
    protocol.sendFragment("binary", bytes);
    protocol.ping(bytes);
    protocol.sendFragment("binary", bytes, { fin: true });
    protocol.pong(bytes);
    assertEquals(
      sentBy(protocol),
      [
        text(expected),
        binary(expected),
        binary(expected, false),
        ping(expected),
        last(expected),
        pong(expected),
      ].map(sent),
      name,
    );
  }
});

Deno.test("what is neither text nor bytes is refused, and nothing is sent", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const expected = "an ArrayBuffer or a view on one";
  for (const [name, wrong] of noData() as [string, never][]) {
    const text = () => protocol.sendText(wrong);
    assertThrows(text, TypeError, `A text is a string, ${expected} (${name})`);
    assertThrows(
      () => protocol.sendFragment("text", wrong),
      TypeError,
      `A fragment is a string, ${expected} (${name})`,
    );
  }
  // Left out, a ping carries nothing.
  const noBytes = noData().filter(([, value]) => value !== undefined);
  for (const [name, wrong] of [...noBytes, ["string", "abc"]]) {
    for (
      const [what, act] of [
        ["A binary message", () => protocol.sendBinary(wrong as never)],
        ["What a ping carries", () => protocol.ping(wrong as never)],
        ["What a pong carries", () => protocol.pong(wrong as never)],
      ] as const
    ) assertThrows(act, TypeError, `${what} is ${expected} (${name})`);
  }
  assertEquals(protocol.outputLength, 0);
  protocol.sendText("next");
  assertEquals(sentBy(protocol), [sent(text("next"))]);
});

Deno.test("§5.2: messages of every length that changes the header", () => {
  for (const role of ROLES) {
    for (const length of LENGTHS) {
      const data = pattern(length);
      const letters = "a".repeat(length);
      const accents = "é".repeat(length);
      const marks = "\u20ac".repeat(length);
      assertEquals(
        afterSending(role, (protocol) => {
          protocol.sendBinary(data);
          protocol.sendText(letters);
          protocol.sendText(accents);
          protocol.sendText(marks);
          protocol.sendText(utf8(letters));
          protocol.ping();
        }),
        [
          binary(data),
          text(letters),
          text(accents),
          text(marks),
          text(letters),
          ping(),
        ].map(sent),
        `${length}`,
      );
    }
  }
});

Deno.test("§5.2: texts whose bytes need a longer header than their characters", () => {
  for (const role of ROLES) {
    for (const [character, size] of [["é", 2], ["界", 3], ["👋", 4]] as const) {
      for (const around of [125, 126, 65535, 65536]) {
        for (const extra of [-1, 0, 1]) {
          const count = Math.floor(around / size) + extra;
          const data = character.repeat(count) + "x".repeat(around % size);
          const [frame] = afterSending(role, (it) => it.sendText(data));
          assertEquals(frame, sent(text(data)));
        }
      }
    }
  }
});

Deno.test("§5.6: what is sent may not be what was there before", () => {
  // Non-ASCII late in a short text: its ASCII has been written in place
  // already.
  for (const role of ROLES) {
    for (let at = 0; at < 36; at++) {
      const data = `${"a".repeat(at)}é${"b".repeat(36 - at)}`.slice(0, 32);
      const [frame] = afterSending(role, (it) => it.sendText(data));
      assertEquals(frame, sent(text(data)));
    }
  }
});

Deno.test("§8.1: a lone surrogate is sent as U+FFFD", () => {
  for (const role of ROLES) {
    for (const filler of ["", "a".repeat(50), "a".repeat(20_000)]) {
      const data = `${filler}\ud83d-\udc4b`;
      const [frame] = afterSending(role, (it) => it.sendText(data));
      assertEquals(frame, sent(text(`${filler}\ufffd-\ufffd`)));
    }
  }
});

Deno.test("payloads are left alone, and may be views", () => {
  for (const role of ROLES) {
    for (const length of [5, 1000, 200_000]) {
      const memory = pattern(length + 20);
      const view = memory.subarray(7, 7 + length);
      const frames = afterSending(role, (protocol) => {
        protocol.sendBinary(view);
        protocol.sendText(view.fill(0x61));
        protocol.sendFragment("binary", view, { fin: true });
      });
      assertEquals(frames.map(({ payload }) => payload.length), [
        length,
        length,
        length,
      ]);
      assertEquals(memory.subarray(0, 7), pattern(7));
      assertEquals(view, new Uint8Array(length).fill(0x61));
      assertEquals(
        memory.subarray(7 + length),
        pattern(length + 20).subarray(7 + length),
      );
    }
  }
});

Deno.test("what is queued does not change with its source, below 128 KiB", () => {
  for (const role of ROLES) {
    for (const length of [1, 40, 131071]) {
      const data = pattern(length);
      const [frame] = afterSending(role, (protocol) => {
        protocol.sendBinary(data);
        data.fill(0);
      });
      assertEquals(frame?.payload, pattern(length));
    }
  }
});

Deno.test("a server refers to a payload from 128 KiB on, and copies nothing", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const large = pattern(131072);
  protocol.sendText("before");
  protocol.sendBinary(large);
  protocol.sendText("after");
  const outputs: Uint8Array[] = [];
  for (let bytes; (bytes = protocol.takeOutput());) {
    outputs.push(bytes.slice(0, 20));
  }
  assertEquals(outputs, [
    concat(hex`81 06`, utf8("before"), hex`82 7f 00 00 00 00 00 02 00 00`),
    large.slice(0, 20),
    concat(hex`81 05`, utf8("after")),
  ]);
  protocol.sendBinary(large);
  protocol.takeOutput();
  assertEquals(protocol.takeOutput()?.buffer, large.buffer);
});

// Masking

Deno.test("§5.3: a client masks each frame with a key of its own", () => {
  const protocol = new WebSocketProtocol({ role: "client" });
  const keys = new Set<string>();
  const count = 5000;
  for (let i = 0; i < count; i++) {
    if (i % 3 === 0) protocol.ping();
    else if (i % 3 === 1) protocol.sendText("");
    else protocol.sendFragment("binary", utf8(""), { fin: true });
    const bytes = takeAll(protocol);
    assertEquals(bytes.length, 6);
    keys.add(bytes.subarray(2).join());
  }
  // Of 5,000 random keys two are alike once in 300 runs, eight never.
  assert(keys.size > count - 8, `${count - keys.size} keys were used again`);
  assert(!keys.has("0,0,0,0"));
});

Deno.test("§5.3: keys come from crypto.getRandomValues, each of them once", () => {
  let last = 0;
  let isReal = true;
  let pool = new Uint32Array(0);
  const fake = (array: Uint32Array<ArrayBuffer>) => {
    isReal = false;
    pool = array;
    for (let i = 0; i < array.length; i++) array[i] = ++last;
    return array;
  };
  Object.defineProperty(crypto, "getRandomValues", {
    value: fake,
    configurable: true,
  });
  const keys: number[] = [];
  try {
    const protocol = new WebSocketProtocol({ role: "client" });
    for (let i = 0; i < 4000; i++) {
      protocol.sendBinary(hex`00`);
      const bytes = takeAll(protocol);
      const key = new DataView(bytes.buffer).getUint32(2);
      if (isReal) continue;
      keys.push(key);
      assert(!pool.includes(key), "a key that is used is kept in memory");
      const used = pool.subarray(0, pool.indexOf(key + 1));
      assert(used.every((gone) => gone === 0));
    }
  } finally {
    delete (crypto as { getRandomValues?: unknown }).getRandomValues;
  }
  assert(keys.length > 2900);
  assertEquals(keys, keys.map((_, i) => i + 1));
});

// Fragments

Deno.test("§5.4: a message of unknown length goes out in fragments", () => {
  for (const role of ROLES) {
    assertEquals(
      afterSending(role, (protocol) => {
        protocol.sendFragment("text", "a");
        protocol.sendFragment("text", utf8("b"));
        protocol.sendFragment("text", "", { fin: false });
        protocol.sendFragment("text", "c", { fin: true });
        protocol.sendFragment("binary", utf8("d"), { fin: true });
        protocol.sendFragment("binary", utf8(""));
        protocol.sendFragment("binary", utf8(""), { fin: true });
        protocol.sendText("whole");
      }),
      [
        text("a", false),
        more("b"),
        more(""),
        last("c"),
        binary("d"),
        binary("", false),
        last(""),
        text("whole"),
      ].map(sent),
    );
  }
});

Deno.test("§5.4: a fragment that can't be sent has not begun a message", () => {
  for (const role of ROLES) {
    const extension = flipping({
      encode(data) {
        if (data.length > 3) throw new RangeError("mine");
        return flip(data);
      },
    });
    const protocol = new WebSocketProtocol({ role, extension });
    assertThrows(
      () => protocol.sendFragment("text", "long", { compress: true }),
      RangeError,
      "mine",
    );
    const wrong = null as unknown as string;
    assertThrows(
      () => protocol.sendFragment("text", wrong, { compress: false }),
      TypeError,
    );
    assertEquals(protocol.outputLength, 0);
    protocol.sendFragment("binary", utf8("a"), { compress: false });
    assertThrows(() => protocol.sendFragment("text", "b"), TypeError);
    protocol.sendFragment("binary", utf8("c"), { fin: true });
    protocol.sendFragment("text", "d\ud83d", { compress: false });
    assertThrows(() => protocol.sendFragment("text", wrong), TypeError);
    protocol.sendFragment("text", "\udc4b", { fin: true });
    assertEquals(
      sentBy(protocol),
      [
        binary("a", false),
        last("c"),
        text("d", false),
        last("\u{1f44b}"),
      ].map(sent),
    );
  }
});

Deno.test("§5.4: control frames go out between fragments", () => {
  for (const role of ROLES) {
    assertEquals(
      afterSending(role, (protocol) => {
        protocol.sendFragment("binary", utf8("a"));
        protocol.ping(utf8("1"));
        feed(protocol, [wire(role, ping("2"))]);
        protocol.sendFragment("binary", utf8("b"));
        protocol.pong(utf8("3"));
        protocol.sendFragment("binary", utf8("c"), { fin: true });
        protocol.close(1000);
      }),
      [
        binary("a", false),
        ping("1"),
        pong("2"),
        more("b"),
        pong("3"),
        last("c"),
        close(1000),
      ].map(sent),
    );
  }
});

Deno.test("§5.4: no message goes out between fragments", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    protocol.sendFragment("text", "a");
    for (
      const act of [
        () => protocol.sendText("x"),
        () => protocol.sendText(utf8("x")),
        () => protocol.sendBinary(utf8("x")),
        () => protocol.sendPrepared(new PreparedMessage("x")),
      ]
    ) {
      const error = assertThrows(act, DOMException, "unfinished");
      assertEquals(error.name, "InvalidStateError");
    }
    const act = () => protocol.sendFragment("binary", utf8("x"), { fin: true });
    assertThrows(act, TypeError, "being sent is text (binary)");
    protocol.sendFragment("text", "b", { fin: true });
    protocol.sendBinary(utf8("c"));
    assertEquals(
      sentBy(protocol),
      [
        text("a", false),
        last("b"),
        binary("c"),
      ].map(sent),
    );
  }
});

Deno.test("§5.6: a string cut anywhere arrives whole, within pairs as well", () => {
  const whole = "a👋b\u{10ffff}é\ud83d-\udc4b👋";
  for (const role of ROLES) {
    for (let first = 0; first <= whole.length; first++) {
      for (let second = first; second <= whole.length; second++) {
        const frames = afterSending(role, (protocol) => {
          protocol.sendFragment("text", whole.slice(0, first));
          protocol.sendFragment("text", whole.slice(first, second));
          protocol.sendFragment("text", whole.slice(second), { fin: true });
        });
        assertEquals(
          concat(...frames.map(({ payload }) => payload)),
          utf8(whole),
        );
        assertEquals(frames.map(({ fin }) => fin), [false, false, true]);
      }
    }
  }
});

Deno.test("§5.6: half a pair that nothing completes is U+FFFD, and not lost", () => {
  const cases: [parts: (string | Uint8Array)[], payloads: string[]][] = [
    [["a\ud83d", ""], ["a", "\ufffd"]],
    [["a\ud83d", "b"], ["a", "\ufffdb"]],
    [["a\ud83d", "", "\udc4b"], ["a", "", "👋"]],
    [["\ud83d", "\ud83d", "\udc4b"], ["", "\ufffd", "👋"]],
    [["a\ud83d", utf8("b")], ["a", "\ufffdb"]],
    [["\ud83d", utf8(""), "\udc4b"], ["", "\ufffd", "\ufffd"]],
    [["\udc4b", "\ud83d"], ["\ufffd", "\ufffd"]],
    [["\ud800"], ["\ufffd"]],
    [["\udbff", "\udfff"], ["", "\u{10ffff}"]],
    [["\udc00", "\udc00"], ["\ufffd", "\ufffd"]],
  ];
  for (const role of ROLES) {
    for (const [parts, payloads] of cases) {
      const frames = afterSending(role, (protocol) => {
        parts.forEach((part, i) => {
          const fin = i === parts.length - 1;
          protocol.sendFragment("text", part, { fin });
        });
        protocol.sendFragment("text", "\udc4b", { fin: true });
      });
      assertEquals(
        frames.map(({ payload }) => new TextDecoder().decode(payload)),
        [...payloads, "\ufffd"],
      );
    }
  }
});

Deno.test("large fragments go out as they are", () => {
  for (const role of ROLES) {
    const data = pattern(200_000);
    const frames = afterSending(role, (protocol) => {
      protocol.sendFragment("binary", data);
      protocol.ping();
      protocol.sendFragment("binary", data, { fin: true });
    });
    assertEquals(frames, [binary(data, false), ping(), last(data)].map(sent));
  }
});

Deno.test("a server refers to a large fragment, too", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const data = pattern(131072);
  protocol.sendFragment("binary", data);
  protocol.takeOutput();
  assert(protocol.takeOutput()?.buffer === data.buffer);
});

// Control frames

Deno.test("§5.5: a ping or pong of more than 125 bytes is the program's error", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    for (const length of [126, 127, 70_000]) {
      const data = new Uint8Array(length);
      assertThrows(
        () => protocol.ping(data),
        RangeError,
        `125 bytes (${length})`,
      );
      assertThrows(
        () => protocol.pong(data),
        RangeError,
        `125 bytes (${length})`,
      );
    }
    assertEquals(protocol.outputLength, 0);
    protocol.ping(pattern(125));
    protocol.pong(pattern(125));
    assertEquals(
      sentBy(protocol),
      [
        ping(pattern(125)),
        pong(pattern(125)),
      ].map(sent),
    );
  }
});

// Prepared messages

Deno.test("a prepared message goes out as a message does", () => {
  for (const role of ROLES) {
    for (const length of LENGTHS) {
      const data = pattern(length);
      const letters = "é".repeat(length);
      assertEquals(
        afterSending(role, (protocol) => {
          protocol.sendPrepared(new PreparedMessage(data));
          protocol.sendPrepared(new PreparedMessage(letters));
          protocol.sendPrepared(new PreparedMessage(data, { type: "text" }));
          protocol.sendPrepared(new PreparedMessage("a", { type: "binary" }));
        }),
        [binary(data), text(letters), text(data), binary("a")].map(sent),
      );
    }
  }
});

Deno.test("a prepared message is encoded once for all that receive it", () => {
  const message = new PreparedMessage(pattern(200_000));
  const frame = message.frame();
  for (let i = 0; i < 3; i++) {
    const protocol = new WebSocketProtocol({ role: "server" });
    protocol.sendText("before");
    protocol.sendPrepared(message);
    assertEquals(protocol.outputLength, 8 + frame.length);
    assertEquals(protocol.takeOutput()?.length, 8);
    assertEquals(protocol.takeOutput() === frame, true);
    assertEquals(protocol.outputLength, 0);
  }
});

Deno.test("a client masks a prepared message, for each connection anew", () => {
  const message = new PreparedMessage("x".repeat(50));
  const [first, second] = [0, 1].map(() => {
    const protocol = new WebSocketProtocol({ role: "client" });
    protocol.sendPrepared(message);
    return takeAll(protocol);
  });
  assertEquals(first?.length, 56);
  assert(first!.join() !== second!.join());
});

Deno.test("a message prepared under a sharing key is transformed once", () => {
  let calls = 0;
  const told: [boolean, boolean][] = [];
  const sharing = (sharingKey: string | undefined) =>
    flipping({
      sharingKey,
      wants: (length) => length! > 2,
      encode: (data, fin, whole) => {
        calls++;
        told.push([fin, whole]);
        return flip(data);
      },
    });
  const message = new PreparedMessage("abc");
  const send = (
    role: "client" | "server",
    sharingKey: string | undefined,
    prepared = message,
  ) => {
    const extension = sharing(sharingKey);
    const protocol = new WebSocketProtocol({ role, extension });
    protocol.sendPrepared(prepared);
    return sentBy(protocol);
  };
  const flipped = [{ ...sent(text(flip(utf8("abc")))), reservedBits: 0b010 }];
  assertEquals(send("server", "a"), flipped);
  assertEquals(send("server", "a"), flipped);
  assertEquals(calls, 1);
  assertEquals(send("server", "b"), flipped);
  assertEquals(calls, 2, "other parameters, another form");
  assertEquals(send("server", undefined), flipped);
  assertEquals(send("server", undefined), flipped);
  assertEquals(calls, 4, "not to be shared");
  assertEquals(told, Array(4).fill([true, true]), "the whole message, at once");
  assertEquals(send("client", "a"), flipped);
  assertEquals(calls, 5, "a client's frames are masked each by itself");
  for (const role of ROLES) {
    const plain = new PreparedMessage("abc", { compress: false });
    assertEquals(send(role, "a", plain), [sent(text("abc"))]);
    assertEquals(send(role, "a", new PreparedMessage("ab")), [
      sent(text("ab")),
    ]);
    const wanted = new PreparedMessage("ab", { compress: true });
    assertEquals(send(role, "a", wanted)[0]?.reservedBits, 0b010);
  }
  assertEquals(send("server", "a"), flipped);
});

Deno.test("a prepared message that an extension leaves alone is sent as it is", () => {
  const extension = flipping({ sharingKey: "k", encode: () => undefined });
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role, extension });
    protocol.sendPrepared(new PreparedMessage("abc"));
    assertEquals(sentBy(protocol), [sent(text("abc"))]);
  }
});

// Taking what is owed

Deno.test("output is counted until it is taken, and is in order", () => {
  for (const role of ROLES) {
    const protocol = new WebSocketProtocol({ role });
    const overhead = role === "client" ? 4 : 0;
    const frames = [];
    let expected = 0;
    for (
      const length of [
        3,
        70_000,
        300_000,
        5,
        260_000,
        10,
        131072,
        1,
        600_000,
        262_144,
        2,
      ]
    ) {
      const data = pattern(length).fill(length & 0xff, 0, 1);
      protocol.sendBinary(data);
      frames.push(binary(data));
      expected += length + overhead + (length < 126 ? 2 : 10);
      assertEquals(protocol.outputLength, expected);
    }
    assertEquals(sentBy(protocol), frames.map(sent));
  }
});

Deno.test("what is taken stays as it is until it is released", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  const others = Array.from(
    { length: 5 },
    () => new WebSocketProtocol({ role: "server" }),
  );
  for (let i = 0; i < 20; i++) {
    protocol.sendBinary(new Uint8Array(900).fill(i));
    const taken = protocol.takeOutput()!;
    const copy = taken.slice();
    protocol.sendBinary(new Uint8Array(900).fill(0xee));
    for (const other of others) {
      other.sendBinary(new Uint8Array(900).fill(0xdd));
      other.takeOutput();
      if (i % 2) other.releaseOutput();
    }
    assertEquals(taken, copy);
    protocol.releaseOutput();
    const [frame] = sentBy(protocol);
    assertEquals(frame?.payload, new Uint8Array(900).fill(0xee));
  }
});

Deno.test("what is released is written to again", () => {
  const protocol = new WebSocketProtocol({ role: "server" });
  protocol.sendText("a");
  const { buffer } = protocol.takeOutput()!;
  protocol.releaseOutput();
  protocol.sendText("b");
  assert(protocol.takeOutput()?.buffer === buffer);
});

Deno.test("opcodes of what is sent are those asked for", () => {
  const opcodes = afterSending("client", (protocol) => {
    protocol.sendText("");
    protocol.sendBinary(utf8(""));
    protocol.ping();
    protocol.pong();
    protocol.close();
  }).map(({ opcode }) => opcode);
  const { Text, Binary, Ping, Pong, Close } = Opcode;
  assertEquals(opcodes, [Text, Binary, Ping, Pong, Close]);
});
