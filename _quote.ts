/**
 * The value in brackets, fit for a message: printable ASCII, escapes for the
 * rest, and no longer than a line, since it may be the peer's.
 */
export function quote(value: string): string {
  const text = value.length > 64 ? value.slice(0, 64) : value;
  const escaped = text.replace(/[^\x20-\x7e]/g, (character) => {
    const hex = character.charCodeAt(0).toString(16);
    return hex.length > 2
      ? `\\u${hex.padStart(4, "0")}`
      : `\\x${hex.padStart(2, "0")}`;
  });
  return `[${escaped}${text === value ? "" : "..."}]`;
}
