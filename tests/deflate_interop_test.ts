/** permessage-deflate against npm `ws` and node:zlib; and its memory. */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import process from "node:process";
import { constants, deflateRawSync, inflateRawSync } from "node:zlib";
import { PerMessageDeflate } from "ws";
import {
  permessageDeflate,
  type PermessageDeflateOptions,
} from "../deflate.ts";
import { NodeDeflater } from "../_deflater.ts";
import type {
  Extension,
  ExtensionParameters,
  NegotiatedExtension,
} from "../extension.ts";
import { loadNodeZlib } from "../_platform.ts";
import { concat, hex } from "./_bytes.ts";
import { decodeAll, noise, PAYLOADS } from "./_deflate.ts";

/** The extension of `ws`, which its types do not have. */
interface OfWs {
  offer(): Record<string, number | true>;
  accept(configurations: Record<string, (string | true)[]>[]): Record<
    string,
    number | true
  >;
  compress(data: Uint8Array, fin: boolean, callback: Callback): void;
  decompress(data: Uint8Array, fin: boolean, callback: Callback): void;
  cleanup(): void;
}

type Callback = (error: Error | null, data: Uint8Array) => void;

function ofWs(isServer: boolean, options: object): OfWs {
  return new (PerMessageDeflate as unknown as {
    new (options: object): OfWs;
  })({ threshold: 0, isServer, ...options });
}

function toWs(
  parameters: ExtensionParameters,
): Record<string, (string | true)[]> {
  return Object.fromEntries(
    parameters.map(([name, value]) => [name, [value ?? true]]),
  );
}

function fromWs(
  parameters: Record<string, number | true>,
): ExtensionParameters {
  return Object.entries(parameters).map(([name, value]) => [
    name,
    value === true ? undefined : String(value),
  ]);
}

function transform(
  ws: OfWs,
  method: "compress" | "decompress",
  data: Uint8Array,
  fin = true,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    ws[method](Buffer.from(data), fin, (error, result) => {
      if (error) reject(error);
      else resolve(result);
    });
  });
}

/** Messages of all kinds, both ways, some in fragments. */
async function converse(ours: NegotiatedExtension, ws: OfWs): Promise<void> {
  for (const size of [1, 200, 3000, 20_000]) {
    for (const [kind, make] of Object.entries(PAYLOADS)) {
      if (kind.startsWith("repeated") && size < 20_000) continue;
      const data = make(size);
      const compressed = await transform(ws, "compress", data);
      assertEquals(decodeAll(ours, compressed), data, `from ws: ${kind}`);
      const middle = size >> 1;
      const parts = [data.subarray(0, middle), data.subarray(middle)];
      const first = await transform(ws, "compress", parts[0]!, false);
      const second = await transform(ws, "compress", parts[1]!);
      assertEquals(decodeAll(ours, first, second), data, `from ws: ${kind}`);

      const encoded = ours.encode(data, true, true);
      if (encoded !== undefined) {
        const received = await transform(ws, "decompress", encoded);
        assertEquals(new Uint8Array(received), data, `to ws: ${kind}`);
      }
      const fragments = [
        ours.encode(parts[0]!, false, false)!,
        ours.encode(parts[1]!, true, false)!,
      ];
      const received = [
        await transform(ws, "decompress", fragments[0]!, false),
        await transform(ws, "decompress", fragments[1]!, true),
      ];
      assertEquals(concat(...received), data, `to ws: ${kind}`);
    }
  }
}

