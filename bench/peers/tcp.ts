/** An echo without WebSocket: the cost of any server on `Deno.listen`. */

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(`Listening on tcp://127.0.0.1:${listener.addr.port}/`);

async function echo(conn: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    conn.setNoDelay(true);
    for (let length; (length = await conn.read(buffer)) !== null;) {
      let rest = buffer.subarray(0, length);
      while (rest.length > 0) rest = rest.subarray(await conn.write(rest));
    }
  } catch {
    // cut off by the load
  }
  conn.close();
}

for await (const conn of listener) echo(conn);
