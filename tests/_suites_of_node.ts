/**
 * The tests that need `ws` or modules of Node, as `_suites.ts` lists the
 * others.
 */
import type { Suite } from "./_suites.ts";

export const SUITES_OF_NODE: Record<string, Suite> = {
  "beside `ws`, `node:zlib`": {
    "deflate_interop_test.ts": () => import("./deflate_interop_test.ts"),
    "differential_test.ts": () => import("./differential_test.ts"),
  },
};
