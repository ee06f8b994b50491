/** Extensions whose output is easy to predict. */
import { CloseCode, ProtocolError } from "../frame.ts";
import { RSV1, RSV2 } from "../frame.ts";
import type { NegotiatedExtension } from "../extension.ts";

function base(name: string, reservedBits: number) {
  return { name, parameters: [], reservedBits };
}

export function flip(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(data, (byte) => byte ^ 0x55);
}

/** Claims RSV2; every byte is XORed with 0x55. */
export function flipping(
  options: Partial<NegotiatedExtension> = {},
): NegotiatedExtension {
  return {
    ...base("x-flip", RSV2),
    wants: () => true,
    encode: (data) => flip(data),
    decode: (data, _, output) => output(flip(data)),
    ...options,
  };
}

/**
 * Claims RSV1; on the wire, each pair of a number and a byte is that many of
 * the byte. They come out in pieces of at most `pieceLength`.
 */
export function repeating(pieceLength: number): NegotiatedExtension {
  let pending: number | undefined;
  return {
    ...base("x-repeat", RSV1),
    wants: () => true,
    encode: (data) => Uint8Array.from([...data].flatMap((byte) => [1, byte])),
    decode(data, fin, output) {
      for (const byte of data) {
        if (pending === undefined) {
          pending = byte;
          continue;
        }
        for (let left = pending; left > 0; left -= pieceLength) {
          output(new Uint8Array(Math.min(left, pieceLength)).fill(byte));
        }
        pending = undefined;
      }
      if (fin && pending !== undefined) {
        throw new ProtocolError(`A byte is missing after (${pending})`, {
          closeCode: CloseCode.InvalidFramePayloadData,
          kind: "extension",
        });
      }
    },
  };
}
