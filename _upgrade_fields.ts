import {
  type ExtensionElement,
  formatExtensions,
  parseExtensions,
} from "./_extension_list.ts";
import type { HandshakeError, HandshakeErrorKind } from "./_handshake_error.ts";
import { listElements } from "./_http_grammar.ts";
import type { FieldLookup } from "./_http_head.ts";
import { quote } from "./_quote.ts";

/** What a client offers in its request (RFC 6455 §4.1), and a server answers. */
export interface UpgradeOffer {
  /** `Sec-WebSocket-Key`: 16 random bytes in base64. */
  readonly key: string;
  /** The subprotocols, in the client's order of preference. */
  readonly protocols: readonly string[];
  /** The extensions, in the client's order of preference. */
  readonly extensions: readonly ExtensionElement[];
}

/** Whether a list contains a token, given in lower case (RFC 6455 §4.2.1). */
export function hasElement(value: string | null, token: string): boolean {
  if (value === null) return false;
  if (value.length === token.length) return value.toLowerCase() === token;
  return listElements(value).some((element) => element.toLowerCase() === token);
}

/** Makes the error for a fault of the peer. */
export type Fail = (
  message: string,
  kind: HandshakeErrorKind,
) => HandshakeError;

/** RFC 6455 §4.1: "at least 1.1", where it is known. */
export function checkHttpVersion(
  version: string | undefined,
  fail: Fail,
): void {
  if (version === undefined || /^1\.[1-9]$/.test(version)) return;
  throw fail(
    `HTTP version must be 1.1 or later, got ${quote(version)}`,
    "http-version",
  );
}

/** `Upgrade` and `Connection`, which both sides send. */
export function checkUpgradeFields(fields: FieldLookup, fail: Fail): void {
  const upgrade = fields.get("upgrade");
  if (!hasElement(upgrade, "websocket")) {
    throw fail(`Upgrade must name websocket, ${got(upgrade)}`, "upgrade");
  }
  const connection = fields.get("connection");
  if (!hasElement(connection, "upgrade")) {
    throw fail(
      `Connection must name Upgrade, ${got(connection)}`,
      "connection",
    );
  }
}

/** The value of a field that is wrong or missing, for an error message. */
export function got(value: string | null): string {
  return value === null ? "but it is missing" : `got ${quote(value)}`;
}

/**
 * The extensions that an option names.
 *
 * @throws {TypeError} If a text does not follow the grammar.
 */
export function extensionList(
  extensions: string | readonly ExtensionElement[] | undefined,
): readonly ExtensionElement[] {
  if (typeof extensions !== "string") return extensions ?? [];
  try {
    return extensions === "" ? [] : parseExtensions(extensions);
  } catch (cause) {
    throw new TypeError(
      `Extensions must follow the grammar, got ${quote(extensions)}`,
      { cause },
    );
  }
}

/** The field line of `Sec-WebSocket-Extensions`, if there are any. */
export function extensionLine(extensions: readonly ExtensionElement[]): string {
  return extensions.length === 0
    ? ""
    : `Sec-WebSocket-Extensions: ${formatExtensions(extensions)}\r\n`;
}
