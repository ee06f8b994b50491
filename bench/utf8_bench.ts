import { decodeUtf8, isUtf8 } from "../_utf8.ts";
import { makeMessage } from "./_messages.ts";
import { formatSize } from "./_scenarios.ts";
import { isValidUTF8 } from "./_ws.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

for (const content of ["text", "wide"] as const) {
  for (const size of [16, 64, 1024, 65_536]) {
    const bytes = makeMessage(content, size, 1);
    const what = content === "text" ? "ASCII" : "Chinese and ASCII";
    const checking = `check ${formatSize(size)} of ${what}`;
    const decoding = `decode ${formatSize(size)} of ${what}`;

    Deno.bench(`ours, ${checking}`, { group: checking, baseline: true }, () => {
      isUtf8(bytes);
    });

    Deno.bench(`ws, ${checking}`, { group: checking }, () => {
      isValidUTF8(bytes);
    });

    Deno.bench(`ours, ${decoding}`, { group: decoding, baseline: true }, () => {
      decodeUtf8(bytes);
    });

    Deno.bench(`TextDecoder, ${decoding}`, { group: decoding }, () => {
      decoder.decode(bytes);
    });
  }
}
