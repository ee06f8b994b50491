/** The npm package ws on Node. */

import process from "node:process";
import { WebSocketServer } from "ws";

const [, , mode] = process.argv;
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  perMessageDeflate: mode === "compress",
});

server.on("listening", () => {
  console.log(`Listening on ws://127.0.0.1:${server.address().port}/`);
});
server.on("connection", (socket) => {
  socket.on("error", () => {}); // cut off by the load
  socket.on("message", (data, isBinary) => {
    if (mode === "broadcast") {
      for (const other of server.clients) {
        other.send(data, { binary: isBinary });
      }
    } else if (mode === "json") {
      socket.send(JSON.stringify(JSON.parse(data)));
    } else if (mode === "close") {
      socket.close(1000);
    } else {
      socket.send(data, { binary: isBinary });
    }
  });
});
