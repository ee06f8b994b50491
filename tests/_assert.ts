/** Assertions in the words of the protocol. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ProtocolError, type ProtocolErrorKind } from "../frame.ts";

/** What a {@linkcode ProtocolError} has to be like. */
export interface Fault {
  kind: ProtocolErrorKind;
  closeCode: number;
  /** A part of its message: the offending value. */
  naming: string;
}

/** Asserts that `act` throws the fault, and returns it. */
export function assertFault(
  act: () => unknown,
  { kind, closeCode, naming }: Fault,
): ProtocolError {
  const error = assertThrows(act, ProtocolError);
  assertEquals([error.kind, error.closeCode], [kind, closeCode], error.message);
  assertStringIncludes(error.message, naming);
  return error;
}

/** Asserts that `act` leaves `bytes`, and the memory around them, as they are. */
export function assertUntouched<T>(bytes: Uint8Array, act: () => T): T {
  const memory = new Uint8Array(bytes.buffer);
  const before = memory.slice();
  const result = act();
  assertEquals(memory, before, "bytes were changed");
  return result;
}
