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

interface Process {
  getBuiltinModule?(name: "node:buffer"): NodeBuffer | undefined;
}

/** `node:buffer`, or `undefined` where there is none, as in browsers. */
export const nodeBuffer: NodeBuffer | undefined =
  (globalThis as { process?: Process }).process
    ?.getBuiltinModule?.("node:buffer");
