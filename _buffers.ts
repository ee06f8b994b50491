/**
 * A pool of buffers, shared by all connections, so that an idle connection
 * holds none.
 *
 * @module
 */

// Lengths of buffers, in bytes, and how many of each are kept at most.
const CLASSES = [
  { length: 1024, kept: 1024, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 4096, kept: 256, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 16384, kept: 128, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 65536, kept: 64, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 262144, kept: 16, free: [] as Uint8Array<ArrayBuffer>[] },
  { length: 1048576, kept: 8, free: [] as Uint8Array<ArrayBuffer>[] },
];

/** The length up to which frames are gathered in one buffer, in bytes. */
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
 * Takes back a buffer that {@linkcode lendBuffer} lent. No view on it may be
 * used after this.
 */
export function giveBackBuffer(buffer: Uint8Array<ArrayBuffer>): void {
  for (const size of CLASSES) {
    if (size.length === buffer.length) {
      if (size.free.length < size.kept) size.free.push(buffer);
      return;
    }
  }
}
