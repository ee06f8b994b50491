/** Heads parsed in the obvious way: RFC 9112's grammar as regular expressions. */

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const FIELDS = `((?:${TOKEN}:[\\t\\x20-\\x7e\\x80-\\xff]*\\r\\n)*)\\r\\n`;
const REQUEST = new RegExp(
  `^(?:\\r\\n)?(${TOKEN}) ([!"$-~]+) HTTP/(1\\.\\d)\\r\\n${FIELDS}`,
);
const RESPONSE = new RegExp(
  `^HTTP/(1\\.\\d) ([1-9]\\d\\d)(?: ([\\t\\x20-\\x7e\\x80-\\xff]*))?\\r\\n${FIELDS}`,
);

export type Field = [name: string, value: string];

export function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function fromLatin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

function fields(lines: string): Field[] {
  return lines.split("\r\n").slice(0, -1).map((line) => {
    const [name = "", ...rest] = line.split(":");
    return [name, rest.join(":").replace(/^[\t ]+|[\t ]+$/g, "")];
  });
}

export function parseRequestSlowly(bytes: Uint8Array) {
  const match = REQUEST.exec(fromLatin1(bytes));
  if (match === null) return undefined;
  const [head, method, target, version, lines = ""] = match;
  return {
    method,
    target,
    version,
    fields: fields(lines),
    byteLength: head.length,
  };
}

export function parseResponseSlowly(bytes: Uint8Array) {
  const match = RESPONSE.exec(fromLatin1(bytes));
  if (match === null) return undefined;
  const [head, version, status, statusText = "", lines = ""] = match;
  return {
    version,
    status: Number(status),
    statusText,
    fields: fields(lines),
    byteLength: head.length,
  };
}
