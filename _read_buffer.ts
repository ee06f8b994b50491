/**
 * The memory that a connection reads into. Messages are views on it, so what
 * has been read is not written over; small when little arrives, so that an idle
 * connection costs little.
 *
 * @module
 */

const SMALLEST = 1024;
const LARGEST = 256 * 1024;
const STEP = 4;

// After so many reads that use little of the buffer, the next one is smaller.
const QUIET_READS = 4;

/** Where the next bytes are read to. */
export class ReadBuffer {
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  // Up to #kept the buffer is in somebody's hands, up to #used it is filled.
  #kept = 0;
  #used = 0;
  #size = SMALLEST;
  #quiet = 0;
  #isLent = false;

  /** Room for the next read. */
  room(): Uint8Array<ArrayBuffer> {
    const buffer = this.#buffer;
    // Half a buffer is room enough; a fresh one costs about as much as a read.
    if (
      buffer === undefined || buffer.length > this.#size ||
      buffer.length - this.#used < this.#size >> 1
    ) {
      this.#used = this.#kept = 0;
      return this.#buffer = new Uint8Array(this.#size);
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
    if (end === buffer.length) {
      // There is more where this came from.
      this.#size = Math.min(this.#size * STEP, LARGEST);
      this.#quiet = 0;
    } else if (length < this.#size >> 3 && this.#size > SMALLEST) {
      if (++this.#quiet >= QUIET_READS) {
        this.#size = Math.max(this.#size / STEP, SMALLEST);
        this.#quiet = 0;
      }
    } else {
      this.#quiet = 0;
    }
    this.#used = end;
    return bytes;
  }

  /**
   * Says that a view on what was last read is in somebody's hands; without it,
   * the same room is used again.
   */
  lend(data: Uint8Array<ArrayBuffer>): void {
    if (data.buffer === this.#buffer?.buffer) this.#isLent = true;
  }

  /** Says that all that was read has been looked at, and delivered. */
  reuse(): void {
    if (this.#isLent) this.#kept = this.#used;
    else this.#used = this.#kept;
    this.#isLent = false;
  }
}
