/** Stand-in for `@std/crypto/crypto`: only `crypto.subtle.digestSync` is new. @module */
import { createHash } from "node:crypto";

export type DigestAlgorithmName =
  | "MD5"
  | "SHA-1"
  | "SHA-256"
  | "SHA-384"
  | "SHA-512";

export type DigestAlgorithm = DigestAlgorithmName | {
  name: DigestAlgorithmName;
};

export interface StdSubtleCrypto extends SubtleCrypto {
  digestSync(algorithm: DigestAlgorithm, data: BufferSource): ArrayBuffer;
}

export interface StdCrypto extends Crypto {
  readonly subtle: StdSubtleCrypto;
}

function digestSync(
  algorithm: DigestAlgorithm,
  data: BufferSource,
): ArrayBuffer {
  const name = typeof algorithm === "string" ? algorithm : algorithm.name;
  const bytes = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
  const hash = createHash(name.replace("SHA-", "sha")).update(bytes).digest();
  return new Uint8Array(hash).buffer;
}

/** Adds members to an interface whose methods need their own `this`. */
function inherit<T extends object, U extends object>(base: T, own: U): T & U {
  return new Proxy(own, {
    get(target, key) {
      if (key in target) return Reflect.get(target, key);
      const value = Reflect.get(base, key);
      return typeof value === "function" ? value.bind(base) : value;
    },
  }) as T & U;
}

export const crypto: StdCrypto = inherit(globalThis.crypto, {
  subtle: inherit(globalThis.crypto.subtle, { digestSync }),
}) as StdCrypto;
