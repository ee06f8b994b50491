/**
 * What `deno task coverage` has `deno test` preload: V8 counts what is run, which
 * makes some tests take minutes that run nothing which others do not.
 */

// A tenth of the runs of each property (_property.ts).
Object.assign(globalThis, { testEffort: 0.1 });

const SLOW = [
  /^round trips of .* \(pako\)$/,
  /^a bomb of 1 GB takes/,
  /^5,000 connections/,
  /^heads that trickle in byte by byte/,
  / is seen where windows meet, and at the end$/,
  /^characters across the border of two windows/,
  /^TCP: 256 MiB/,
];

const { test } = Deno;

function briefly(...definition: [unknown, ...unknown[]]): void {
  const [first] = definition;
  const name = typeof first === "string"
    ? first
    : (first as { name: string }).name;
  if (SLOW.some((pattern) => pattern.test(name))) return;
  (test as (...definition: unknown[]) => void)(...definition);
}

Object.assign(Deno, { test: Object.assign(briefly, test) });
