/**
 * A program that hands TCP connections on to a Unix socket, and says at which
 * port: `deno task test` cannot allow Unix sockets of any path.
 */
const [path = ""] = Deno.args;
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(listener.addr.port);
for await (const conn of listener) handOn(conn);

async function handOn(conn: Deno.Conn): Promise<void> {
  try {
    const unix = await Deno.connect({ transport: "unix", path });
    await Promise.all([
      conn.readable.pipeTo(unix.writable),
      unix.readable.pipeTo(conn.writable),
    ]);
  } catch {
    // One of the two has gone, or nobody listens.
    try {
      conn.close();
    } catch {
      // It is closed.
    }
  }
}
