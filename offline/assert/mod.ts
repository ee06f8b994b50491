/**
 * Stand-in for `@std/assert`: the assertions that this project's tests use,
 * with the signatures of the real ones.
 *
 * @module
 */
import { inspect, isDeepStrictEqual } from "node:util";

// deno-lint-ignore no-explicit-any
type Class<T> = abstract new (...args: any[]) => T;

export class AssertionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

function show(value: unknown): string {
  return inspect(value, { depth: 6, maxArrayLength: 64, maxStringLength: 999 });
}

function check(holds: boolean, what: string, msg?: string): void {
  if (!holds) throw new AssertionError(msg ? `${what}: ${msg}` : `${what}.`);
}

export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

export function assertFalse(expr: unknown, msg = ""): asserts expr is false {
  if (expr) throw new AssertionError(msg);
}

export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (isDeepStrictEqual(actual, expected)) return;
  const what = `Values are not equal\n\nactual: ${show(actual)}\n\nexpected: ${
    show(expected)
  }`;
  check(false, what, msg);
}

export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!isDeepStrictEqual(actual, expected)) return;
  check(false, `Expected ${show(actual)} to differ`, msg);
}

export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (Object.is(actual, expected)) return;
  check(false, `Expected ${show(actual)} to be ${show(expected)}`, msg);
}

export function assertNotStrictEquals<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (!Object.is(actual, expected)) return;
  check(false, `Expected anything but ${show(expected)}`, msg);
}

export function assertExists<T>(
  actual: T,
  msg?: string,
): asserts actual is NonNullable<T> {
  check(actual !== undefined && actual !== null, `Expected a value`, msg);
}

export function assertInstanceOf<T extends Class<unknown>>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  check(
    false,
    `Expected ${show(actual)} to be a "${expectedType.name}"`,
    msg,
  );
}

export function assertStringIncludes(
  actual: string,
  expected: string,
  msg?: string,
): void {
  if (actual.includes(expected)) return;
  check(false, `Expected ${show(actual)} to contain ${show(expected)}`, msg);
}

export function assertArrayIncludes<T>(
  actual: ArrayLike<T> & object,
  expected: ArrayLike<T> & object,
  msg?: string,
): void {
  const present = Array.from(actual);
  const missing = Array.from(expected).filter((item) =>
    !present.some((other) => isDeepStrictEqual(item, other))
  );
  if (missing.length === 0) return;
  check(false, `Expected ${show(actual)} to include ${show(missing)}`, msg);
}

function intersect(actual: unknown, expected: unknown): unknown {
  if (
    typeof actual !== "object" || actual === null ||
    typeof expected !== "object" || expected === null ||
    ArrayBuffer.isView(expected) || expected instanceof Date
  ) return actual;
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual)) return actual;
    return actual.map((item, i) => intersect(item, expected[i]));
  }
  const source = actual as Record<PropertyKey, unknown>;
  return Object.fromEntries(
    Object.entries(expected).filter(([key]) => key in source)
      .map(([key, value]) => [key, intersect(source[key], value)]),
  );
}

export function assertObjectMatch(
  // deno-lint-ignore no-explicit-any
  actual: Record<PropertyKey, any>,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
): void {
  assertEquals(intersect(actual, expected), intersect(expected, expected), msg);
}

export function assertMatch(
  actual: string,
  expected: RegExp,
  msg?: string,
): void {
  if (expected.test(actual)) return;
  check(false, `Expected ${show(actual)} to match ${expected}`, msg);
}

export function assertNotMatch(
  actual: string,
  expected: RegExp,
  msg?: string,
): void {
  if (!expected.test(actual)) return;
  check(false, `Expected ${show(actual)} not to match ${expected}`, msg);
}

export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance: number = Number.isFinite(expected)
    ? Math.abs(expected * 1e-7)
    : 1e-7,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  check(
    Math.abs(expected - actual) <= tolerance,
    `Expected ${actual} to be within ${tolerance} of ${expected}`,
    msg,
  );
}

export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (actual > expected) return;
  throw new AssertionError(msg ?? `Expect ${show(actual)} > ${show(expected)}`);
}

export function assertGreaterOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (actual >= expected) return;
  throw new AssertionError(
    msg ?? `Expect ${show(actual)} >= ${show(expected)}`,
  );
}

export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (actual < expected) return;
  throw new AssertionError(msg ?? `Expect ${show(actual)} < ${show(expected)}`);
}

export function assertLessOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (actual <= expected) return;
  throw new AssertionError(
    msg ?? `Expect ${show(actual)} <= ${show(expected)}`,
  );
}

export function assertIsError<E extends Error = Error>(
  error: unknown,
  ErrorClass?: Class<E>,
  msgMatches?: string | RegExp,
  msg?: string,
): asserts error is E {
  const expected = ErrorClass ?? Error;
  if (!(error instanceof expected)) {
    check(false, `Expected ${show(error)} to be a "${expected.name}"`, msg);
    return;
  }
  const matches = msgMatches instanceof RegExp
    ? msgMatches.test(error.message)
    : error.message.includes(msgMatches ?? "");
  if (matches) return;
  const message = JSON.stringify(error.message);
  check(false, `Expected message ${message} to include ${msgMatches}`, msg);
}

/**
 * Implements both overloads: behind the function stands a class or a message.
 */
function checkThrown(
  error: unknown,
  ErrorClass: Class<Error> | string | undefined,
  msgIncludes?: string,
  msg?: string,
): unknown {
  if (typeof ErrorClass === "function") {
    assertIsError(error, ErrorClass, msgIncludes, msg);
  }
  return error;
}

function failToThrow(
  what: string,
  ErrorClass: Class<Error> | string | undefined,
  msg?: string,
): never {
  const note = typeof ErrorClass === "string" ? ErrorClass : msg;
  fail(`Expected function to ${what}${note ? `: ${note}` : ""}`);
}

export function assertThrows(fn: () => unknown, msg?: string): unknown;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(
  fn: () => unknown,
  ErrorClass?: Class<Error> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  try {
    fn();
  } catch (error) {
    return checkThrown(error, ErrorClass, msgIncludes, msg);
  }
  failToThrow("throw", ErrorClass, msg);
}

export function assertRejects(
  fn: () => PromiseLike<unknown>,
  msg?: string,
): Promise<unknown>;
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  ErrorClass?: Class<Error> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch {
    fail("Function throws when expected to reject");
  }
  try {
    await promise;
  } catch (error) {
    return checkThrown(error, ErrorClass, msgIncludes, msg);
  }
  failToThrow("reject", ErrorClass, msg);
}

export function fail(msg?: string): never {
  throw new AssertionError(`Failed assertion${msg ? `: ${msg}` : "."}`);
}

export function unreachable(msg?: string): never {
  throw new AssertionError(`Unreachable${msg ? `: ${msg}` : "."}`);
}
