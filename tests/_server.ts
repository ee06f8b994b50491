/** Servers on real sockets, and clients that write any bytes to them. */
import { parseResponseHead, type ResponseHead } from "../handshake.ts";
import { connect as connectTcp } from "node:net";
import type { ByteDuplex } from "../connection.ts";
import { toDuplex } from "../examples/node/node_sockets.ts";
import { serveTapped, type TappedOptions } from "../examples/_tap.ts";
import type { Server } from "../serve.ts";
import { concat, utf8 } from "./_bytes.ts";

/** Rejects unless the promise settles in time. */
export async function within<T>(
  promise: Promise<T>,
  milliseconds = 10_000,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`Not settled within ${milliseconds} ms`)),
      milliseconds,
    );
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

/** Another address of this machine, where the loopback network has more. */
export const ELSEWHERE: string | undefined = Deno.build.os === "linux"
  ? "127.0.0.2"
  : undefined;

/** Connects from that address. */
export async function dialFromElsewhere(port: number): Promise<ByteDuplex> {
  const socket = connectTcp({
    ...{ host: "127.0.0.1", port, localAddress: ELSEWHERE! },
    allowHalfOpen: true,
  });
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve).once("error", reject);
  });
  return toDuplex(socket);
}

/** A server at a free port of this machine. */
export class TestServer implements AsyncDisposable {
  readonly server: Server;
  readonly port: number;
  /** The errors that `onError` was given. */
  readonly errors: unknown[] = [];
  readonly #open = new Set<Deno.Conn>();
  #onClose = (): void => {};

  constructor(
    options: Partial<TappedOptions> = {},
    listener: Deno.Listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  ) {
    const accept = listener.accept.bind(listener);
    listener.accept = async () => {
      const conn = await accept();
      this.#open.add(conn);
      const close = conn.close.bind(conn);
      conn.close = () => {
        this.#open.delete(conn);
        this.#onClose();
        close();
      };
      return conn;
    };
    this.server = serveTapped(listener, {
      onConnection: (ws) => ws.forEach((message) => ws.send(message)),
      onError: (error) => this.errors.push(error),
      ...options,
    });
    this.port = (listener.addr as Deno.NetAddr).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/`;
  }

  async dial(): Promise<Client> {
    return new Client(
      await Deno.connect({ hostname: "127.0.0.1", port: this.port }),
    );
  }

  /** Sends a request on a connection of its own, and reads the answer. */
  async ask(request: string | Uint8Array): Promise<Answer> {
    using client = await this.dial();
    await client.write(request);
    return await client.readAnswer();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await within(this.server.shutdown({ timeout: 2000 }));
    // Who is refused has a second to read why, which shutdown() may not wait for.
    await within(
      new Promise<void>((resolve) => {
        this.#onClose = () => this.#open.size === 0 && resolve();
        this.#onClose();
      }),
    );
  }
}

/** An answer to a request. */
export interface Answer {
  readonly head: ResponseHead;
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** A plain TCP connection. */
export class Client implements Disposable {
  readonly conn: Deno.Conn;
  #received = new Uint8Array(0);
  #isEnded = false;

  constructor(conn: Deno.Conn) {
    this.conn = conn;
    // Writes are not to be merged.
    (conn as Partial<Deno.TcpConn>).setNoDelay?.(true);
  }

  async write(data: string | Uint8Array): Promise<void> {
    let rest = typeof data === "string" ? utf8(data) : data;
    while (rest.length > 0) rest = rest.subarray(await this.conn.write(rest));
  }

  /** Waits for more; `false` at the end. */
  async #more(): Promise<boolean> {
    if (this.#isEnded) return false;
    const buffer = new Uint8Array(65536);
    const length = await within(this.conn.read(buffer));
    this.#isEnded = length === null;
    this.#received = concat(this.#received, buffer.subarray(0, length ?? 0));
    return !this.#isEnded;
  }

  /** Reads exactly that many bytes. */
  async read(length: number): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#received.length < length) {
      if (!await this.#more()) {
        throw new Error(`The end, after ${this.#received.length} bytes`);
      }
    }
    const bytes = this.#received.slice(0, length);
    this.#received = this.#received.slice(length);
    return bytes;
  }

  /** Text up to the end of a line, and that end. */
  async readLine(): Promise<string> {
    for (let length = 1;; length++) {
      while (this.#received.length < length) {
        if (!await this.#more()) throw new Error("The end, within a line");
      }
      if (this.#received[length - 1] === 0x0a) {
        return new TextDecoder().decode(await this.read(length));
      }
    }
  }

  async readHead(): Promise<ResponseHead> {
    for (;;) {
      const head = parseResponseHead(this.#received);
      if (head !== undefined) {
        await this.read(head.byteLength);
        return head;
      }
      if (!await this.#more()) throw new Error("The end, within a head");
    }
  }

  /** One part of a body in chunks; empty at its end. */
  async readChunk(): Promise<string> {
    const length = parseInt(await this.readLine(), 16);
    const bytes = await this.read(length + 2);
    return new TextDecoder().decode(bytes.subarray(0, length));
  }

  /** Reads to the end. */
  async readToEnd(): Promise<string> {
    while (await this.#more());
    const bytes = await this.read(this.#received.length);
    return new TextDecoder().decode(bytes);
  }

  /** Reads an answer, the length of which its head says (RFC 9112 §6.3). */
  async readAnswer(method = "GET"): Promise<Answer> {
    const head = await this.readHead();
    const { status, headers } = head;
    let body = "";
    const length = headers.get("content-length");
    if (method === "HEAD" || status < 200 || status === 204 || status === 304) {
      body = "";
    } else if (headers.get("transfer-encoding") === "chunked") {
      for (let chunk; (chunk = await this.readChunk()) !== "";) body += chunk;
    } else if (length !== null) {
      body = new TextDecoder().decode(await this.read(Number(length)));
    } else {
      body = await this.readToEnd();
    }
    return { head, status, headers, body };
  }

  [Symbol.dispose](): void {
    try {
      this.conn.close();
    } catch {
      // It is closed.
    }
  }
}

/** A request, with a `Host` and the fields given. */
export function request(line: string, ...fields: string[]): string {
  const head = [`${line} HTTP/1.1`, "Host: localhost", ...fields];
  return `${head.join("\r\n")}\r\n\r\n`;
}

/** A request for an upgrade, the key of which is RFC 6455's (§1.3). */
export function upgrade(target = "/", ...fields: string[]): string {
  return request(
    `GET ${target}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...fields,
  );
}
