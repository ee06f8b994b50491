/**
 * With `deno run --v8-flags=--expose-gc --preload`: on SIGUSR2, gives back what the
 * program no longer uses, and says what of its heap is in use.
 */
interface HowToCollect {
  type: "major";
  execution: "sync";
  /** The latter as if there were no memory left, which also gives back pages. */
  flavor: "regular" | "last-resort";
}

const { gc } = globalThis as unknown as { gc(how: HowToCollect): void };
Deno.addSignalListener("SIGUSR2", () => {
  gc({ type: "major", execution: "sync", flavor: "last-resort" });
  console.log(`heap ${Deno.memoryUsage().heapUsed}`);
});
