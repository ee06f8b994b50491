/**
 * Machines that are lent to those who need them, and that remember for whom
 * they have worked last: memory for as many as are at work, not for all.
 *
 * @module
 */

/** What is lent. */
export interface Machine {
  /** What it was made for; others may need another. */
  readonly windowBits: number;
  /** Gives up memory that is not the JavaScript heap's. */
  close?(): void;
}

/** Machines that nobody needs, for whoever needs one next. */
export class Spares<Lent extends Machine> {
  readonly #capacity: number;
  readonly #machines: { kind: string; machine: Lent }[] = [];

  /** @param capacity How many are kept. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The machine of that kind that was put here last. */
  take(kind: string): Lent | undefined {
    for (let i = this.#machines.length - 1; i >= 0; i--) {
      if (this.#machines[i]!.kind !== kind) continue;
      return this.#machines.splice(i, 1)[0]!.machine;
    }
    return undefined;
  }

  /** Keeps a machine, or closes the one that has been here for longest. */
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
  /** Where those go that are not. */
  spares: Spares<Lent>;
  /** Tells apart, among the spares, what differs in more than the window. */
  kind: string;
  /** Makes a machine. */
  make(windowBits: number): Lent;
}

/** Lends machines of one kind. */
export class Leases<Owner extends object, Lent extends Machine> {
  readonly #options: LeasesOptions<Lent>;
  // From the owner that has been away longest to the latest.
  readonly #kept = new Map<Owner, Lent>();

  /** @param options What is lent, and to how many. */
  constructor(options: LeasesOptions<Lent>) {
    this.#options = options;
  }

  /**
   * The machine that was kept for an owner, as it was left, or `undefined` if
   * none was kept, or another owner has got it since.
   */
  reclaim(owner: Owner): Lent | undefined {
    const machine = this.#kept.get(owner);
    if (machine !== undefined) this.#kept.delete(owner);
    return machine;
  }

  /** A machine for a new beginning; it has to be reset. */
  borrow(windowBits: number): Lent {
    const { spares, make } = this.#options;
    return spares.take(this.#kindOf(windowBits)) ?? make(windowBits);
  }

  /** Keeps a machine for its owner, at the expense of who has waited longest. */
  keep(owner: Owner, machine: Lent): void {
    this.#kept.set(owner, machine);
    if (this.#kept.size <= this.#options.capacity) return;
    for (const [oldest, itsMachine] of this.#kept) {
      this.#kept.delete(oldest);
      this.giveBack(itsMachine);
      break;
    }
  }

  /** Takes back a machine whose state is of no use any more. */
  giveBack(machine: Lent): void {
    const kind = this.#kindOf(machine.windowBits);
    this.#options.spares.put(kind, machine);
  }

  #kindOf(windowBits: number): string {
    return `${this.#options.kind}; ${windowBits}`;
  }
}
