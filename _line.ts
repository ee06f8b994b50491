/**
 * Who waits, and for how long: a line that anybody can leave at any time.
 *
 * @module
 */

/** Somebody's place in a {@linkcode Line}. */
export interface Place<Holder> {
  readonly holder: Holder;
  before: Place<Holder> | undefined;
  after: Place<Holder> | undefined;
}

/**
 * From who has waited longest to who has come last. A `Set` has the same order,
 * but looks for its first entry among all that were deleted since it has grown
 * last: 20 µs with 4,096 of them.
 */
export class Line<Holder> {
  #first: Place<Holder> | undefined;
  #last: Place<Holder> | undefined;
  #length = 0;

  /** How many there are. */
  get length(): number {
    return this.#length;
  }

  /** Who has waited longest. */
  get first(): Holder | undefined {
    return this.#first?.holder;
  }

  /** Takes the last place. */
  enter(holder: Holder): Place<Holder> {
    const place = { holder, before: this.#last, after: undefined };
    if (this.#last === undefined) this.#first = place;
    else this.#last.after = place;
    this.#last = place;
    this.#length++;
    return place;
  }

  /** Gives a place up, once. */
  leave({ before, after }: Place<Holder>): void {
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    this.#length--;
  }
}
