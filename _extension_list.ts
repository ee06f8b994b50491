import type { ExtensionParameters } from "./extension.ts";
import { HandshakeError } from "./_handshake_error.ts";
import { isToken, isTokenCode } from "./_http_grammar.ts";
import { quote } from "./_quote.ts";

/**
 * An extension as it stands in `Sec-WebSocket-Extensions` (RFC 6455 §9.1): an
 * offer of the client, or what the server made of it.
 */
export interface ExtensionElement {
  /** The registered name, such as `permessage-deflate`. */
  readonly name: string;
  /**
   * The parameters in the order of the header, repeated ones included: whether
   * those make sense is for the extension to say.
   */
  readonly parameters: ExtensionParameters;
}

const HTAB = 0x09;
const SP = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;

/**
 * Parses the value of `Sec-WebSocket-Extensions` by the grammar of RFC 6455
 * §9.1, in time linear in its length.
 *
 * Quoted values come out unquoted; what is in the quotes has to be a token.
 *
 * @param header The value of the header; several are joined with commas.
 * @returns The extensions in the order of the header, which is that of
 * preference.
 * @throws {HandshakeError} If the value does not follow the grammar (400).
 *
 * @example Two extensions, one with parameters
 * ```ts
 * import { parseExtensions } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseExtensions('foo; bar="1"; baz, quux'), [
 *   { name: "foo", parameters: [["bar", "1"], ["baz", undefined]] },
 *   { name: "quux", parameters: [] },
 * ]);
 * ```
 */
export function parseExtensions(header: string): ExtensionElement[] {
  const extensions: ExtensionElement[] = [];
  let i = skipSpace(header, 0);
  while (i < header.length) {
    // RFC 9110 §5.6.1.2: empty elements of a list mean nothing.
    if (header.charCodeAt(i) === COMMA) {
      i = skipSpace(header, i + 1);
      continue;
    }
    let end = tokenEnd(header, i);
    const name = header.slice(i, end);
    const parameters: [name: string, value: string | undefined][] = [];
    i = skipSpace(header, end);
    while (header.charCodeAt(i) === SEMICOLON) {
      i = skipSpace(header, i + 1);
      end = tokenEnd(header, i);
      const parameter = header.slice(i, end);
      i = skipSpace(header, end);
      let value: string | undefined;
      if (header.charCodeAt(i) === EQUALS) {
        i = skipSpace(header, i + 1);
        if (header.charCodeAt(i) === QUOTE) {
          [value, end] = unquote(header, i);
        } else {
          end = tokenEnd(header, i);
          value = header.slice(i, end);
        }
        i = skipSpace(header, end);
      }
      parameters.push([parameter, value]);
    }
    if (i < header.length && header.charCodeAt(i) !== COMMA) {
      throw malformed(header, i);
    }
    extensions.push({ name, parameters });
  }
  if (extensions.length === 0) throw malformed(header, header.length);
  return extensions;
}

function skipSpace(header: string, i: number): number {
  for (;; i++) {
    const code = header.charCodeAt(i);
    if (code !== SP && code !== HTAB) return i;
  }
}

function tokenEnd(header: string, start: number): number {
  let i = start;
  while (isTokenCode(header.charCodeAt(i))) i++;
  if (i === start) throw malformed(header, i);
  return i;
}

/** RFC 6455 §9.1: what a quoted value holds has to be a token as well. */
function unquote(header: string, start: number): [string, number] {
  let value = "";
  for (let i = start + 1;; i++) {
    let code = header.charCodeAt(i);
    if (code === QUOTE && value !== "") return [value, i + 1];
    if (code === BACKSLASH) code = header.charCodeAt(++i);
    if (!isTokenCode(code)) throw malformed(header, i);
    value += header[i];
  }
}

function malformed(header: string, at: number): HandshakeError {
  const found = at < header.length
    ? `found ${quote(header.slice(at, at + 16))} at offset ${at}`
    : "it ends too early";
  return new HandshakeError(`Malformed Sec-WebSocket-Extensions: ${found}`, {
    kind: "extensions",
  });
}

/**
 * Formats extensions as a value of `Sec-WebSocket-Extensions` (RFC 6455 §9.1),
 * the inverse of {@linkcode parseExtensions}.
 *
 * @param extensions The extensions in order of preference.
 * @returns The value; empty if there are no extensions.
 * @throws {TypeError} If a name or a value is not a token.
 *
 * @example An offer of permessage-deflate
 * ```ts
 * import { formatExtensions } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   formatExtensions([{
 *     name: "permessage-deflate",
 *     parameters: [["client_max_window_bits", undefined], [
 *       "server_max_window_bits",
 *       "10",
 *     ]],
 *   }]),
 *   "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
 * );
 * ```
 */
export function formatExtensions(
  extensions: readonly ExtensionElement[],
): string {
  return extensions.map(({ name, parameters }) => {
    let text = checkToken(name);
    for (const [parameter, value] of parameters) {
      text += `; ${checkToken(parameter)}`;
      if (value !== undefined) text += `=${checkToken(value)}`;
    }
    return text;
  }).join(", ");
}

function checkToken(text: string): string {
  if (!isToken(text)) {
    throw new TypeError(
      `Extension names and values must be tokens, got ${quote(text)}`,
    );
  }
  return text;
}
