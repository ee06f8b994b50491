/**
 * The probes: what is done to a server, what RFC 6455 requires, and what ours
 * answers.
 *
 * Frames are hex digits, with a masking key of zeros so that payloads can be
 * read: `81 85 00000000 48656c6c6f` is the text "Hello".
 */

import { Buffer } from "node:buffer";
import { constants, deflateRawSync } from "node:zlib";
import { encodeFrame, Opcode, RSV1 } from "../frame.ts";
import { answer, bytesOf, type Probe, REQUEST, type Seen } from "./_probe.ts";

const MIB = 1024 * 1024;

const REFUSED = /^[45]\d\d\b/;

/** The request with a line replaced, or left out. */
function replace(line: string, by?: string): string {
  return REQUEST.replace(`${line}\r\n`, by === undefined ? "" : `${by}\r\n`);
}

/** The request with more lines. */
function add(...lines: string[]): string {
  return REQUEST.replace("\r\n\r\n", `\r\n${lines.join("\r\n")}\r\n\r\n`);
}

/** A frame of 1 MiB. */
function zeros(opcode: Opcode, fin = true): Uint8Array {
  const payload = new Uint8Array(MIB);
  return encodeFrame({ fin, opcode, payload, maskingKey: 0 });
}

function withTime(seen: Seen): string {
  const { head, isOver, seconds } = seen;
  const isOpen = head?.status === 101;
  if (!isOver && (isOpen || head === undefined)) return "not in 30 s";
  const time = seconds < 1 ? "at once" : `after ${Math.round(seconds)} s`;
  return isOpen ? time : `${answer(seen)} ${time}`;
}

function withMemory(text: string, { growth }: Seen): string {
  return growth === undefined ? text : `${text}, ${growth.toFixed(0)} MiB`;
}

const extensions = ({ head }: Seen): string | null | undefined =>
  head?.headers.get("Sec-WebSocket-Extensions");

