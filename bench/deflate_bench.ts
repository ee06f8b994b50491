import { deflateRawSync } from "node:zlib";
import { PerMessageDeflate } from "ws";
import { permessageDeflate } from "../deflate.ts";
import type { NegotiatedExtension } from "../extension.ts";
import { makeMessage } from "./_messages.ts";
import { formatSize } from "./_scenarios.ts";

function makeOurs(): NegotiatedExtension {
  return permessageDeflate().accept([["client_max_window_bits", undefined]])!;
}

interface Compressor {
  accept(offers: object[]): void;
  compress(
    data: Uint8Array,
    fin: boolean,
    done: (error: Error | null, data: Uint8Array) => void,
  ): void;
}

/** The compressor of ws works in a thread, and calls back. */
function makeTheirs(): Compressor {
  const make = PerMessageDeflate as unknown as new (
    options: { isServer: boolean },
  ) => Compressor;
  const compressor = new make({ isServer: true });
  compressor.accept([{}]);
  return compressor;
}

for (const size of [400, 4096, 65_536]) {
  // More than any window holds.
  const messages = Array.from(
    { length: Math.ceil(2 ** 18 / size) },
    (_, i) => makeMessage("json", size, i + 1),
  );
  let turn = 0;
  const next = (): Uint8Array => messages[turn++ % messages.length]!;
  const group = `compress ${formatSize(size)} of JSON`;

  const ours = makeOurs();
  Deno.bench(`ours, ${group}`, { group, baseline: true }, () => {
    ours.encode(next(), true, true);
  });

  const theirs = makeTheirs();
  Deno.bench(`ws, ${group}`, { group }, async () => {
    await new Promise((resolve) => theirs.compress(next(), true, resolve));
  });

  Deno.bench(`deflateRawSync, no context, ${group}`, { group }, () => {
    deflateRawSync(next());
  });

  const compressed = makeOurs().encode(messages[0]!, true, true)!;
  const inflating = `decompress ${formatSize(size)} of JSON`;
  const receiver = makeOurs();
  Deno.bench(`ours, ${inflating}`, { group: inflating }, () => {
    receiver.decode(compressed, true, () => {});
  });
}
