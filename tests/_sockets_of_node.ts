/** Looks into `examples/node/node_sockets.ts`, on Node or Bun: for node_test.ts. */
import { type AddressInfo, createServer, type Socket } from "node:net";
import process from "node:process";
import { accept } from "../accept.ts";
import { connect } from "../connect.ts";
import { dial, toDuplex } from "../examples/node/node_sockets.ts";

const KIBIBYTE = new Uint8Array(1024);

/** Waits until nothing more happens by itself. */
function quiet(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Serves sockets at a free port. */
function serve(onSocket: (socket: Socket) => unknown): void {
  const server = createServer({ allowHalfOpen: true }, onSocket);
  server.listen(0, "127.0.0.1", () => {
    console.log(`At ${(server.address() as AddressInfo).port}`);
  });
}

const programs: Record<string, (url: string) => unknown> = {
  /** Sends until the system takes no more, and then waits for Close. */
  fill: () =>
    serve(async (socket) => {
      const ws = await accept(toDuplex(socket));
      const taken = ws.forEach(() => {});
      while (socket.writableLength === 0) {
        ws.send(KIBIBYTE);
        await quiet();
      }
      console.log("full");
      await taken;
    }),

  /** Closes what reads and writes. */
  close: () =>
    serve(async (socket) => {
      const duplex = toDuplex(socket);
      while (socket.writableLength === 0) {
        duplex.write(KIBIBYTE).catch(() => {});
        await quiet();
      }
      const pending = [duplex.write(KIBIBYTE), duplex.read(KIBIBYTE.slice())];
      duplex.close();
      await Promise.allSettled(pending);
      console.log("settled");
    }),

  /** Prints where it has connected to. */
  dial: async (url) => {
    const { hostname, port } = new URL(url);
    const duplex = await dial({
      hostname,
      port: Number(port),
      secure: false,
      signal: new AbortController().signal,
    });
    const before = duplex.remoteAddr ?? "unknown";
    const ws = await connect(url, { dial: () => duplex });
    console.log(JSON.stringify([before, ws.remoteAddr]));
    await ws.close();
  },
};

const [name = "", url = ""] = process.argv.slice(2);
await programs[name]!(url);
