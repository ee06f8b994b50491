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

interface Process {
  versions?: Record<string, string | undefined>;
  getBuiltinModule?(name: "node:buffer"): NodeBuffer | undefined;
  getBuiltinModule?(name: "node:zlib"): NodeZlib | undefined;
}

/** `node:buffer`, or `undefined` where there is none, as in browsers. */
export const nodeBuffer: NodeBuffer | undefined =
  (globalThis as { process?: Process }).process
    ?.getBuiltinModule?.("node:buffer");

/**
 * Whether `isUtf8` of `node:buffer` is fast for all texts, and not just for
 * ASCII as Deno's is: 57 us for 64 KiB of Chinese and ASCII in turn, where
 * Node's and Bun's take 4.
 */
export const isNativeUtf8Fast: boolean = nodeBuffer?.isUtf8 !== undefined &&
  (globalThis as { process?: Process }).process?.versions?.["deno"] ===
    undefined;

/** `node:zlib`, or `undefined` where there is none; loaded when asked for. */
export function loadNodeZlib(): NodeZlib | undefined {
  return (globalThis as { process?: Process }).process
    ?.getBuiltinModule?.("node:zlib");
}

/**
 * Whether a timer serves whoever waits for it. On Cloudflare's runtime it belongs
 * to the request that has set it, and goes with that request.
 */
export const areTimersShared: boolean =
  (globalThis as { navigator?: { userAgent?: string } }).navigator
    ?.userAgent !== "Cloudflare-Workers";
