/**
 * The value in brackets, for an error message. It may be the peer's: all but
 * printable ASCII is escaped, and it is cut after 64 characters.
 */
export function quote(value: string): string {
  const text = value.length > 64 ? value.slice(0, 64) : value;
  const escaped = text.replace(/[^\x20-\x7e]/g, escape);
  return `[${escaped}${text === value ? "" : "..."}]`;
}

/**
 * The text in its own script, for an error message: control and format
 * characters are escaped, which could end the line or change the direction of
 * the text.
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
