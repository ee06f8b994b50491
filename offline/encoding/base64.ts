/** Stand-in for `@std/encoding/base64`. @module */
import { toBytes } from "./_bytes.ts";

export function encodeBase64(data: ArrayBuffer | Uint8Array | string): string {
  return toBytes(data).toBase64();
}

/** Like the real one: padding may be left out, and nothing else may. */
export function decodeBase64(b64: string): Uint8Array<ArrayBuffer> {
  const digits = b64.replace(/={1,2}$/, "");
  if (digits.length % 4 === 1) {
    throw new RangeError(
      `Cannot decode input as base64: Length (${digits.length}) is impossible`,
    );
  }
  const invalid = /[^A-Za-z0-9+/]/u.exec(digits);
  if (invalid) {
    throw new TypeError(
      `Cannot decode input as base64: Invalid character (${invalid[0]})`,
    );
  }
  return Uint8Array.fromBase64(digits);
}
