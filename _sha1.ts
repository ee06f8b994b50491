/**
 * SHA-1 for `Sec-WebSocket-Accept` (RFC 6455 §4.2.2), in one place.
 *
 * `@std/crypto` is what counts, but it compiles WebAssembly while it is
 * imported, which Cloudflare's workerd and pages with a strict content security
 * policy forbid. So it is imported dynamically, and where that fails, or where
 * the package is not installed, the platform's own `node:crypto` takes its
 * place: in workerd with the flag `nodejs_compat`, in Node and in Bun. Nothing
 * has to be configured; a bundler has to emit ES modules for the top-level
 * `await`. To keep the WebAssembly out of a bundle for workerd, alias
 * `@std/crypto` (`@jsr/std__crypto` from npm) to an empty module.
 *
 * Where there is neither, importing still works, and so does whatever needs no
 * digest; only computing one throws.
 *
 * @module
 */

type Digest = (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBufferLike>;

interface Process {
  getBuiltinModule?(name: "node:crypto"): {
    createHash(name: "sha1"): {
      update(bytes: Uint8Array): { digest(): Uint8Array };
    };
  } | undefined;
}

/**
 * The SHA-1 digest of the bytes.
 *
 * @throws {Error} If the platform has no synchronous SHA-1.
 */
export const sha1: Digest = await load();

async function load(): Promise<Digest> {
  let cause: unknown;
  try {
    const { crypto: { subtle } } = await import("@std/crypto");
    const digest: Digest = (bytes) =>
      new Uint8Array(subtle.digestSync("SHA-1", bytes));
    // An empty module in its place shows only now.
    digest(new Uint8Array(0));
    return digest;
  } catch (error) {
    cause = error;
  }
  const nodeCrypto = (globalThis as { process?: Process }).process
    ?.getBuiltinModule?.("node:crypto");
  if (nodeCrypto) {
    return (bytes) => nodeCrypto.createHash("sha1").update(bytes).digest();
  }
  return () => {
    throw new Error("This platform has no synchronous SHA-1", { cause });
  };
}
