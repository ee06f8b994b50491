/**
 * With `deno run --v8-flags=--expose-gc --preload`: on SIGUSR2, says what the
 * program's heap holds that is still in use.
 */
const { gc } = globalThis as unknown as { gc(): void };
Deno.addSignalListener("SIGUSR2", () => {
  gc();
  console.log(`heap ${Deno.memoryUsage().heapUsed}`);
});
