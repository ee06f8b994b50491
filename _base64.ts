/**
 * Base64 for keys and passwords, in one place.
 *
 * `@std/encoding` comes first. It is imported dynamically, as `@std/crypto` is
 * in `_sha1.ts`, so that a script still runs where the registry is out of
 * reach. There, and on Node 20, which lacks the
 * `ArrayBuffer.prototype.transfer` that it needs, the platform's own `btoa`
 * takes its place.
 *
 * @module
 */

type Encode = (bytes: Uint8Array) => string;

/** Base64 with padding (RFC 4648 §4). */
export const toBase64: Encode = await load();

async function load(): Promise<Encode> {
  try {
    const { encodeBase64 } = await import("@std/encoding/base64");
    encodeBase64(new Uint8Array(1));
    return encodeBase64;
  } catch {
    return (bytes) => btoa(String.fromCharCode(...bytes));
  }
}
