/**
 * What is left out is as it should be.
 *
 * @throws {RangeError} If the value is less, or no number.
 */
export function assertAtLeast(
  name: string,
  value: number | undefined,
  least: number,
): void {
  if (value === undefined || value >= least) return;
  throw new RangeError(`${name} must be ${least} or more (${value})`);
}
