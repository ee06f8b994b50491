/**
 * The value in brackets, fit for a message: printable ASCII, escapes for the
 * rest, and no longer than a line, since it may be the peer's.
 */
export function quote(value: string): string {
  const text = value.length > 64 ? value.slice(0, 64) : value;
  const escaped = text.replace(/[^\x20-\x7e]/g, escape);
  return `[${escaped}${text === value ? "" : "..."}]`;
}

/**
 * The text as people wrote it, but on one line, and in one direction: what ends
 * lines, rings bells or reorders what stands beside it is escaped.
 */
export function legible(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, escape);
}

function escape(characters: string): string {
  let escaped = "";
  for (let i = 0; i < characters.length; i++) {
    const hex = characters.charCodeAt(i).toString(16);
    escaped += hex.length > 2
      ? `\\u${hex.padStart(4, "0")}`
      : `\\x${hex.padStart(2, "0")}`;
  }
  return escaped;
}
