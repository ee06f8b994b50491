/**
 * Inflating once more, written down from RFC 1951 with strings of bits: slow,
 * and plain enough to be believed.
 */

/** Why data cannot be inflated. */
export class Malformed extends Error {}

/**
 * What a message inflates to, its tail added again as in RFC 7692 §7.2.2.
 *
 * @param history What earlier messages came to, as far as it may be referred
 * to.
 * @throws {Malformed} If it is malformed, or not complete.
 */
export function inflateSlowly(
  payload: Uint8Array,
  history: Uint8Array = new Uint8Array(0),
): Uint8Array<ArrayBuffer> {
  const data = [...payload, 0x00, 0x00, 0xff, 0xff];
  const out = [...history];
  let at = 0; // in bits
  const take = (count: number): number => {
    let value = 0;
    for (let i = 0; i < count; i++, at++) {
      const byte = data[at >> 3];
      if (byte === undefined) throw new Malformed("it ends within a block");
      value |= (byte >> (at & 7) & 1) << i;
    }
    return value;
  };
  const toByte = () => at = (at + 7) & ~7;
  const decodeSymbol = (codes: Map<string, number>): number => {
    let code = "";
    while (code.length < 15) {
      code += take(1);
      const symbol = codes.get(code);
      if (symbol !== undefined) return symbol;
    }
    throw new Malformed("no such code");
  };

  // A message that ends with a last block, or is empty, needs no tail.
  while (at !== payload.length * 8 && at !== data.length * 8) {
    let isLast = false;
    while (!isLast && at < data.length * 8) {
      isLast = take(1) === 1;
      const type = take(2);
      if (type === 3) throw new Malformed("no such type of block");
      if (type === 0) {
        toByte();
        const length = take(16);
        if ((length ^ 0xffff) !== take(16)) throw new Malformed("length");
        for (let i = 0; i < length; i++) out.push(take(8));
        continue;
      }
      const [literals, distances] = type === 1
        ? [FIXED_LITERALS, FIXED_DISTANCES]
        : readCodes(take, decodeSymbol);
      for (;;) {
        const symbol = decodeSymbol(literals);
        if (symbol < 256) out.push(symbol);
        else if (symbol === 256) break;
        else {
          const length = withExtraBits(LENGTHS, symbol - 257, take);
          const distance = withExtraBits(
            DISTANCES,
            decodeSymbol(distances),
            take,
          );
          if (distance > out.length) throw new Malformed("too far back");
          for (let i = 0; i < length; i++) out.push(out.at(-distance)!);
        }
      }
    }
    if (isLast) toByte();
  }
  return Uint8Array.from(out.slice(history.length));
}

// RFC 1951 §3.2.5
const LENGTHS = table(29, 4, 3);
LENGTHS[28] = [258, 0];
const DISTANCES = table(30, 2, 1);

/** A row for each symbol: the first value, and how many bits are added. */
function table(rows: number, rowsOfOne: number, first: number) {
  const result: [number, number][] = [];
  let value = first;
  for (let i = 0; i < rows; i++) {
    const extra = i < rowsOfOne * 2 ? 0 : Math.floor(i / rowsOfOne) - 1;
    result.push([value, extra]);
    value += 1 << extra;
  }
  return result;
}

function withExtraBits(
  rows: [number, number][],
  symbol: number,
  take: (count: number) => number,
): number {
  const row = rows[symbol];
  if (row === undefined) throw new Malformed("no such symbol");
  return row[0] + take(row[1]);
}

// RFC 1951 §3.2.6
const FIXED_LITERALS = assign([
  ...Array(144).fill(8),
  ...Array(112).fill(9),
  ...Array(24).fill(7),
  ...Array(8).fill(8),
]);
const FIXED_DISTANCES = assign(Array(32).fill(5));

/** The codes for the lengths of each symbol's (RFC 1951 §3.2.2). */
function assign(lengths: number[]): Map<string, number> {
  const codes = new Map<string, number>();
  let code = 0;
  for (let length = 1; length <= 15; length++) {
    lengths.forEach((of, symbol) => {
      if (of !== length) return;
      codes.set(code.toString(2).padStart(length, "0"), symbol);
      code++;
    });
    if (code > 1 << length) throw new Malformed("too many codes");
    code <<= 1;
  }
  return codes;
}

/** How much of what could be coded has a code, 1 being all of it. */
function used(lengths: number[]): number {
  return lengths.reduce((sum, of) => sum + (of === 0 ? 0 : 2 ** -of), 0);
}

const ORDER = [
  16,
  17,
  18,
  0,
  8,
  7,
  9,
  6,
  10,
  5,
  11,
  4,
  12,
  3,
  13,
  2,
  14,
  1,
  15,
];

// RFC 1951 §3.2.7, with zlib's judgement of what is not complete: a single code
// of one bit is let through, and no code at all for distances.
function readCodes(
  take: (count: number) => number,
  decodeSymbol: (codes: Map<string, number>) => number,
): [Map<string, number>, Map<string, number>] {
  const literalCount = take(5) + 257;
  const distanceCount = take(5) + 1;
  const codeCount = take(4) + 4;
  if (literalCount > 286 || distanceCount > 30) throw new Malformed("count");
  const ofCodes: number[] = Array(19).fill(0);
  for (let i = 0; i < codeCount; i++) ofCodes[ORDER[i]!] = take(3);
  if (used(ofCodes) !== 1) throw new Malformed("code lengths");
  const codes = assign(ofCodes);
  const lengths: number[] = [];
  while (lengths.length < literalCount + distanceCount) {
    const symbol = decodeSymbol(codes);
    if (symbol < 16) {
      lengths.push(symbol);
      continue;
    }
    if (symbol === 16 && lengths.length === 0) throw new Malformed("repeat");
    const value = symbol === 16 ? lengths.at(-1)! : 0;
    const count = symbol === 16
      ? 3 + take(2)
      : symbol === 17
      ? 3 + take(3)
      : 11 + take(7);
    for (let i = 0; i < count; i++) lengths.push(value);
  }
  if (lengths.length > literalCount + distanceCount) {
    throw new Malformed("repeat");
  }
  const literals = lengths.slice(0, literalCount);
  const distances = lengths.slice(literalCount);
  if (literals[256] === 0) throw new Malformed("no end of block");
  for (const part of [literals, distances]) {
    const share = used(part);
    const isLone = Math.max(...part) <= 1 && share <= 0.5;
    if (share > 1 || (share < 1 && !isLone)) throw new Malformed("codes");
  }
  return [assign(literals), assign(distances)];
}
