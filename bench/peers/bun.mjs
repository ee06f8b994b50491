/** Bun's own server. */
/* global Bun */

const mode = Bun.argv[2];
const isCompressing = mode === "compress";
const isLoaded = mode === "echo" || mode === "broadcast";

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    if (server.upgrade(request)) return undefined;
    return new Response("a WebSocket is wanted", { status: 426 });
  },
  websocket: {
    // A window for each connection, which is kept from message to message.
    perMessageDeflate: isCompressing &&
      { compress: "dedicated", decompress: "dedicated" },
    // Far above what the load has in flight, so that no limit applies.
    ...isLoaded && {
      backpressureLimit: 256 * 1024 * 1024,
      maxPayloadLength: 64 * 1024 * 1024,
    },
    open: (socket) => socket.subscribe("all"),
    message(socket, message) {
      if (mode === "broadcast") server.publish("all", message);
      else if (mode === "json") {
        socket.send(JSON.stringify(JSON.parse(message)));
      } else if (mode === "close") socket.close(1000);
      else socket.send(message, isCompressing);
    },
  },
});
console.log(`Listening on ws://127.0.0.1:${server.port}/`);
