/** Our client and server against those that are built into Deno. */
import { assert, assertEquals } from "@std/assert";
import { connect } from "../connect.ts";
import { bounded } from "./_connection.ts";
import {
  bytesOf,
  CLOSES,
  isSame,
  LENGTHS,
  OurServer,
  textOf,
} from "./_interop.ts";

type Data = string | Uint8Array<ArrayBuffer>;

/** A browser's WebSocket whose events can be awaited. */
class Socket {
  readonly ws: WebSocket;
  readonly messages: Data[] = [];
  readonly opened: Promise<void>;
  readonly closed: Promise<CloseEvent>;
  #wake: (() => void) | undefined;

  constructor(ws: WebSocket) {
    this.ws = ws;
    ws.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      ws.onopen = () => resolve();
      ws.onerror = (event) => reject(new Error((event as ErrorEvent).message));
    });
    this.opened.catch(() => {});
    ws.onmessage = ({ data }) => {
      this.messages.push(
        typeof data === "string" ? data : new Uint8Array(data),
      );
      this.#wake?.();
    };
    this.closed = new Promise((resolve) => ws.onclose = resolve);
  }

  async receive(): Promise<Data> {
    while (this.messages.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.messages.shift()!;
  }
}

/** Deno's server, which sends all back; a text `close` makes it close. */
function denoServes(): {
  url: string;
  sockets: Socket[];
  stop(): Promise<void>;
} {
  const sockets: Socket[] = [];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => {
      const { socket, response } = Deno.upgradeWebSocket(request, {
        idleTimeout: 0,
      });
      const theirs = new Socket(socket);
      sockets.push(theirs);
      socket.addEventListener("message", ({ data }) => {
        const close = typeof data === "string" &&
          /^close (\d+) (.*)$/.exec(data);
        if (close) socket.close(Number(close[1]), close[2]);
        else socket.send(data);
      });
      return response;
    },
  );
  return {
    url: `ws://127.0.0.1:${server.addr.port}/`,
    sockets,
    stop: () => server.shutdown(),
  };
}

Deno.test(
  "Deno as client: messages of every boundary length, there and back",
  bounded(async () => {
    await using server = new OurServer();
    const theirs = new Socket(new WebSocket(server.url));
    await theirs.opened;
    for (const length of LENGTHS) {
      for (const data of [bytesOf(length), textOf(length)]) {
        theirs.ws.send(data);
        assert(isSame(await theirs.receive(), data), `${length}`);
      }
    }
    theirs.ws.close();
    await theirs.closed;
  }, 60_000),
);

Deno.test(
  "Deno as server: messages of every boundary length, there and back",
  bounded(async () => {
    const server = denoServes();
    const ours = await connect(server.url);
    for (const length of LENGTHS) {
      for (const data of [bytesOf(length), textOf(length)]) {
        const [back] = await Promise.all([ours.receive(), ours.send(data)]);
        assert(isSame(back, data), `${length}`);
      }
    }
    assert(await ours.ping() >= 0);
    await ours.sendStream(["frag", "", "ments"]);
    assertEquals(await ours.receive(), "fragments");
    await ours.close();
    await server.stop();
  }, 60_000),
);

Deno.test(
  "Deno as client: many messages at once, and fragments from us",
  bounded(async () => {
    await using server = new OurServer({}, async (ws) => {
      for await (const message of ws) {
        if (message === "fragments") {
          await ws.sendStream(["a", "", "é", "😀".slice(0, 1), "😀".slice(1)]);
        } else await ws.send(message);
      }
    });
    const theirs = new Socket(new WebSocket(server.url));
    await theirs.opened;
    for (let i = 0; i < 5000; i++) theirs.ws.send(`message ${i}`);
    theirs.ws.send("fragments");
    for (let i = 0; i < 5000; i++) {
      assertEquals(await theirs.receive(), `message ${i}`);
    }
    assertEquals(await theirs.receive(), "aé😀");
    theirs.ws.close();
    await theirs.closed;
  }, 30_000),
);

Deno.test(
  "Deno as client: close codes, from either side",
  bounded(async () => {
    await using server = new OurServer({ protocols: ["b"] });
    for (const [code, reason] of CLOSES) {
      const accepted = server.next();
      const theirs = new Socket(new WebSocket(server.url, ["a", "b"]));
      await theirs.opened;
      const ours = await accepted;
      assertEquals([theirs.ws.protocol, ours.protocol], ["b", "b"]);
      // What a program in a browser may send.
      if (code === 1000 || code >= 3000) {
        theirs.ws.close(code, reason);
        assertEquals(await ours.closed, { code, reason, wasClean: true });
      } else {
        await ours.close(code, reason);
        const event = await theirs.closed;
        assertEquals([event.code, event.reason], [code, reason]);
      }
      await theirs.closed;
    }
  }),
);

Deno.test(
  "Deno as server: close codes, from either side",
  bounded(async () => {
    const server = denoServes();
    for (const [code, reason] of CLOSES) {
      const ours = await connect(server.url);
      await ours.close(code, reason);
      const event = await server.sockets.at(-1)!.closed;
      assertEquals([event.code, event.reason], [code, reason]);
      if (code !== 1000 && code < 3000) continue;
      const again = await connect(server.url);
      await again.send(`close ${code} ${reason}`);
      assertEquals(await again.closed, { code, reason, wasClean: true });
    }
    await server.stop();
  }),
);

Deno.test(
  "Deno as client: a handshake that we refuse",
  bounded(async () => {
    await using server = new OurServer({
      onRequest: () => {
        throw new Error("No");
      },
    });
    const theirs = new Socket(new WebSocket(server.url));
    assertEquals((await theirs.closed).wasClean, false);
  }),
);
