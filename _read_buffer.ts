/**
 * The memory that a connection reads into. Messages are views on it, so it is
 * not overwritten while one may be in use. It is small while little arrives, so
 * that an idle connection costs little.
 *
 * @module
 */

// How much a read is expected to bring, in bytes. More is expected as soon as a
// read fills its room. A buffer holds several reads; that of an idle connection
// holds two of the smallest.
const SMALLEST_READ = 128;
const LARGEST_READ = 64 * 1024;
const GROWTH = 8;
const READS_PER_BUFFER = 8;
const LARGEST_BUFFER = 256 * 1024;

// After this many reads that bring much less than expected, less is expected.
const QUIET_READS = 8;

/** The buffer of one connection. */
export class ReadBuffer {
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  // Up to #kept the buffer may be in use by the program, up to #used it is
  // filled.
  #kept = 0;
  #used = 0;
  #expected = SMALLEST_READ;
  #quiet = 0;
  #isLent = false;

  /** The room for the next read. */
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
   * Returns what was read into the room.
   *
   * @param length How many bytes were read.
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

  /** Marks what was read last as in use by the program. */
  lend(): void {
    this.#isLent = true;
  }

  /**
   * Called when all that was read is parsed: the next read takes the same room
   * again, unless a message is a view on it.
   */
  reuse(): void {
    if (this.#isLent) this.#kept = this.#used;
    else this.#used = this.#kept;
    this.#isLent = false;
  }
}
