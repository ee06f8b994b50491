/**
 * A server and a client of ours on a Unix socket, in a program of its own, since
 * `deno task test` cannot allow Unix sockets of any path. Says "good" at the end.
 */
import { accept } from "../accept.ts";
import { connect } from "../connect.ts";

const [path = ""] = Deno.args;
const listener = Deno.listen({ transport: "unix", path });
const serving = (async () => {
  const ws = await accept(await listener.accept());
  console.log(ws.remoteAddr?.transport);
  await ws.forEach((message) => ws.send(message));
})();
const ws = await connect("ws://localhost/", {
  dial: () => Deno.connect({ transport: "unix", path }),
});
for (const length of [0, 1, 126, 65536, 1_000_000]) {
  const data = new Uint8Array(length).fill(length);
  const [back] = await Promise.all([ws.receive(), ws.send(data)]);
  if (String(back) !== String(data)) throw new Error(`${length}`);
}
const { wasClean } = await ws.close();
await serving;
listener.close();
if (wasClean) console.log("good");
