/** Our client and server against those of npm `ws`. */
import { assert, assertEquals } from "@std/assert";
import { WebSocket, WebSocketServer } from "ws";
import { connect } from "../connect.ts";
import type { WebSocketConnection } from "../connection.ts";
import { permessageDeflate } from "../deflate.ts";
import { bounded, ending } from "./_connection.ts";
import {
  bytesOf,
  CLOSES,
  isSame,
  LENGTHS,
  OurServer,
  textOf,
} from "./_interop.ts";

type Data = string | Uint8Array<ArrayBuffer>;

/** A socket of `ws` whose events can be awaited. */
class Socket {
  readonly ws: WebSocket;
  readonly messages: Data[] = [];
  readonly closed: Promise<[number, string]>;
  #wake: (() => void) | undefined;

  constructor(ws: WebSocket) {
    this.ws = ws;
    ws.on("message", (data: Uint8Array, isBinary: boolean) => {
      const bytes = new Uint8Array(data);
      this.messages.push(isBinary ? bytes : new TextDecoder().decode(bytes));
      this.#wake?.();
    });
    ws.on("error", () => {});
    this.closed = new Promise((resolve) => {
      ws.on("close", (code: number, reason: Uint8Array) => {
        resolve([code, new TextDecoder().decode(reason)]);
        this.#wake?.();
      });
    });
  }

  /** Resolves with the first of these events. */
  once<T>(event: string): Promise<T> {
    return new Promise((resolve) => this.ws.once(event, resolve));
  }

  async receive(): Promise<Data> {
    while (this.messages.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.messages.shift()!;
  }

  send(data: Data, options: Record<string, unknown> = {}): void {
    this.ws.send(data, options, () => {});
  }
}

/** A pair of ends of one connection, ours and that of `ws`. */
interface Pair extends AsyncDisposable {
  ours: WebSocketConnection;
  theirs: Socket;
}

interface PairOptions {
  deflate?: boolean;
  maxPayload?: number;
}

/** Our server, their client. */
async function oursServes(options: PairOptions): Promise<Pair> {
  const server = new OurServer({
    extensions: options.deflate ? [permessageDeflate()] : [],
    maxMessageSize: options.maxPayload ?? 16 * 1024 * 1024,
  }, async (ws) => void await ws.closed);
  const accepted = server.next();
  const theirs = new Socket(
    new WebSocket(server.url, {
      perMessageDeflate: options.deflate ? { threshold: 0 } : false,
    }),
  );
  await theirs.once("open");
  return {
    ours: await accepted,
    theirs,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await theirs.closed;
    },
  };
}

