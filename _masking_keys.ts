/**
 * Masking keys for a client's frames.
 *
 * @module
 */

// RFC 6455 §5.3: a key must not be predictable from earlier ones, so that no
// page can choose the bytes on the wire (§10.3). One call for 1,024 keys costs
// about as much as one for a single key.
const POOL_SIZE = 1024;

let pool: Uint32Array<ArrayBuffer> | undefined;
let next = POOL_SIZE;

/**
 * A masking key from the platform's strong random source, never given out
 * twice (RFC 6455 §5.3). Nothing is drawn before the first call: some workers
 * forbid random numbers while modules load.
 */
export function nextMaskingKey(): number {
  pool ??= new Uint32Array(POOL_SIZE);
  if (next === POOL_SIZE) {
    crypto.getRandomValues(pool);
    next = 0;
  }
  const key = pool[next]!;
  // A key that has been used is not kept in memory, which might leak.
  pool[next++] = 0;
  return key;
}
