/**
 * Machines that are lent to those who need them, and that remember for whom
 * they have worked last: memory for as many as are at work, not for all.
 *
 * @module
 */

// How many machines nobody has worked with lately are kept for the next.
const MAX_FREE = 4;

/** What is lent. */
interface Machine {
  readonly windowBits: number;
  reset(): void;
  close?(): void;
}

/** Lends machines of one kind. */
export class Leases<Owner extends object, Lent extends Machine> {
  readonly #make: (windowBits: number) => Lent;
  readonly #capacity: number;
  // From the owner that has been away longest to the latest.
  readonly #kept = new Map<Owner, Lent>();
  readonly #free: Lent[] = [];

  /**
   * @param make Makes one.
   * @param capacity How many are kept for their owners.
   */
  constructor(make: (windowBits: number) => Lent, capacity: number) {
    this.#make = make;
    this.#capacity = capacity;
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
    const { length } = this.#free;
    for (let i = length - 1; i >= 0; i--) {
      if (this.#free[i]!.windowBits !== windowBits) continue;
      const [machine] = this.#free.splice(i, 1);
      return machine!;
    }
    return this.#make(windowBits);
  }

  /** Keeps a machine for its owner, at the expense of who has waited longest. */
  keep(owner: Owner, machine: Lent): void {
    this.#kept.set(owner, machine);
    if (this.#kept.size <= this.#capacity) return;
    for (const [oldest, itsMachine] of this.#kept) {
      this.#kept.delete(oldest);
      this.giveBack(itsMachine);
      break;
    }
  }

  /** Takes back a machine whose state is of no use any more. */
  giveBack(machine: Lent): void {
    this.#free.push(machine);
    if (this.#free.length > MAX_FREE) this.#free.shift()!.close?.();
  }
}
