/**
 * An echo to be read: a loop, the handshake as functions, the protocol without
 * I/O. `serve()` adds limits on time and number, pages, and a better end.
 */
import * as http from "../handshake.ts";
import { WebSocketProtocol } from "../protocol.ts";

/** Serves all who connect, until the listener is closed. */
export async function serveLoop(listener: Deno.Listener): Promise<void> {
  for (;;) {
    try {
      talk(await listener.accept());
    } catch (error) {
      if (error instanceof Deno.errors.BadResource) return;
      await new Promise((goOn) => setTimeout(goOn, 10)); // a peer was gone
    }
  }
}

async function talk(conn: Deno.Conn): Promise<void> {
  using _ = conn;
  const write = async (bytes: Uint8Array) => {
    while (bytes.length > 0) bytes = bytes.subarray(await conn.write(bytes));
  };
  const buffer = new Uint8Array(16384); // a longer head is refused
  try {
    let head: http.RequestHead | undefined;
    let length: number | null = 0;
    while (!(head = http.parseRequestHead(buffer.subarray(0, length)))) {
      const got = await conn.read(buffer.subarray(length));
      if (got === null) return;
      length += got;
    }
    const request = http.readUpgrade(head);
    if (!http.isOriginAllowed(request.origin, [], request.host)) {
      throw new http.HandshakeError("Not for other pages", { status: 403 });
    }
    await write(http.acceptUpgrade(request));
    const protocol = new WebSocketProtocol({ role: "server" });
    let received = buffer.slice(head.byteLength, length); // behind the head
    for (;;) {
      for (const event of protocol.receive(received)) {
        if (event.type === "text") protocol.sendText(event.data);
        if (event.type === "binary") protocol.sendBinary(event.data);
      }
      for (let it; (it = protocol.takeOutput());) await write(it);
      if (protocol.transport === "close") return;
      if ((length = await conn.read(buffer)) === null) return;
      received = buffer.subarray(0, length);
    }
  } catch (error) {
    if (/Reset|Pipe/.test((error as Error).name)) return; // it is gone
    if (!(error instanceof http.HandshakeError)) console.error(error);
    else await write(http.rejectUpgrade(error)).catch(() => {});
  }
}

if (import.meta.main) {
  await serveLoop(Deno.listen({ hostname: "127.0.0.1", port: 8000 }));
}
