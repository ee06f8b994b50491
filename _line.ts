/**
 * A queue that its members can leave at any place.
 *
 * @module
 */

/** A member's place in a {@linkcode Line}. */
export interface Place<Holder> {
  readonly holder: Holder;
  before: Place<Holder> | undefined;
  after: Place<Holder> | undefined;
}

/**
 * A doubly linked list, in the order of arrival. A `Set` has the same order,
 * but to find its first entry it passes all that were deleted since it last
 * grew: 20 µs with 4,096 of them.
 */
export class Line<Holder> {
  #first: Place<Holder> | undefined;
  #last: Place<Holder> | undefined;
  #length = 0;

  /** How many members it has. */
  get length(): number {
    return this.#length;
  }

  /** The member that has waited longest. */
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
