/** The scenarios for servers and clients. */

import type { Pattern } from "./_load.ts";

/** A pattern with a name. */
export type EchoScenario = Pattern & { readonly title: string };

/** A length in bytes, such as 64 KiB. */
export function formatSize(size: number): string {
  if (size >= 2 ** 20) return `${size / 2 ** 20} MiB`;
  return size >= 1024 ? `${size / 1024} KiB` : `${size} B`;
}

/** Names a pattern. */
export function echoScenario(
  name: string,
  connections: number,
  content: Pattern["content"],
  size: number,
  depth: number,
): EchoScenario {
  const length = formatSize(size);
  const title =
    `${name}: ${connections} connections, ${length} ${content}, ${depth} at a time`;
  return { title, connections, content, size, depth };
}

/** From small to large. */
export const SCENARIOS = {
  S1: echoScenario("small", 32, "text", 16, 1),
  S2: echoScenario("pipelined", 32, "binary", 64, 32),
  S3: echoScenario("medium", 16, "text", 1024, 8),
  S4: echoScenario("large", 4, "binary", 65_536, 4),
  S5: echoScenario("huge", 2, "binary", 2 ** 20, 2),
  S6: echoScenario("wide text", 4, "wide", 65_536, 4),
} as const satisfies Record<string, EchoScenario>;
