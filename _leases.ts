/**
 * Compressors and decompressors ("machines") that are lent to connections. Each
 * is kept for the connection that used it last, as long as there are not too
 * many: so memory is needed for those at work, and not for all.
 *
 * @module
 */

/** A compressor or a decompressor. */
export interface Machine {
  /** The window that it was made for. */
  readonly windowBits: number;
  /** Frees memory outside of the JavaScript heap. */
  close?(): void;
}

/** Machines that are kept for no connection in particular. */
export class Spares<Lent extends Machine> {
  readonly #capacity: number;
  readonly #machines: { kind: string; machine: Lent }[] = [];

  /** @param capacity How many are kept. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Takes out the machine of that kind that was put here last. */
  take(kind: string): Lent | undefined {
    for (let i = this.#machines.length - 1; i >= 0; i--) {
      if (this.#machines[i]!.kind !== kind) continue;
      return this.#machines.splice(i, 1)[0]!.machine;
    }
    return undefined;
  }

  /** Keeps a machine; if there are too many, the oldest is closed. */
  put(kind: string, machine: Lent): void {
    this.#machines.push({ kind, machine });
    if (this.#machines.length <= this.#capacity) return;
    this.#machines.shift()!.machine.close?.();
  }
}

/** Options of {@linkcode Leases}. */
export interface LeasesOptions<Lent extends Machine> {
  /** How many machines are kept for their owners. */
  capacity: number;
  /** Where all others go. */
  spares: Spares<Lent>;
  /** Names the settings, besides the window, in which machines differ. */
  kind: string;
  /** Makes a machine. */
  make(windowBits: number): Lent;
}

/** Lends machines of one kind. */
export class Leases<Owner extends object, Lent extends Machine> {
  readonly #options: LeasesOptions<Lent>;
  // The owner that used its machine least recently comes first.
  readonly #kept = new Map<Owner, Lent>();

  /** @param options What is lent, and how many are kept. */
  constructor(options: LeasesOptions<Lent>) {
    this.#options = options;
  }

  /**
   * Takes out the machine that was kept for an owner, with its state;
   * `undefined` if there is none, or it has been given up since.
   */
  reclaim(owner: Owner): Lent | undefined {
    const machine = this.#kept.get(owner);
    if (machine !== undefined) this.#kept.delete(owner);
    return machine;
  }

  /** A machine in an unknown state, which the caller has to reset. */
  borrow(windowBits: number): Lent {
    const { spares, make } = this.#options;
    return spares.take(this.#kindOf(windowBits)) ?? make(windowBits);
  }

  /**
   * Keeps a machine for its owner; if there are too many, gives up the oldest.
   */
  keep(owner: Owner, machine: Lent): void {
    this.#kept.set(owner, machine);
    if (this.#kept.size <= this.#options.capacity) return;
    for (const [oldest, itsMachine] of this.#kept) {
      this.#kept.delete(oldest);
      this.giveBack(itsMachine);
      break;
    }
  }

  /** Takes back a machine whose state is no longer needed. */
  giveBack(machine: Lent): void {
    const kind = this.#kindOf(machine.windowBits);
    this.#options.spares.put(kind, machine);
  }

  #kindOf(windowBits: number): string {
    return `${this.#options.kind}; ${windowBits}`;
  }
}
