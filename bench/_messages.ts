/** Messages to send: the same in every run. */

/** What a message is made of: ASCII, ASCII with Chinese, JSON, or any bytes. */
export type Content = "text" | "wide" | "json" | "binary";

/** Pseudo-random numbers from 0 to 2^32-1 (xorshift32), the same everywhere. */
export function randomNumbers(seed: number): () => number {
  let state = seed || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const LETTERS = "abcdefghijklmnopqrstuvwxyz ,.0123456789";
const WORDS = "red green blue small large cotton linen summer winter tea cup"
  .split(" ");

/** A message of that many bytes; JSON takes at least 22. */
export function makeMessage(
  content: Content,
  size: number,
  seed: number,
): Uint8Array<ArrayBuffer> {
  const random = randomNumbers(seed);
  if (content === "json") return encode(makeJson(size, random));
  if (content === "wide") return encode(makeWide(size, random));
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    bytes[i] = content === "binary"
      ? random()
      : LETTERS.charCodeAt(random() % LETTERS.length);
  }
  return bytes;
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** Runs of ASCII in turn with runs of Chinese characters of three bytes. */
function makeWide(size: number, random: () => number): string {
  let text = "";
  let left = size;
  while (left > 0) {
    const run = 1 + random() % 12;
    for (let i = 0; i < run && left > 0; i++, left--) {
      text += LETTERS[random() % LETTERS.length];
    }
    for (let i = 0; i < run && left >= 3; i++, left -= 3) {
      text += String.fromCharCode(0x4e00 + random() % 0x5000);
    }
  }
  return text;
}

/** Records, such as a shop answers, as JSON.stringify() writes them. */
function makeJson(size: number, random: () => number): string {
  const items: unknown[] = [];
  while (JSON.stringify({ items, note: "" }).length + 160 < size) {
    items.push({
      id: random(),
      name: `${pick(random)} ${pick(random)} ${pick(random)}`,
      price: random() % 10_000 / 100,
      tags: [pick(random), pick(random)],
      inStock: random() % 4 > 0,
      seen: `2025-${10 + random() % 3}-${10 + random() % 20}T12:00:00Z`,
    });
  }
  let note = "";
  const missing = size - JSON.stringify({ items, note }).length;
  while (note.length < missing) note += `${pick(random)} `;
  return JSON.stringify({ items, note: note.slice(0, Math.max(0, missing)) });
}

function pick(random: () => number): string {
  return WORDS[random() % WORDS.length]!;
}
