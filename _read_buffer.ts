/**
 * The memory that a connection reads into. Messages are views on it, so what
 * has been read is not written over; small when little arrives, so that an idle
 * connection costs little.
 *
 * @module
 */

// What a read is expected to bring, in bytes; it grows as soon as a read brings
// as much as there was room for. A buffer holds several reads, and an idle
// connection two of the smallest.
const SMALLEST_READ = 128;
const LARGEST_READ = 64 * 1024;
const GROWTH = 8;
const READS_PER_BUFFER = 8;
const LARGEST_BUFFER = 256 * 1024;

// After so many reads that bring much less than expected, less is expected.
const QUIET_READS = 8;

/** Where the next bytes are read to. */
export class ReadBuffer {
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  // Up to #kept the buffer is in somebody's hands, up to #used it is filled.
  #kept = 0;
  #used = 0;
  #expected = SMALLEST_READ;
  #quiet = 0;
  #isLent = false;

  /** Room for the next read. */
  room(): Uint8Array<ArrayBuffer> {
    const buffer = this.#buffer;
    const expected = this.#expected;
    const isSmall = expected === SMALLEST_READ;
    if (
      buffer === undefined || buffer.length - this.#used < expected ||
      isSmall && buffer.length > SMALLEST_READ * 2
    ) {
      this.#used = this.#kept = 0;
      const size = isSmall ? SMALLEST_READ * 2 : expected * READS_PER_BUFFER;
      return this.#buffer = new Uint8Array(Math.min(size, LARGEST_BUFFER));
    }
    return this.#used === 0 ? buffer : buffer.subarray(this.#used);
  }

  /**
   * Takes what has been read off the room.
   *
   * @param length How many bytes there are at the beginning of the room.
   */
  filled(length: number): Uint8Array<ArrayBuffer> {
    const buffer = this.#buffer!;
    const end = this.#used + length;
    const bytes = buffer.subarray(this.#used, end);
    if (end === buffer.length || length > this.#expected) {
      this.#expected = Math.min(this.#expected * GROWTH, LARGEST_READ);
      this.#quiet = 0;
    } else if (length >= this.#expected / (GROWTH * 2)) {
      this.#quiet = 0;
    } else if (++this.#quiet >= QUIET_READS) {
      this.#expected = Math.max(this.#expected / GROWTH, SMALLEST_READ);
      this.#quiet = 0;
    }
    this.#used = end;
    return bytes;
  }

  /** Says that a view on what was last read is in somebody's hands. */
  lend(): void {
    this.#isLent = true;
  }

  /**
   * Says that all that was read has been looked at and delivered: unless some of
   * it is lent, the same room is used again.
   */
  reuse(): void {
    if (this.#isLent) this.#kept = this.#used;
    else this.#used = this.#kept;
    this.#isLent = false;
  }
}
