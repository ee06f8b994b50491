import { quote } from "./_quote.ts";
import { isFieldValue, isToken } from "./_http_grammar.ts";

/** Header fields that belong to the handshake, or to the framing of HTTP. */
const RESERVED: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "sec-websocket-accept",
  "sec-websocket-extensions",
  "sec-websocket-key",
  "sec-websocket-protocol",
  "sec-websocket-version",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * The caller's header fields as field lines.
 *
 * @throws {TypeError} If one is malformed, or belongs to the handshake.
 */
export function fieldLines(init: HeadersInit | undefined): string {
  let lines = "";
  for (const [name = "", value] of fieldEntries(init)) {
    if (RESERVED.has(name.toLowerCase())) {
      throw new TypeError(
        `Header belongs to the handshake itself, got ${quote(name)}`,
      );
    }
    lines += fieldLine(name, value);
  }
  return lines;
}

function fieldEntries(init: HeadersInit | undefined): Iterable<string[]> {
  if (init === undefined) return [];
  return Symbol.iterator in init ? init : Object.entries(init);
}

/**
 * One field line. It is not made by `Headers`, which would trim a CR or LF at
 * the end: an attempt to inject is to be refused.
 *
 * @throws {TypeError} If the name is no token or the value no field value.
 */
export function fieldLine(name: string, value: string | undefined): string {
  const text = String(value);
  if (!isToken(name)) {
    throw new TypeError(`Header name must be a token, got ${quote(name)}`);
  }
  if (!isFieldValue(text)) {
    // Not the value, which may be a password: errors end up in logs.
    const wrong = [...text].find((character) => !isFieldValue(character))!;
    throw new TypeError(
      `Value of header [${name}] has a character that is not allowed, got ${
        quote(wrong)
      }`,
    );
  }
  return `${name}: ${text}\r\n`;
}

const encoder = new TextEncoder();

/** Encodes a text as ISO-8859-1. */
export function encodeLatin1(text: string): Uint8Array<ArrayBuffer> {
  const ascii = encoder.encode(text);
  if (ascii.length === text.length) return ascii;
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
