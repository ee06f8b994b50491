/** A `@std/crypto` that does while it is imported what the real one does. */

// The smallest there is: a magic number and a version.
const bytes = Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);

/** What cannot be made where no WebAssembly may be compiled. */
export const compiled: WebAssembly.Module = new WebAssembly.Module(bytes);

// No handshake succeeds with such a digest: one that does has got another.
export const crypto = {
  subtle: { digestSync: (): ArrayBuffer => new ArrayBuffer(20) },
};
