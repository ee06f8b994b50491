/** The parts of ws that match functions of ours; two of them are public. */

import { createRequire } from "node:module";
import type { Buffer } from "node:buffer";
import { Receiver, Sender } from "ws";

const require = createRequire(import.meta.resolve("ws"));

interface Masking {
  mask(
    source: Uint8Array,
    mask: Uint8Array,
    output: Uint8Array,
    offset: number,
    length: number,
  ): void;
  unmask(buffer: Uint8Array, mask: Uint8Array): void;
}

/** Its masking: plain JavaScript, since `bufferutil` is not installed. */
export const { unmask }: Masking = require("./lib/buffer-util.js");

/** Its check of text: `isUtf8` of `node:buffer`, or a loop for short ones. */
export const { isValidUTF8 }: { isValidUTF8(bytes: Uint8Array): boolean } =
  require("./lib/validation.js");

interface FrameOptions {
  fin: boolean;
  opcode: number;
  mask: boolean;
  readOnly: boolean;
  rsv1: boolean;
}

/** Encodes a frame: one buffer with header and payload, or two. */
export const frame: (data: Uint8Array, options: FrameOptions) => Uint8Array[] =
  (Sender as unknown as { frame: typeof frame }).frame;

interface ReceiverLike {
  on(event: "message", listener: (data: Buffer) => void): void;
  write(bytes: Uint8Array): void;
}

/** Its parser of frames. */
export function makeReceiver(): ReceiverLike {
  const make = Receiver as unknown as new (options: unknown) => ReceiverLike;
  return new make({ isServer: true });
}
