/**
 * What the stand-ins for `@std` (see `offline/`) import from Node, for browsers,
 * which have nothing like it. Where JSR is in reach nobody needs this.
 */

/** `isDeepStrictEqual` of `node:util`, for what tests compare. */
export function isDeepStrictEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Map || a instanceof Set) {
    return isDeepStrictEqual([...a], [...b as typeof a]);
  }
  if (a instanceof Error && a.message !== (b as Error).message) return false;
  if (a instanceof Date || a instanceof RegExp) return `${a}` === `${b}`;
  if (a instanceof ArrayBuffer) {
    return isDeepStrictEqual(
      new Uint8Array(a),
      new Uint8Array(b as ArrayBuffer),
    );
  }
  if (ArrayBuffer.isView(a)) {
    const [some, others] = [bytesOf(a), bytesOf(b as ArrayBufferView)];
    return some.length === others.length &&
      some.every((it, i) => it === others[i]);
  }
  // Objects of the platform do not show their content by their keys.
  const tag = Object.prototype.toString.call(a);
  if (!/^\[object (Object|Array|Error)\]$/.test(tag)) {
    throw new TypeError(`Cannot compare ${tag}`);
  }
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) =>
      Object.hasOwn(b, key) &&
      isDeepStrictEqual(a[key as keyof typeof a], b[key as keyof typeof b])
    );
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** `inspect` of `node:util`, roughly. */
export function inspect(value: unknown): string {
  try {
    return JSON.stringify(
      value,
      (_, it) => ArrayBuffer.isView(it) ? `[${it}]` : it,
    ) ?? String(value);
  } catch {
    return String(value);
  }
}

/** `createHash` of `node:crypto`, of SHA-1 alone. */
export function createHash(): {
  update(data: Uint8Array): { digest(): Uint8Array };
} {
  return { update: (data) => ({ digest: () => sha1Slowly(data) }) };
}

/** SHA-1 as FIPS 180-4 §6.1 has it, word by word. */
function sha1Slowly(data: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil((data.length + 9) / 64) * 64);
  padded.set(data);
  padded[data.length] = 0x80;
  const words = new DataView(padded.buffer);
  words.setUint32(padded.length - 4, data.length * 8);
  const hash = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
  const rotate = (word: number, by: number): number =>
    word << by | word >>> 32 - by;
  for (let block = 0; block < padded.length; block += 64) {
    const w: number[] = [];
    let [a, b, c, d, e] = hash as [number, number, number, number, number];
    for (let t = 0; t < 80; t++) {
      w[t] = t < 16
        ? words.getUint32(block + t * 4)
        : rotate(w[t - 3]! ^ w[t - 8]! ^ w[t - 14]! ^ w[t - 16]!, 1);
      const [f, k] = t < 20
        ? [b & c | ~b & d, 0x5a827999]
        : t < 40
        ? [b ^ c ^ d, 0x6ed9eba1]
        : t < 60
        ? [b & c | b & d | c & d, 0x8f1bbcdc]
        : [b ^ c ^ d, 0xca62c1d6];
      const next = rotate(a, 5) + f + e + k + w[t]! | 0;
      [a, b, c, d, e] = [next, a, rotate(b, 30), c, d];
    }
    [a, b, c, d, e].forEach((word, i) => hash[i] = hash[i]! + word | 0);
  }
  const digest = new DataView(new ArrayBuffer(20));
  hash.forEach((word, i) => digest.setInt32(i * 4, word));
  return new Uint8Array(digest.buffer);
}
