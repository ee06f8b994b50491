/**
 * SHA-1 for `Sec-WebSocket-Accept` (RFC 6455 §4.2.2), in one place.
 *
 * `@std/crypto` comes first, but it compiles WebAssembly while it is
 * imported, which pages with a strict content security policy forbid, and
 * Cloudflare's workerd before the compatibility date 2025-06-01. So it is
 * imported dynamically, and where that fails, or where the package is not
 * installed, the platform's own `node:crypto` takes its place: in workerd with
 * the flag `nodejs_compat`, in Node and in Bun. Nothing has to be configured; a
 * bundler has to emit ES modules for the top-level `await`. To keep the
 * WebAssembly out of a bundle for workerd, alias `@std/crypto`
 * (`@jsr/std__crypto` from npm) to an empty module.
 *
 * Where there is neither, importing still works, and so does whatever needs no
 * digest; only computing one throws.
 *
 * @module
 */

import { loadNodeCrypto, type NodeCrypto } from "./_platform.ts";

/** A digest of bytes, synchronously. */
export type Digest = (
  bytes: Uint8Array<ArrayBuffer>,
) => Uint8Array<ArrayBufferLike>;

/** `@std/crypto`, as far as it is used. */
interface StdCrypto {
  crypto: {
    subtle: {
      digestSync(name: "SHA-1", bytes: Uint8Array<ArrayBuffer>): ArrayBuffer;
    };
  };
}

/** A digest, and where it comes from. */
export interface Sha1 {
  readonly source: "@std/crypto" | "node:crypto" | undefined;
  readonly digest: Digest;
}

/**
 * Chooses what computes digests here.
 *
 * @param importStd Imports `@std/crypto`, or fails.
 * @param nodeCrypto The module `node:crypto`, if there is one.
 */
export async function chooseSha1(
  importStd: () => Promise<StdCrypto>,
  nodeCrypto: NodeCrypto | undefined,
): Promise<Sha1> {
  let cause: unknown;
  try {
    const { crypto: { subtle } } = await importStd();
    const digest: Digest = (bytes) =>
      new Uint8Array(subtle.digestSync("SHA-1", bytes));
    // Fails if an empty module stands in for it.
    digest(new Uint8Array(0));
    return { source: "@std/crypto", digest };
  } catch (error) {
    cause = error;
  }
  if (nodeCrypto !== undefined) {
    return {
      source: "node:crypto",
      digest: (bytes) => nodeCrypto.createHash("sha1").update(bytes).digest(),
    };
  }
  return {
    source: undefined,
    digest() {
      throw new Error("This platform has no synchronous SHA-1", { cause });
    },
  };
}

const chosen = await chooseSha1(
  () => import("@std/crypto"),
  loadNodeCrypto(),
);

/** Where {@linkcode sha1} comes from. */
export const sha1Source: Sha1["source"] = chosen.source;

/**
 * The SHA-1 digest of the bytes.
 *
 * @throws {Error} If the platform has no synchronous SHA-1.
 */
export const sha1: Digest = chosen.digest;
