/** `Deno.serve` and `Deno.upgradeWebSocket`. */

const [mode, port] = Deno.args;
const sockets = new Set<WebSocket>();

Deno.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  reusePort: true,
  onListen: ({ port }) => console.log(`Listening on ws://127.0.0.1:${port}/`),
}, (request) => {
  const { socket, response } = Deno.upgradeWebSocket(request);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => sockets.add(socket);
  socket.onclose = () => sockets.delete(socket);
  socket.onerror = () => {}; // cut off by the load
  socket.onmessage = mode === "broadcast"
    ? ({ data }) => {
      for (const other of sockets) other.send(data);
    }
    : mode === "json"
    ? ({ data }) => socket.send(JSON.stringify(JSON.parse(data)))
    : mode === "close"
    ? () => socket.close(1000)
    : ({ data }) => socket.send(data);
  return response;
});
