/**
 * The tests that need nothing but JavaScript, by module, for runtimes other than
 * Deno: `runtimes_test.ts` bundles this file and runs it in each.
 */
import { type Report, runTests } from "./_deno_shim.ts";
import { loadUtf8Simd } from "../_utf8_simd.ts";

const SUITES: Record<string, (() => Promise<unknown>)[]> = {
  frame: [() => import("./frame_test.ts")],
  handshake: [() => import("./handshake_test.ts")],
  utf8: [
    () => import("./utf8_test.ts"),
    // Not where WebAssembly may not be compiled, as in workers.
    async () => loadUtf8Simd() && await import("./utf8_simd_test.ts"),
  ],
  protocol: [
    () => import("./protocol_test.ts"),
    () => import("./protocol_chunks_test.ts"),
    () => import("./protocol_closing_test.ts"),
    () => import("./protocol_extension_test.ts"),
    () => import("./protocol_fragmentation_test.ts"),
    () => import("./protocol_limits_test.ts"),
    () => import("./protocol_property_test.ts"),
    () => import("./protocol_sending_test.ts"),
    () => import("./protocol_utf8_test.ts"),
  ],
  deflate: [
    () => import("./deflate_test.ts"),
    () => import("./deflate_negotiation_test.ts"),
  ],
  connection: [
    () => import("./connection_closing_test.ts"),
    () => import("./connection_opening_test.ts"),
    () => import("./connection_receiving_test.ts"),
    () => import("./connection_rejections_test.ts"),
    () => import("./connection_sending_test.ts"),
    () => import("./connection_streams_test.ts"),
    () => import("./connection_timeouts_test.ts"),
    () => import("./output_test.ts"),
  ],
  hub: [() => import("./hub_test.ts")],
};

/** The modules that have tests here. */
export const MODULES: readonly string[] = Object.keys(SUITES);

/** Runs the tests of a module. */
export async function runSuite(module: string): Promise<Report> {
  for (const load of SUITES[module] ?? []) await load();
  return await runTests();
}