export const PROBES: readonly Probe[] = [
  {
    title: "No `Sec-WebSocket-Version`",
    asks: "§4.2.1: MUST refuse",
    allowed: REFUSED,
    ours: /^426, version 13$/,
    head: replace("Sec-WebSocket-Version: 13"),
  },
  {
    title: "`Sec-WebSocket-Version: 12`",
    asks: "§4.2.2: MUST refuse, and name its versions",
    allowed: /^4\d\d, version 13\b/,
    ours: /^426, version 13$/,
    head: replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12"),
  },
  {
    title: "A key of 15 bytes",
    asks: "§4.2.1: MUST refuse",
    allowed: REFUSED,
    ours: /^400$/,
    head: replace(
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j",
    ),
  },
  {
    title: "`POST`",
    asks: "§4.2.1: MUST refuse",
    allowed: REFUSED,
    ours: /^405$/,
    head: replace("GET / HTTP/1.1", "POST / HTTP/1.1"),
  },
  {
    title: "HTTP/1.0",
    asks: "§4.2.1: MUST refuse",
    allowed: REFUSED,
    ours: /^505$/,
    head: replace("GET / HTTP/1.1", "GET / HTTP/1.0"),
  },
  {
    title: "No `Host`",
    asks: "§4.2.1: MUST refuse",
    allowed: REFUSED,
    ours: /^400$/,
    head: replace("Host: 127.0.0.1"),
  },
  {
    title: "The `Origin` of another site, default options",
    asks: "§10.2: SHOULD check it, if not for any page",
    ours: /^403$/,
    mode: "close",
    head: add("Origin: https://elsewhere.example"),
  },
  {
    title: "Offer of an unknown extension",
    asks: "§9.1: chooses among those it knows",
    allowed: /^101, without$/,
    ours: /^101, without$/,
    mode: "compress",
    head: add("Sec-WebSocket-Extensions: x-unheard-of; a=1"),
    tell: (seen) => `${answer(seen)}, ${extensions(seen) ?? "without"}`,
  },
  {
    title: "Malformed offer of extensions",
    asks: "§9.1: MUST fail",
    allowed: REFUSED,
    ours: /^400$/,
    mode: "compress",
    head: add("Sec-WebSocket-Extensions: permessage-deflate; =;;"),
  },
  {
    title: "Offer of the subprotocols `a, b`, none configured",
    asks: "§4.2.2: the one it is ready to use",
    ours: /^101, none$/,
    head: add("Sec-WebSocket-Protocol: a, b"),
    tell: (seen) => {
      const taken = seen.head?.headers.get("Sec-WebSocket-Protocol");
      return `${answer(seen)}, ${taken ?? "none"}`;
    },
  },
  {
    title: "A head of 64 KiB",
    asks: "",
    ours: /^431$/,
    head: add(`X: ${"x".repeat(64 * 1024)}`),
  },
  {
    title: "200 header fields",
    asks: "",
    ours: /^431$/,
    head: add(...Array.from({ length: 200 }, (_, i) => `X-${i}: y`)),
  },
  {
    title: "A head without end, a byte a second",
    asks: "",
    ours: /^408 after 1\d s$/,
    head: "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
    and: "sends a byte each second",
    tell: withTime,
  },
  {
    title: "A frame without a mask",
    asks: "§5.1: MUST close, MAY say 1002",
    allowed: /^(1002|cut off)$/,
    ours: /^1002$/,
    send: "81 05 48656c6c6f",
  },
  {
    title: "A reserved bit",
    asks: "§5.2: MUST fail, §7.1.7: SHOULD say 1002",
    allowed: /^1002$/,
    ours: /^1002$/,
    send: "c1 85 00000000 48656c6c6f",
  },
  {
    title: "A reserved opcode",
    asks: "§5.2: MUST fail, §7.1.7: SHOULD say 1002",
    allowed: /^1002$/,
    ours: /^1002$/,
    send: "83 85 00000000 48656c6c6f",
  },
  {
    title: "A length of 5 in 16 bits",
    asks: "§5.2: the client MUST NOT",
    ours: /^1002$/,
    send: "82 fe 0005 00000000 48656c6c6f",
  },
  {
    title: "A length with its top bit set",
    asks: "§5.2: the client MUST NOT",
    ours: /^1002$/,
    send: "82 ff 8000000000000005 00000000 48656c6c6f",
  },
  {
    title: "A ping of 126 bytes",
    asks: "§5.5: the client MUST NOT",
    ours: /^1002$/,
    send: `89 fe 007e 00000000 ${"61".repeat(126)}`,
  },
  {
    title: "A ping in two fragments",
    asks: "§5.5: the client MUST NOT",
    ours: /^1002$/,
    send: "09 81 00000000 61  80 81 00000000 62",
  },
  {
    title: "A continuation of nothing",
    asks: "§5.4: there is no such message",
    ours: /^1002$/,
    send: "80 85 00000000 48656c6c6f",
  },
  {
    title: "A text within an unfinished text",
    asks: "§5.4: the client MUST NOT",
    ours: /^1002$/,
    send: "01 81 00000000 61  81 81 00000000 62  80 81 00000000 63",
  },
  {
    title: "A text that is not UTF-8",
    asks: "§8.1: MUST fail, §7.1.7: SHOULD say 1007",
    allowed: /^1007$/,
    ours: /^1007$/,
    send: "81 82 00000000 c328",
  },
  {
    title: "The same, as long as the text is unfinished",
    asks: "§8.1: does not say when, §7.1.7: SHOULD say 1007",
    allowed: /^(1007|nothing)$/,
    ours: /^1007$/,
    send: "01 82 00000000 c328",
  },
  {
    title: "A text that ends within a character",
    asks: "§8.1: MUST fail, §7.1.7: SHOULD say 1007",
    allowed: /^1007$/,
    ours: /^1007$/,
    send: "81 82 00000000 e4b8",
  },
  {
    title: "Close with 1005",
    asks: "§7.4.1: the client MUST NOT",
    ours: /^1002$/,
    send: "88 82 00000000 03ed",
  },
  {
    title: "Close with one byte",
    asks: "§5.5.1: the client MUST NOT",
    ours: /^1002$/,
    send: "88 81 00000000 03",
  },
  {
    title: "Close with 3000",
    asks: "§5.5.1: MUST answer, typically with the same",
    allowed: /^(\d{4}|Close)$/,
    ours: /^3000$/,
    send: "88 82 00000000 0bb8",
  },
  {
    title: "A ping `abc`",
    asks: "§5.5.3: MUST send it back",
    allowed: /^pong "abc"$/,
    ours: /^pong "abc"$/,
    send: "89 83 00000000 616263",
  },
  {
    title: "A ping `!` within the text `Hello`",
    asks: "§5.4: MUST handle it",
    allowed: /^pong "!", echo "Hello"$/,
    ours: /^pong "!", echo "Hello"$/,
    send: "01 82 00000000 4865  89 81 00000000 21  80 83 00000000 6c6c6f",
  },
  {
    title: "A header that announces 1 GiB",
    asks: "§10.4: SHOULD have a limit",
    allowed: /^(1009|cut off)$/,
    ours: /^1009$/,
    send: "82 ff 0000000040000000 00000000",
  },
  {
    title: "A header that announces 2^62 bytes",
    asks: "§10.4: SHOULD have a limit",
    allowed: /^(1009|cut off)$/,
    ours: /^1009$/,
    send: "82 ff 4000000000000000 00000000",
  },
  {
    title: "A text of a million empty fragments",
    asks: "",
    ours: /^1008$/,
    isAlone: true,
    send: () => [
      bytesOf("01 80 00000000"),
      Buffer.alloc(6 * 1_000_000, "008000000000", "hex"),
      bytesOf("80 80 00000000"),
    ],
  },
  {
    title: "128 MiB in fragments, and no end of them",
    asks: "§10.4: SHOULD have a limit",
    allowed: /^(1009|cut off)/,
    ours: /^1009(, \d\d? MiB)?$/,
    isAlone: true,
    send: () => [
      bytesOf("02 80 00000000"),
      ...Array(128).fill(zeros(Opcode.Continuation, false)),
      bytesOf("89 80 00000000"), // a ping, which is answered if all is well
    ],
    tell: (seen) => withMemory(answer(seen).replace('pong ""', "taken"), seen),
  },
  {
    title: "128 MiB of zeros, compressed to 127 KiB",
    asks: "§10.4: SHOULD have a limit",
    allowed: /^(1009|cut off|without)/,
    ours: /^1009(, \d\d? MiB)?$/,
    isAlone: true,
    mode: "compress",
    head: add("Sec-WebSocket-Extensions: permessage-deflate"),
    send: () => {
      const bytes = deflateRawSync(new Uint8Array(128 * MIB), {
        finishFlush: constants.Z_SYNC_FLUSH,
      });
      return [encodeFrame({
        opcode: Opcode.Binary,
        reservedBits: RSV1,
        maskingKey: 0,
        payload: bytes.subarray(0, -4), // RFC 7692 §7.2.1
      })];
    },
    tell: (seen) =>
      extensions(seen) ? withMemory(answer(seen), seen) : "without",
  },
  {
    title: "A client that ignores Close is cut off",
    asks: "§7.1.1: MAY do so, if need be",
    ours: /^after [5-9] s$/,
    mode: "close",
    send: "81 85 00000000 48656c6c6f",
    and: "ignores Close",
    tell: withTime,
  },
  {
    title: "256 messages of 1 MiB from one that reads nothing",
    asks: "",
    ours: /^256 come back(, \d\d? MiB)?$/,
    isAlone: true,
    send: () => Array(256).fill(zeros(Opcode.Binary)),
    and: "reads nothing",
    tell: (seen) => withMemory(`${seen.frames.length} come back`, seen),
  },
  {
    title: "2,000 connections that say nothing",
    asks: "",
    ours: /^(101|\d\d? KiB each)$/,
    isAlone: true,
    and: "opens 2,000 connections",
    tell: (seen) => {
      if (seen.growth === undefined) return answer(seen);
      return `${(seen.growth * 1024 / 2000).toFixed(0)} KiB each`;
    },
  },
  {
    title: "A message, and the end of the client's half",
    asks: "",
    ours: /^echo "Hello", end$/,
    send: "81 85 00000000 48656c6c6f",
    and: "ends its half of the stream",
    tell: (seen) => answer(seen).replace("cut off", "end"),
  },
];
