const HTAB = 0x09;
const SP = 0x20;
const HASH = 0x23;

/** RFC 9110 §5.6.2: tchar. */
export const TOKEN = 1;
/** RFC 9110 §5.5: HTAB, SP, VCHAR and obs-text, what a field value is of. */
export const TEXT = 2;
/** Visible ASCII without `#`: no form of a request target has a fragment. */
export const TARGET = 4;

/** Where a byte, or the code of an ISO-8859-1 character, may stand. */
export const CLASS: Uint8Array = new Uint8Array(256);
for (let code = 0; code < 256; code++) {
  let bits = 0;
  if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(code))) {
    bits |= TOKEN;
  }
  if (code === HTAB || (code >= SP && code !== 0x7f)) bits |= TEXT;
  if (code > SP && code < 0x7f && code !== HASH) bits |= TARGET;
  CLASS[code] = bits;
}

/** Whether the character code may stand in a token (RFC 9110 §5.6.2). */
export function isTokenCode(code: number): boolean {
  return ((CLASS[code] ?? 0) & TOKEN) !== 0;
}

/** Whether the text is a token (RFC 9110 §5.6.2). */
export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (!isTokenCode(text.charCodeAt(i))) return false;
  }
  return text.length > 0;
}

/** Whether the text may stand as a field value (RFC 9110 §5.5). */
export function isFieldValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (((CLASS[text.charCodeAt(i)] ?? 0) & TEXT) === 0) return false;
  }
  return true;
}

/** The slice without the optional whitespace around it (RFC 9110 §5.6.3). */
export function trimSlice(text: string, start: number, end: number): string {
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isSpace(code: number): boolean {
  return code === SP || code === HTAB;
}

/**
 * The elements of a comma-separated list of tokens. Empty elements are legal
 * and mean nothing (RFC 9110 §5.6.1.2).
 */
export function listElements(value: string): string[] {
  const elements: string[] = [];
  for (let start = 0; start <= value.length;) {
    let end = value.indexOf(",", start);
    if (end < 0) end = value.length;
    const element = trimSlice(value, start, end);
    if (element !== "") elements.push(element);
    start = end + 1;
  }
  return elements;
}
