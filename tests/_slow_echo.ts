/** An echo that thinks for a while, and ends with SIGTERM as the guide says. */
import { serve } from "../mod.ts";

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const server = serve(listener, {
  onConnection: (ws) =>
    ws.forEach(async (message) => {
      console.log(`took ${message}`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await ws.send(message);
    }),
});

Deno.addSignalListener("SIGTERM", async () => {
  await server.shutdown();
  Deno.exit();
});
console.log(`Listening on ws://127.0.0.1:${listener.addr.port}/`);