const CHOICES: PermessageDeflateOptions[] = [
  {},
  { serverNoContextTakeover: true },
  { clientNoContextTakeover: true },
  { serverNoContextTakeover: true, clientNoContextTakeover: true },
  { serverMaxWindowBits: 10 },
  { clientMaxWindowBits: 11 },
  { serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
  {
    serverNoContextTakeover: true,
    clientNoContextTakeover: true,
    serverMaxWindowBits: 12,
    clientMaxWindowBits: 12,
  },
];

for (const ofClient of CHOICES) {
  const asked = JSON.stringify(ofClient);
  Deno.test(`our client offers ${asked}, whatever ws demands`, async () => {
    for (const ofServer of CHOICES) {
      const client = permessageDeflate(ofClient);
      const server = ofWs(true, ofServer);
      let response: ExtensionParameters;
      try {
        response = fromWs(server.accept(client.offers().map(toWs)));
      } catch {
        // It does not take a smaller window than it was told to use.
        const { serverMaxWindowBits: offered = 15 } = ofClient;
        const { serverMaxWindowBits: used = 15 } = ofServer;
        const { clientMaxWindowBits: hint = 15 } = ofClient;
        const { clientMaxWindowBits: demanded = 15 } = ofServer;
        assert(offered < used || hint < demanded, "ws declined the offer");
        continue;
      }
      await converse(client.confirm(response), server);
      server.cleanup();
    }
  });
}

for (const ofServer of CHOICES) {
  const demanded = JSON.stringify(ofServer);
  Deno.test(`our server demands ${demanded}, whatever ws offers`, async () => {
    for (const ofClient of CHOICES) {
      const client = ofWs(false, ofClient);
      const negotiated = permessageDeflate(ofServer)
        .accept(fromWs(client.offer()));
      assert(negotiated !== undefined, JSON.stringify(ofClient));
      client.accept([toWs(negotiated.parameters)]);
      await converse(negotiated, client);
      client.cleanup();
    }
  });
}

Deno.test("what node:zlib compresses is read, at every level and strategy", () => {
  const receiver = permessageDeflate().accept([])!;
  const data = PAYLOADS["JSON"]!(5000);
  for (let level = 0; level <= 9; level++) {
    for (
      const strategy of [
        constants.Z_DEFAULT_STRATEGY,
        constants.Z_FILTERED,
        constants.Z_HUFFMAN_ONLY,
        constants.Z_RLE,
        constants.Z_FIXED,
      ]
    ) {
      const options = { level, strategy, finishFlush: constants.Z_SYNC_FLUSH };
      const flushed = new Uint8Array(deflateRawSync(data, options));
      assertEquals(decodeAll(receiver, flushed.slice(0, -4)), data);
      const finished = new Uint8Array(
        deflateRawSync(data, { level, strategy }),
      );
      assertEquals(decodeAll(receiver, finished, hex`00`), data);
    }
  }
});

Deno.test("what is sent can be read by node:zlib", () => {
  for (const serverMaxWindowBits of [9, 12, 15]) {
    const sender = permessageDeflate({ serverMaxWindowBits }).accept([])!;
    const sent: Uint8Array[] = [];
    const compressed: Uint8Array[] = [];
    for (const make of Object.values(PAYLOADS)) {
      sent.push(make(1000));
      compressed.push(sender.encode(make(1000), true, true)!);
      compressed.push(hex`00 00 ff ff`);
    }
    const options = {
      windowBits: serverMaxWindowBits,
      finishFlush: constants.Z_SYNC_FLUSH,
    };
    const received = inflateRawSync(concat(...compressed), options);
    assertEquals(new Uint8Array(received), concat(...sent));
  }
});

Deno.test("node:zlib is used where it is known to work: Deno, Node", () => {
  const extension = permessageDeflate().accept([])!;
  const data = PAYLOADS["JSON"]!(5000);
  const encoded = extension.encode(data, true, true)!;
  const zlib = loadNodeZlib()!;
  const settings = { level: 6, memLevel: 8, windowBits: 15 };
  const native = new NodeDeflater(zlib, settings).deflate(data);
  assertEquals(concat(encoded, hex`00 00 ff ff`), native);
});

// --- Memory -------------------------------------------------------------------

/** How much more memory the process takes after `act`, in bytes. */
function growth(act: () => void): number {
  const before = process.memoryUsage().rss;
  act();
  return process.memoryUsage().rss - before;
}

Deno.test("a bomb of 1 GB takes no memory to speak of", () => {
  const mebibyte = new Uint8Array(
    deflateRawSync(new Uint8Array(1024 * 1024), {
      finishFlush: constants.Z_SYNC_FLUSH,
    }),
  );
  const bomb = concat(
    ...Array.from({ length: 1024 }, () => mebibyte),
    hex`00`,
  );
  let total = 0;
  const grown = growth(() => {
    const receiver = permessageDeflate().accept([])!;
    receiver.decode(bomb, true, (piece) => total += piece.length);
  });
  assertEquals(total, 2 ** 30);
  assert(grown < 100 * 2 ** 20, `${grown} bytes`);
});

Deno.test("5,000 connections that all have sent and received take little memory", () => {
  const data = PAYLOADS["JSON"]!(2000);
  const extension = permessageDeflate({ maxContexts: 64 });
  const connections: NegotiatedExtension[] = [];
  const compressed = deflateRawSync(data, {
    finishFlush: constants.Z_SYNC_FLUSH,
  });
  const message = new Uint8Array(compressed.subarray(0, -4));
  const grown = growth(() => {
    for (let i = 0; i < 5000; i++) {
      const negotiated = extension.accept([
        ["client_max_window_bits", undefined],
      ])!;
      assert(negotiated.encode(data, true, true) !== undefined);
      decodeAll(negotiated, message);
      connections.push(negotiated);
    }
  });
  // 64 compressors, 5,000 times 2,000 bytes, and a generous rest
  assert(grown < 100 * 2 ** 20, `${grown} bytes`);
  assertEquals(connections.length, 5000);
});

Deno.test("connections that come and go leave nothing behind", () => {
  const data = noise(2000);
  const shared = permessageDeflate();
  const visit = (extension: Extension) => {
    const negotiated = extension.accept([])!;
    negotiated.encode(data, true, true);
    return negotiated;
  };
  // One after the other; each with an extension of its own; in crowds.
  const visits = (count: number) => {
    for (let i = 0; i < count; i++) {
      visit(shared).dispose!();
      visit(permessageDeflate()).dispose!();
    }
    for (let i = 0; i < count; i += 50) {
      const crowd = Array.from({ length: 50 }, () => visit(shared));
      for (const negotiated of crowd) negotiated.dispose!();
    }
  };
  visits(100);
  const grown = growth(() => visits(3000));
  assert(grown < 64 * 2 ** 20, `${grown} bytes`);
});
