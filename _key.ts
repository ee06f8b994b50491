import { toBase64 } from "./_base64.ts";
import { encodeLatin1 } from "./_field_lines.ts";
import { sha1 } from "./_sha1.ts";

/** RFC 6455 §4.2.2, step 5.4: what is appended to the key. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** 16 bytes in base64: the last digit has four bits to spare, which are 0. */
export const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/;

// A key is 24 characters; encoding it in front of the GUID saves an allocation.
const keyAndGuid = encodeLatin1(" ".repeat(24) + GUID);
const encoder = new TextEncoder();

/**
 * The value of `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2): the SHA-1
 * of the key and a GUID, in base64.
 *
 * @param key The value of `Sec-WebSocket-Key`; it is not judged.
 * @returns The accept key, 28 characters.
 * @throws {Error} If the platform has no synchronous SHA-1: neither can it
 * compile WebAssembly nor has it `node:crypto`.
 *
 * @example The key of RFC 6455 §1.3
 * ```ts
 * import { acceptKey } from "@sansio/websocket/handshake";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   acceptKey("dGhlIHNhbXBsZSBub25jZQ=="),
 *   "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
 * );
 * ```
 */
export function acceptKey(key: string): string {
  if (!KEY.test(key)) return toBase64(sha1(encoder.encode(key + GUID)));
  encoder.encodeInto(key, keyAndGuid);
  return toBase64(sha1(keyAndGuid));
}

/**
 * A fresh value for `Sec-WebSocket-Key`: 16 bytes of the platform's strong
 * random source, in base64 (RFC 6455 §4.1, item 7).
 *
 * @returns The key, 24 characters.
 *
 * @example A new one every time
 * ```ts
 * import { generateKey } from "@sansio/websocket/handshake";
 * import { assertNotEquals } from "@std/assert";
 *
 * assertNotEquals(generateKey(), generateKey());
 * ```
 */
export function generateKey(): string {
  return toBase64(crypto.getRandomValues(new Uint8Array(16)));
}
