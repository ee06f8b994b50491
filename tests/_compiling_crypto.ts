/**
 * A `@std/crypto` that compiles WebAssembly on import, as the real one does.
 */

// The smallest module: a magic number and a version.
const bytes = Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);

/** Throws where WebAssembly may not be compiled. */
export const compiled: WebAssembly.Module = new WebAssembly.Module(bytes);

// A handshake that succeeds has used another digest than this.
export const crypto = {
  subtle: { digestSync: (): ArrayBuffer => new ArrayBuffer(20) },
};
