/**
 * What Node, Deno, Bun and workers with `nodejs_compat` have beyond the web
 * platform, asked for at run time so that no module has to import it.
 *
 * @module
 */

/** The part of `node:buffer` that is used here. */
interface NodeBuffer {
  isAscii?(bytes: Uint8Array): boolean;
  isUtf8?(bytes: Uint8Array): boolean;
  Buffer: {
    prototype: {
      utf8Slice?(this: Uint8Array, start: number, end: number): string;
    };
  };
}

/** The part of `node:zlib` that is used here. */
export interface NodeZlib {
  createDeflateRaw?(options: {
    level: number;
    memLevel: number;
    windowBits: number;
    chunkSize: number;
  }): unknown;
}

/** The part of `node:crypto` that is used here. */
export interface NodeCrypto {
  createHash(name: "sha1"): {
    update(bytes: Uint8Array): { digest(): Uint8Array };
  };
}

/** The part of Node's `process` that is used here. */
interface Process {
  versions?: Record<string, string | undefined>;
  getBuiltinModule?(name: "node:buffer"): NodeBuffer | undefined;
  getBuiltinModule?(name: "node:zlib"): NodeZlib | undefined;
  getBuiltinModule?(name: "node:crypto"): NodeCrypto | undefined;
}

const { process } = globalThis as { process?: Process };

/** `node:buffer`, or `undefined` where there is none, as in browsers. */
export const nodeBuffer: NodeBuffer | undefined = process
  ?.getBuiltinModule?.("node:buffer");

/**
 * Whether `isUtf8` of `node:buffer` is fast for all text. Deno's is fast for
 * ASCII alone: 64 KiB of mixed Chinese and ASCII take 57 us, 4 in Node and Bun.
 */
export const isNativeUtf8Fast: boolean = nodeBuffer?.isUtf8 !== undefined &&
  process?.versions?.["deno"] === undefined;

/** `node:zlib`, or `undefined` where there is none; loaded when asked for. */
export function loadNodeZlib(): NodeZlib | undefined {
  return process?.getBuiltinModule?.("node:zlib");
}

/** `node:crypto`, or `undefined` where there is none; loaded when asked for. */
export function loadNodeCrypto(): NodeCrypto | undefined {
  return process?.getBuiltinModule?.("node:crypto");
}

/**
 * Whether connections can share a timer. On Cloudflare's runtime it belongs to
 * the request that has set it, and is cancelled with that request.
 */
export const areTimersShared: boolean =
  (globalThis as { navigator?: { userAgent?: string } }).navigator
    ?.userAgent !== "Cloudflare-Workers";
