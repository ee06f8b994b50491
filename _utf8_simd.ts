/**
 * UTF-8 checked 16 bytes at a time, by a WebAssembly module (wasm/utf8.wat).
 *
 * @module
 */

import { nodeBuffer } from "./_platform.ts";
import { UTF8_WASM } from "./_utf8_wasm.ts";

// Where the module expects the text in its memory, in bytes.
const TEXT_AT = 64;
/**
 * How many bytes are checked at once: half of the memory's page, so that what
 * is copied is still in the first-level cache when it is checked.
 */
export const WINDOW = 32 * 1024;

// From this many bytes on it pays to ask the platform first whether all are
// ASCII: 1 MiB of ASCII takes 13 us instead of 47. In other text, a byte that
// is not ASCII is mostly found soon.
const ASCII_FROM = 4096;

interface Exports {
  memory: WebAssembly.Memory;
  isUtf8(length: number): number;
}

/** Whether the bytes from `start` to `end` are UTF-8 by themselves. */
export type IsUtf8 = (
  bytes: Uint8Array,
  start: number,
  end: number,
) => boolean;

/**
 * Loads the module, which takes about 0.5 ms.
 *
 * @returns `undefined` where there is no WebAssembly with SIMD, or where none
 * may be compiled: under a strict Content Security Policy, in some workers.
 */
export function loadUtf8Simd(): IsUtf8 | undefined {
  try {
    const wasm = Uint8Array.from(atob(UTF8_WASM), (c) => c.charCodeAt(0));
    const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm));
    const { memory, isUtf8 } = instance.exports as unknown as Exports;
    return inWindows(new Uint8Array(memory.buffer), isUtf8);
  } catch {
    return undefined;
  }
}

function inWindows(
  memory: Uint8Array,
  isUtf8: (length: number) => number,
): IsUtf8 {
  const isValid = (window: Uint8Array): boolean => {
    const { length } = window;
    if (length >= ASCII_FROM && nodeBuffer?.isAscii?.(window)) return true;
    memory.set(window, TEXT_AT);
    return isUtf8(length) !== 0;
  };
  return (bytes, start, end) => {
    let at = start;
    while (end - at > WINDOW) {
      // The next window begins where a character does. Four continuations in a
      // row are an error, wherever they are cut.
      let next = at + WINDOW;
      while (next > at + WINDOW - 3 && (bytes[next]! & 0xc0) === 0x80) next--;
      if (!isValid(bytes.subarray(at, next))) return false;
      at = next;
    }
    const isAll = at === 0 && end === bytes.length;
    return isValid(isAll ? bytes : bytes.subarray(at, end));
  };
}
