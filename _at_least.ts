/**
 * Checks an option that is a number, if it is given.
 *
 * @throws {RangeError} If it is less than `least`, or NaN.
 */
export function assertAtLeast(
  name: string,
  value: number | undefined,
  least: number,
): void {
  if (value === undefined || value >= least) return;
  throw new RangeError(`${name} must be ${least} or more (${value})`);
}
