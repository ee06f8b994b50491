/**
 * A TLS listener that bounds how long a peer can keep a file open.
 *
 * Deno (2.9) does not close a TLS connection at once: `close()` waits until the
 * peer has completed the TLS handshake and has read what was written to it. A peer
 * that does neither keeps the file open for ever, and is not counted by the limits
 * on connections. Deno closes TCP connections at once. So this listener accepts
 * TCP connections, and relays their bytes to a TLS listener of its own.
 *
 * The price is three files for each connection, and about twice the CPU time for
 * small messages. Behind a proxy that does the TLS, use `Deno.listen()`.
 *
 * @module
 */

import type { ByteDuplex, Listener, RemoteAddress } from "../mod.ts";

/** A certificate and its private key, both in PEM format. */
export interface Pem {
  cert: string;
  key: string;
}

// How long written bytes may take to reach the peer after close(), in milliseconds.
const FAREWELL = 1000;

// The sizes of a relay's buffer, in bytes: the small one while little arrives.
const SMALLEST = 4096;
const LARGEST = 65536;

const INSIDE = { hostname: "127.0.0.1", port: 0 };

/** Listens for TLS connections at an address. */
export class TlsListener implements Listener {
  readonly #outside: Deno.TcpListener;
  readonly #inside: Deno.TlsListener;

  constructor(address: { hostname: string; port: number }, pem: Pem) {
    this.#inside = Deno.listenTls({
      ...INSIDE,
      ...pem,
      // A browser that is offered HTTP/2 as well might take it.
      alpnProtocols: ["http/1.1"],
    });
    try {
      this.#outside = Deno.listen(address);
    } catch (error) {
      this.#inside.close();
      throw error;
    }
  }

  get addr(): Deno.NetAddr {
    return this.#outside.addr;
  }

  async accept(): Promise<ByteDuplex> {
    const outside = await this.#outside.accept();
    let bridge: Deno.TcpConn | undefined;
    try {
      outside.setNoDelay(true); // throws if the peer has reset it
      bridge = await Deno.connect({ ...INSIDE, port: this.#inside.addr.port });
      bridge.setNoDelay(true);
      const tls = await this.#acceptFrom(bridge.localAddr.port);
      return new Relayed(outside, bridge, tls);
    } catch (error) {
      outside.close();
      bridge?.close();
      throw error;
    }
  }

  async #acceptFrom(port: number): Promise<Deno.TlsConn> {
    for (;;) {
      const conn = await this.#inside.accept();
      if (conn.remoteAddr.port === port) return conn;
      // Another program's, or one of ours that failed above.
      conn.close();
    }
  }

  close(): void {
    this.#outside.close();
    this.#inside.close();
  }
}

/** A TLS connection whose bytes are relayed to and from its peer. */
class Relayed implements ByteDuplex {
  readonly remoteAddr: RemoteAddress;
  readonly #ends: Deno.TcpConn[];
  readonly #tls: Deno.TlsConn;
  readonly #outwards: Promise<void>;
  #isWanted = false;
  #wake = (): void => {};
  #farewell: ReturnType<typeof setTimeout> | undefined;

  constructor(outside: Deno.TcpConn, bridge: Deno.TcpConn, tls: Deno.TlsConn) {
    this.remoteAddr = outside.remoteAddr;
    this.#ends = [outside, bridge];
    this.#tls = tls;
    this.#outwards = relay(bridge, outside);
    const cut = (): void => this.#cut();
    // A failure of one direction ends both.
    const inwards = relay(outside, bridge, () => this.#wanted());
    Promise.all([inwards, this.#outwards]).then(cut, cut);
  }

  /** `serve()` takes a connection with this method for one of TLS. */
  async handshake(): Promise<void> {
    this.#want();
    await this.#tls.handshake();
  }

  async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    this.#want();
    const length = await this.#tls.read(into);
    this.#isWanted = false;
    return length;
  }

  #want(): void {
    this.#isWanted = true;
    this.#wake();
  }

  /** Resolves while the server reads: a peer that waits for its turn costs nothing. */
  async #wanted(): Promise<void> {
    while (!this.#isWanted) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#tls.write(bytes);
  }

  closeWrite(): Promise<void> {
    return this.#tls.closeWrite();
  }

  close(): void {
    this.#tls.close(); // throws if it is closed
    const cut = (): void => this.#cut();
    this.#farewell = setTimeout(cut, FAREWELL);
    this.#outwards.then(cut, cut);
  }

  #cut(): void {
    clearTimeout(this.#farewell);
    for (const end of this.#ends.splice(0)) end.close();
  }
}

/** Relays one direction until it ends. */
async function relay(
  from: Deno.TcpConn,
  to: Deno.TcpConn,
  wanted?: () => Promise<void>,
): Promise<void> {
  let buffer = new Uint8Array(SMALLEST);
  for (;;) {
    await wanted?.();
    const length = await from.read(buffer);
    if (length === null) break;
    for (let rest = buffer.subarray(0, length); rest.length > 0;) {
      rest = rest.subarray(await to.write(rest));
    }
    const isFull = length === buffer.length;
    if (isFull && length < LARGEST) buffer = new Uint8Array(LARGEST);
    else if (length < SMALLEST && buffer.length > SMALLEST) {
      buffer = new Uint8Array(SMALLEST);
    }
  }
  await to.closeWrite();
}
