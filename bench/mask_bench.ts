import { mask } from "../frame.ts";
import { formatSize } from "./_scenarios.ts";
import { unmask } from "./_ws.ts";

const key = Uint8Array.of(0x12, 0x34, 0x56, 0x78);

for (const size of [16, 64, 256, 1024, 4096, 65_536, 2 ** 20]) {
  const group = `mask ${formatSize(size)}`;
  const bytes = new Uint8Array(size);

  Deno.bench(`ours, ${group}`, { group, baseline: true }, () => {
    mask(bytes, 0x12345678);
  });

  Deno.bench(`ws, ${group}`, { group }, () => {
    unmask(bytes, key);
  });
}
