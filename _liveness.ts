/**
 * Whether the peer is still there: heartbeats, round trip times, the idle
 * timeout.
 *
 * @module
 */

import { CloseCode } from "./frame.ts";
import type { Closed, WebSocketProtocol } from "./protocol.ts";
import { ConnectionClosedError } from "./_connection_closed_error.ts";
import { Deadline, type DeadlineOwner } from "./_deadline.ts";
import { nextMaskingKey } from "./_masking_keys.ts";
import type { Pump, PumpOwner } from "./_pump.ts";

// How often idleness is looked for within `idleTimeout`, so that messages need
// not restart a timer.
const LOOKS = 4;

// How many unanswered pings are remembered.
const MAX_PINGS = 1000;

/** Times in milliseconds, as in the options of a connection. */
export interface LivenessLimits {
  readonly heartbeatInterval: number;
  readonly heartbeatTimeout: number;
  readonly idleTimeout: number;
}

interface Ping {
  readonly payload: number;
  readonly sent: number;
  resolve(milliseconds: number): void;
  reject(error: unknown): void;
}

/** Watches over one connection. */
export class Liveness implements DeadlineOwner, PumpOwner {
  readonly #limits: LivenessLimits;
  readonly #protocol: WebSocketProtocol;
  #pump!: Pump;
  #heartbeat: Deadline | undefined;
  #idle: Deadline | undefined;
  // A peer that is overdue gets one more look before it is given up: after a
  // time in which this program was busy, timers fire before what has arrived is
  // read.
  #state: "heard" | "pinged" | "overdue" = "heard";
  #quietLooks = 0;
  #pings: Ping[] | undefined;

  constructor(protocol: WebSocketProtocol, limits: LivenessLimits) {
    this.#protocol = protocol;
    this.#limits = limits;
  }

  /** Begins to watch. */
  start(pump: Pump): void {
    const { heartbeatInterval, idleTimeout } = this.#limits;
    this.#pump = pump;
    if (heartbeatInterval > 0) {
      this.#heartbeat = new Deadline(heartbeatInterval, this);
    }
    if (idleTimeout > 0) this.#idle = new Deadline(idleTimeout / LOOKS, this);
  }

  /** It is time to look. */
  onDeadline(deadline: Deadline): void {
    if (deadline === this.#heartbeat) this.#beat(deadline);
    else this.#lookIfIdle(deadline);
  }

  #beat(deadline: Deadline): void {
    const { heartbeatInterval, heartbeatTimeout } = this.#limits;
    // While nothing is read, the peer cannot show that it is there. The ping is
    // sent all the same: if the peer is gone, writing makes the transport
    // notice.
    if (this.#pump.isAlive || !this.#pump.isListening) {
      if (!this.#pump.isAlive) this.#ping();
      this.#pump.watch();
      this.#state = "heard";
      this.#protocol.extension?.idle?.();
      deadline.restart(heartbeatInterval);
    } else if (this.#state === "pinged") {
      this.#state = "overdue";
      deadline.restart(1);
    } else if (this.#state === "overdue") {
      const silence = heartbeatInterval + heartbeatTimeout;
      this.#pump.end(new Error(`The peer has been silent for ${silence} ms`));
    } else {
      // Without a timeout it is pinged again each time, unless something it has
      // not read yet waits to be written.
      const isAsked = heartbeatTimeout === 0 &&
        this.#pump.writer.bufferedAmount > 0;
      if (heartbeatTimeout > 0) this.#state = "pinged";
      if (!isAsked) this.#ping();
      deadline.restart(heartbeatTimeout || heartbeatInterval);
    }
  }

  #ping(): void {
    if (this.#protocol.state === "open") this.#protocol.ping();
    this.#pump.scheduleFlush();
  }

  #lookIfIdle(deadline: Deadline): void {
    const { idleTimeout } = this.#limits;
    this.#quietLooks = this.#pump.isActive ? 0 : this.#quietLooks + 1;
    this.#pump.isActive = false;
    if (this.#quietLooks < LOOKS) {
      deadline.restart(idleTimeout / LOOKS);
    } else {
      this.#protocol.close(CloseCode.GoingAway, `Idle for ${idleTimeout} ms`);
      this.#pump.expectClose();
    }
  }

  /** Sends a ping and waits for its pong; see `WebSocketConnection.ping`. */
  ping(signal?: AbortSignal): Promise<number> {
    return new Promise((resolve, reject) => {
      const pings = this.#pings ??= [];
      if (pings.length === MAX_PINGS) {
        throw new DOMException(
          `The peer has not answered the last ${MAX_PINGS} pings`,
          "InvalidStateError",
        );
      }
      const payload = nextMaskingKey();
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, payload);
      this.#protocol.ping(bytes);
      this.#pump.scheduleFlush();
      const onAbort = (): void => {
        pings.splice(pings.indexOf(ping), 1);
        reject(signal!.reason);
      };
      const forget = (): void => signal?.removeEventListener("abort", onAbort);
      const ping: Ping = {
        payload,
        sent: performance.now(),
        resolve: (milliseconds) => (forget(), resolve(milliseconds)),
        reject: (error) => (forget(), reject(error)),
      };
      pings.push(ping);
      signal?.addEventListener("abort", onAbort);
    });
  }

  /** Resolves the pings that a pong answers. */
  onPong(data: Uint8Array): void {
    if (data.length !== 4 || this.#pings === undefined) return;
    const payload = new DataView(data.buffer, data.byteOffset, 4).getUint32(0);
    const index = this.#pings.findIndex((ping) => ping.payload === payload);
    const now = performance.now();
    // §5.5.3: a peer may answer the latest of several pings only
    for (const ping of this.#pings.splice(0, index + 1)) {
      ping.resolve(now - ping.sent);
    }
  }

  /** Ends everything: no pong can come any more. */
  onClosed(closed: Closed): void {
    this.#heartbeat?.cancel();
    this.#idle?.cancel();
    this.#heartbeat = this.#idle = undefined;
    if (this.#pings === undefined) return;
    const error = new ConnectionClosedError(closed);
    for (const ping of this.#pings.splice(0)) ping.reject(error);
  }
}
