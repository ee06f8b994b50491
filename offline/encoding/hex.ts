/** Stand-in for `@std/encoding/hex`. @module */
import { toBytes } from "./_bytes.ts";

export function encodeHex(src: string | Uint8Array | ArrayBuffer): string {
  return toBytes(src).toHex();
}

export function decodeHex(src: string): Uint8Array<ArrayBuffer> {
  if (src.length % 2 === 1) {
    throw new RangeError(
      `Cannot decode input as hex: Length (${src.length}) must be divisible by 2`,
    );
  }
  const invalid = /[^0-9A-Fa-f]/u.exec(src);
  if (invalid) {
    throw new TypeError(
      `Cannot decode input as hex: Invalid character (${invalid[0]})`,
    );
  }
  return Uint8Array.fromHex(src);
}
