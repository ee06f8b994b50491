/**
 * Buffers that are lent for a moment and given back, shared by all
 * connections, so that an idle connection holds none.
 *
 * @module
 */

// Length of a buffer in bytes, and how many of that length are kept at most.
const CLASSES = [
  { length: 1024, kept: 1024, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 4096, kept: 256, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 16384, kept: 128, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 65536, kept: 64, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 262144, kept: 16, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 1048576, kept: 8, free: [] as Uint8Array<ArrayBuffer>[] },
];

/** Up to this length, in bytes, frames are put together in one buffer. */
export const LARGEST_BUFFER = 262144;

/**
 * A buffer of at least `length` bytes; what is in it is undefined. It belongs
 * to the caller until {@linkcode giveBackBuffer}, which may be left out.
 */
export function lendBuffer(length: number): Uint8Array<ArrayBuffer> {
  for (const size of CLASSES) {
    if (size.length >= length) {
      return size.free.pop() ?? new Uint8Array(size.length);
    }
  }
  return new Uint8Array(length);
}

/**
 * Takes a buffer back that {@linkcode lendBuffer} lent. No view on it may be
 * used, or have been handed out, after this.
 */
export function giveBackBuffer(buffer: Uint8Array<ArrayBuffer>): void {
  for (const size of CLASSES) {
    if (size.length === buffer.length) {
      if (size.free.length < size.kept) size.free.push(buffer);
      return;
    }
  }
}
