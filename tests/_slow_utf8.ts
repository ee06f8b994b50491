/** UTF-8 once more, as the grammar of RFC 3629 §4 has it. */

// One character for each byte
const UTF8_OCTETS = new RegExp(
  `^(?:${
    [
      "[\\x00-\\x7f]", // UTF8-1
      "[\\xc2-\\xdf][\\x80-\\xbf]", // UTF8-2
      "\\xe0[\\xa0-\\xbf][\\x80-\\xbf]", // UTF8-3
      "[\\xe1-\\xec][\\x80-\\xbf]{2}",
      "\\xed[\\x80-\\x9f][\\x80-\\xbf]",
      "[\\xee-\\xef][\\x80-\\xbf]{2}",
      "\\xf0[\\x90-\\xbf][\\x80-\\xbf]{2}", // UTF8-4
      "[\\xf1-\\xf3][\\x80-\\xbf]{3}",
      "\\xf4[\\x80-\\x8f][\\x80-\\xbf]{2}",
    ].join("|")
  })*$`,
);

// Any character that is begun can be ended with one of these.
const ENDINGS = ["", "\x80", "\x90", "\xa0"].flatMap((second) => [
  second,
  `${second}\x80`,
  `${second}\x80\x80`,
]);

function octets(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

export function isUtf8Slowly(bytes: Uint8Array): boolean {
  return UTF8_OCTETS.test(octets(bytes));
}

/** Whether some text begins with the bytes. */
export function beginsUtf8Slowly(bytes: Uint8Array): boolean {
  const begun = octets(bytes);
  return ENDINGS.some((ending) => UTF8_OCTETS.test(begun + ending));
}
