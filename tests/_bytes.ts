/** Bytes for tests: drawn as bits, written as hex digits, or made up. */

/**
 * Reads a drawing in the manner of RFC 6455 §5.2. Zeros and ones are bits,
 * highest first; spaces, `|`, `+` and `-` are lines of the drawing; a line with
 * anything else in it is a caption.
 */
export function bits(drawing: TemplateStringsArray): Uint8Array<ArrayBuffer> {
  const drawn = String.raw(drawing).split("\n")
    .filter((line) => /^[01 |+-]*$/.test(line))
    .join("").replace(/[^01]/g, "");
  return fromBits(drawn);
}

/** The bytes of a string of zeros and ones. */
export function fromBits(text: string): Uint8Array<ArrayBuffer> {
  if (text.length % 8 !== 0) {
    throw new RangeError(`Bits must fill whole bytes (${text.length} bits)`);
  }
  const octets = text.match(/.{8}/g) ?? [];
  return Uint8Array.from(octets, (octet) => parseInt(octet, 2));
}

/** The bytes as a string of zeros and ones. */
export function toBits(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(2).padStart(8, "0"))
    .join("");
}

/** Reads pairs of hex digits, spaces between them as one likes. */
export function hex(digits: TemplateStringsArray): Uint8Array<ArrayBuffer> {
  const text = String.raw(digits).replace(/\s/g, "");
  if (!/^([0-9a-f]{2})*$/i.test(text)) {
    throw new SyntaxError(`Bytes must be pairs of hex digits ("${text}")`);
  }
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

export function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  const whole = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Bytes of that length, in which a part that is shifted or repeated shows. */
export function pattern(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  // Array.from() would take 0.2 s for a MiB.
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + (i >> 8) * 7 + 5;
  return bytes;
}

/** The same bytes on memory that is shared, where there is any. */
export function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(
    typeof SharedArrayBuffer === "undefined"
      ? new ArrayBuffer(bytes.length)
      : new SharedArrayBuffer(bytes.length),
  );
  copy.set(bytes);
  return copy;
}

/**
 * The same bytes in each form that the platform has: a buffer of their own, and
 * views amid other bytes. Their number has to be one that elements of 8 bytes
 * divide.
 */
export function inEachForm(
  bytes: Uint8Array,
): [name: string, bytes: ArrayBuffer | ArrayBufferView][] {
  const { length } = bytes;
  // At offset 8, and at offset 3, where only views on single bytes may begin.
  const aligned = concat(pattern(8), bytes, pattern(8)).buffer;
  const odd = concat(pattern(3), bytes, pattern(3)).buffer;
  return [
    ["ArrayBuffer", bytes.slice().buffer],
    ["Uint8Array", new Uint8Array(odd, 3, length)],
    ["Int8Array", new Int8Array(odd, 3, length)],
    ["Uint8ClampedArray", new Uint8ClampedArray(odd, 3, length)],
    ["DataView", new DataView(odd, 3, length)],
    ["Int16Array", new Int16Array(aligned, 8, length / 2)],
    ["Uint16Array", new Uint16Array(aligned, 8, length / 2)],
    ["Uint32Array", new Uint32Array(aligned, 8, length / 4)],
    ["Float64Array", new Float64Array(aligned, 8, length / 8)],
    ["BigUint64Array", new BigUint64Array(aligned, 8, length / 8)],
    ["Uint8Array, shared", shared(bytes)],
    ["DataView, shared", new DataView(shared(bytes).buffer)],
  ];
}

/** Values that are neither text nor bytes, and what errors call them. */
export function noData(): [name: string, value: unknown][] {
  const values: [string, unknown][] = [
    ["number", 5],
    ["undefined", undefined],
    ["null", null],
    ["Object", {}],
    ["Array", [1, 2]],
    ["Blob", new Blob(["abc"])],
  ];
  // Only a view on memory that another thread may write to is taken.
  if (typeof SharedArrayBuffer !== "undefined") {
    values.push(["SharedArrayBuffer", new SharedArrayBuffer(8)]);
  }
  return values;
}
