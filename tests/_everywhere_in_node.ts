/**
 * `_everywhere.ts` with the tests that need Node's modules: for Node and Bun.
 */
import { runFrom } from "./_everywhere.ts";
import { SUITES } from "./_suites.ts";
import { SUITES_OF_NODE } from "./_suites_of_node.ts";

/** As {@linkcode runFrom}, of all suites. */
export function run(
  what: string,
  tell: (line: string) => void | Promise<void>,
): Promise<void> {
  return runFrom({ ...SUITES, ...SUITES_OF_NODE }, what, tell);
}
