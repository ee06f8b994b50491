/**
 * What Node, Deno, Bun and workers with `nodejs_compat` have beyond the web
 * platform, asked for at run time so that no module has to import it.
 *
 * @module
 */

/** The part of `node:buffer` that is used here. */
interface NodeBuffer {
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
  getBuiltinModule?(name: "node:buffer"): NodeBuffer | undefined;
  getBuiltinModule?(name: "node:zlib"): NodeZlib | undefined;
}

/** `node:buffer`, or `undefined` where there is none, as in browsers. */
export const nodeBuffer: NodeBuffer | undefined =
  (globalThis as { process?: Process }).process
    ?.getBuiltinModule?.("node:buffer");

/** `node:zlib`, or `undefined` where there is none; loaded when asked for. */
export function loadNodeZlib(): NodeZlib | undefined {
  return (globalThis as { process?: Process }).process
    ?.getBuiltinModule?.("node:zlib");
}
