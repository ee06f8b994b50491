/**
 * What cases of the fuzzer are made of: repeatable chance, mutations of
 * bytes, and the corpus.
 */
import { concat } from "./_bytes.ts";
import { randomNumbers } from "./_protocol.ts";

/** Numbers and choices that follow from a case's number. */
export class Chance {
  readonly #random: () => number;

  constructor(number: number) {
    this.#random = randomNumbers(Math.imul(number, 0x9e3779b1) ^ number);
  }

  /** A whole number below the limit. */
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** `true` once in that many times, on average. */
  once(times: number): boolean {
    return this.#random() * times < 1;
  }

  pick<T>(of: readonly T[]): T {
    return of[this.below(of.length)]!;
  }

  many<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.#random() * 256;
    return bytes;
  }

  /** Any length, most often one at which the encoding changes. */
  length(most: number): number {
    const length = this.once(4)
      ? this.pick(LENGTHS) + this.below(3) - 1
      : this.below(this.pick([8, 40, 200]));
    return Math.max(0, Math.min(length, most));
  }
}

const LENGTHS = [125, 126, 1000, 1024, 4096, 65535];

// --- Mutation --------------------------------------------------------------

const ODD = [0, 1, 0x0a, 0x0d, 0x20, 0x2c, 0x3a, 0x3b, 0x3d, 0x22, 0x5c, 0x7e]
  .concat([0x7f, 0x80, 0x81, 0x88, 0x89, 0xc0, 0xc1, 0xed, 0xf4, 0xfe, 0xff]);

/** Changes, inserts, removes and repeats some bytes. */
export function mutate(
  chance: Chance,
  bytes: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  for (let left = 1 + chance.below(4); left > 0; left--) {
    const at = chance.below(bytes.length + 1);
    const length = chance.below(chance.pick([2, 4, 20]));
    const end = Math.min(at + length, bytes.length);
    switch (chance.below(5)) {
      case 0:
        if (at < bytes.length) bytes[at]! ^= 1 << chance.below(8);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = chance.pick(ODD);
        break;
      case 2:
        bytes = concat(bytes.subarray(0, at), bytes.subarray(end));
        break;
      case 3:
        bytes = concat(bytes.subarray(0, end), bytes.subarray(at));
        break;
      case 4:
        bytes = concat(
          bytes.subarray(0, at),
          Uint8Array.from({ length }, () => chance.pick(ODD)),
          bytes.subarray(at),
        );
        break;
    }
  }
  return bytes;
}

export function latin1(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The beginning of one and the end of another. */
function crossed(
  chance: Chance,
  a: Uint8Array,
  b: Uint8Array,
): Uint8Array<ArrayBuffer> {
  return concat(
    a.subarray(0, chance.below(a.length + 1)),
    b.subarray(chance.below(b.length + 1)),
  );
}

// --- Corpus ------------------------------------------------------------------

const UNESCAPED: Record<string, string> = { n: "\n", r: "\r", t: "\t" };

/** The lines of a file in corpus/, as bytes: text with escapes, or hex. */
function readCorpus(name: string): Uint8Array<ArrayBuffer>[] {
  const url = new URL(`corpus/${name}`, import.meta.url);
  return Deno.readTextFileSync(url).split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) =>
      name.endsWith(".hex")
        ? Uint8Array.fromHex(line.replaceAll(" ", ""))
        : latin1(
          line.replace(
            /\\(?:x([0-9a-f]{2})|(.))/g,
            (_, hex, character) =>
              hex === undefined
                ? UNESCAPED[character] ?? character
                : String.fromCharCode(parseInt(hex, 16)),
          ),
        )
    );
}

/** The corpus: what clients and servers send, and known attacks. */
export const CORPUS = {
  requests: readCorpus("requests.txt"),
  responses: readCorpus("responses.txt"),
  extensions: readCorpus("extensions.txt"),
  origins: readCorpus("origins.txt"),
  toServer: readCorpus("to_server.hex"),
  toClient: readCorpus("to_client.hex"),
};

/** A copy of an entry of the corpus, unchanged or mutated. */
export function fromCorpus(
  chance: Chance,
  entries: readonly Uint8Array<ArrayBuffer>[],
): Uint8Array<ArrayBuffer> {
  const entry = chance.pick(entries);
  if (chance.once(8)) return entry.slice();
  if (chance.once(4)) return crossed(chance, entry, chance.pick(entries));
  return mutate(chance, entry.slice());
}

export function fromLatin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