/** Their server, our client. */
async function theirsServes(options: PairOptions): Promise<Pair> {
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    perMessageDeflate: options.deflate ? { threshold: 0 } : false,
    ...(options.maxPayload && { maxPayload: options.maxPayload }),
  });
  await new Promise((resolve) => server.once("listening", resolve));
  const accepted = new Promise<WebSocket>((resolve) =>
    server.once("connection", resolve)
  );
  const { port } = server.address() as { port: number };
  const ours = await connect(`ws://127.0.0.1:${port}/`, {
    extensions: options.deflate ? [permessageDeflate()] : [],
  });
  const theirs = new Socket(await accepted);
  return {
    ours,
    theirs,
    async [Symbol.asyncDispose]() {
      ours.terminate();
      await theirs.closed;
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

for (
  const [who, pair] of [
    ["ws as client", oursServes],
    ["ws as server", theirsServes],
  ] as const
) {
  for (const deflate of [false, true]) {
    const name = `${who}${deflate ? ", with permessage-deflate" : ""}`;

    Deno.test(
      `${name}: messages of every boundary length, both ways`,
      bounded(async () => {
        await using both = await pair({ deflate });
        const { ours, theirs } = both;
        assertEquals(
          ours.extension?.name,
          deflate ? "permessage-deflate" : undefined,
        );
        for (const length of LENGTHS) {
          for (const data of [bytesOf(length), textOf(length)]) {
            const [received] = await Promise.all([
              theirs.receive(),
              ours.send(data),
            ]);
            assert(isSame(received, data), `${length} sent`);
            theirs.send(data);
            assert(isSame(await ours.receive(), data), `${length} received`);
          }
        }
      }, 60_000),
    );

    Deno.test(
      `${name}: fragments, both ways, with pings between them`,
      bounded(async () => {
        await using both = await pair({ deflate });
        const { ours, theirs } = both;
        for (
          const sizes of [[0], [0, 0], [1, 0, 3], [125, 126, 65536], [0, 9, 0]]
        ) {
          const parts = sizes.map(textOf);
          parts.forEach((part, i) => {
            theirs.send(part, { fin: i === parts.length - 1 });
            theirs.ws.ping("between");
          });
          assertEquals(await ours.receive(), parts.join(""));
          const sending = ours.sendStream(parts);
          const ping = ours.ping();
          assertEquals(await theirs.receive(), parts.join(""));
          await Promise.all([sending, ping]);
        }
      }),
    );

    Deno.test(
      `${name}: many small messages at once, both ways`,
      bounded(async () => {
        await using both = await pair({ deflate });
        const { ours, theirs } = both;
        const messages = Array.from({ length: 3000 }, (_, i) => `message ${i}`);
        const sending = Promise.all(messages.map((it) => ours.send(it)));
        for (const message of messages) theirs.send(message);
        for (const message of messages) {
          assertEquals(await theirs.receive(), message);
          assertEquals(await ours.receive(), message);
        }
        await sending;
      }, 30_000),
    );
  }

  Deno.test(
    `${who}: pings and pongs, both ways`,
    bounded(async () => {
      await using both = await pair({});
      const { ours, theirs } = both;
      assert(await ours.ping() >= 0);
      for (const data of ["", "data", "x".repeat(125)]) {
        const pong = theirs.once<Uint8Array>("pong");
        theirs.ws.ping(data);
        assertEquals(new TextDecoder().decode(await pong), data);
      }
      theirs.ws.pong("unasked");
      theirs.send("still here");
      assertEquals(await ours.receive(), "still here");
    }),
  );

  Deno.test(
    `${who}: every close code that may be sent, from either side`,
    bounded(async () => {
      for (const [code, reason] of CLOSES) {
        {
          await using both = await pair({});
          const { ours, theirs } = both;
          const info = await ours.close(code, reason);
          // They send the reason back with the code.
          assertEquals(info, { code, reason, wasClean: true });
          assertEquals(await theirs.closed, [code, reason]);
        }
        await using both = await pair({});
        const { ours, theirs } = both;
        theirs.ws.close(code, reason);
        assertEquals(await ours.closed, { code, reason, wasClean: true });
        assertEquals(await theirs.closed, [code, ""]);
      }
      await using both = await pair({});
      const { ours, theirs } = both;
      theirs.ws.close();
      assertEquals((await ours.closed).code, 1005);
      assertEquals((await theirs.closed)[0], 1005);
    }),
  );

  Deno.test(
    `${who}: an end without a Close frame is 1006, on either side`,
    bounded(async () => {
      {
        await using both = await pair({});
        both.theirs.ws.terminate();
        const info = ending(await both.ours.closed);
        assertEquals([info.code, info.wasClean], [1006, false]);
      }
      await using both = await pair({});
      both.ours.terminate();
      assertEquals((await both.theirs.closed)[0], 1006);
    }),
  );

  Deno.test(
    `${who}: a message above the limit is 1009, on either side`,
    bounded(async () => {
      await using both = await pair({ maxPayload: 1000 });
      const { ours, theirs } = both;
      if (pair === oursServes) {
        theirs.send(bytesOf(1000));
        assert(isSame(await ours.receive(), bytesOf(1000)));
        theirs.send(bytesOf(1001));
        assertEquals((await theirs.closed)[0], 1009);
        assertEquals((await ours.closed).code, 1009);
      } else {
        await ours.send(bytesOf(1001));
        assertEquals(await ours.closed.then(({ code }) => code), 1009);
      }
    }),
  );
}

Deno.test(
  "ws as client: subprotocols, headers and the URL",
  bounded(async () => {
    await using server = new OurServer({ protocols: ["b", "c"] });
    const accepted = server.next();
    const theirs = new Socket(
      new WebSocket(`${server.url}path?query=é`, ["a", "b"], {
        headers: { "X-Mine": "yes" },
        perMessageDeflate: true,
      }),
    );
    await theirs.once("open");
    const ours = await accepted;
    assertEquals([ours.protocol, theirs.ws.protocol], ["b", "b"]);
    assertEquals(theirs.ws.extensions, "");
    assertEquals(ours.request?.target, "/path?query=%C3%A9");
    assertEquals(ours.request?.headers.get("x-mine"), "yes");
    assertEquals(ours.remoteAddr?.hostname, "127.0.0.1");
    theirs.ws.close();
    await theirs.closed;
  }),
);

Deno.test(
  "ws as server: subprotocols, headers, and a refusal",
  bounded(async () => {
    const server = new WebSocketServer({
      host: "127.0.0.1",
      port: 0,
      handleProtocols: () => "b",
      verifyClient: ({ req }: { req: { headers: Record<string, string> } }) =>
        req.headers["x-mine"] === "yes",
    });
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const url = `ws://127.0.0.1:${port}/`;
    const ws = await connect(url, {
      protocols: ["a", "b"],
      headers: { "X-Mine": "yes" },
    });
    assertEquals(ws.protocol, "b");
    await ws.close();
    let status = 0;
    try {
      await connect(url);
    } catch (error) {
      status = (error as { status: number }).status;
    }
    assertEquals(status, 401);
    await new Promise((resolve) => server.close(resolve));
  }),
);
