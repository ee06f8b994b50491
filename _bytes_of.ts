/**
 * Bytes in any of the forms that web APIs give and take them in.
 *
 * @module
 */

/**
 * The bytes of a buffer, or of a view on one, where they are. Those of a view of
 * larger elements are in the order in which they lie in memory.
 *
 * @param data The argument of a program.
 * @param what Its name in the error, such as "A message".
 * @param others Other types that are accepted, such as "a string, ".
 * @throws {TypeError} If it has no bytes.
 */
export function bytesOf(data: unknown, what: string, others = ""): Uint8Array {
  if (data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  throw new TypeError(
    `${what} is ${others}an ArrayBuffer or a view on one (${kindOf(data)})`,
  );
}

/** The type of a value in a word, for an error: "number", "null", "Blob". */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  return Object.prototype.toString.call(value).slice(8, -1);
}
