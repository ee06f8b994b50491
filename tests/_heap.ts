/** With `deno run --preload`: says each second what the program's heap holds. */
Deno.unrefTimer(setInterval(() => {
  console.log(`heap ${Deno.memoryUsage().heapUsed}`);
}, 1000));
