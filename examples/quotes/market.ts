/**
 * A market in which prices walk at random.
 *
 * @module
 */

/** The goods, by symbol. */
export const GOODS: Readonly<Record<string, string>> = {
  AMBR: "amber",
  CLAY: "clay",
  COCO: "cocoa",
  CORK: "cork",
  HNEY: "honey",
  INDG: "indigo",
  INK: "ink",
  IRON: "iron",
  JADE: "jade",
  LINE: "linen",
  PAPR: "paper",
  RICE: "rice",
  SALT: "salt",
  SILK: "silk",
  TEA: "tea",
  WOOL: "wool",
};

/** A price, and since when it holds. */
export interface Quote {
  readonly symbol: string;
  /**
   * Its number among those of its symbol: a gap shows that some were missed.
   */
  readonly n: number;
  /** In cents. */
  readonly price: number;
  /** In milliseconds of `performance.now()`. */
  readonly at: number;
}

/** The state of a symbol. */
export interface Snapshot extends Quote {
  readonly name: string;
  /** The price that it began with, in cents. */
  readonly open: number;
  /** The last prices, the newest one last, in cents. */
  readonly history: readonly number[];
}

/** How many prices a snapshot has. */
export const HISTORY = 60;
/** How often some of the prices change, in milliseconds. */
const TICK = 50;

/** Options of {@linkcode Market}. */
export interface MarketOptions {
  /**
   * How often the price of each symbol changes, in times a second.
   *
   * @default {4}
   */
  rate?: number;
  /**
   * Numbers from 0 to 1.
   *
   * @default {Math.random}
   */
  random?: () => number;
}

/** All prices. */
export class Market {
  readonly #onQuote: (quote: Quote) => void;
  readonly #chance: number;
  readonly #random: () => number;
  readonly #goods = new Map<string, Snapshot & { history: number[] }>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param onQuote Called with each new price. */
  constructor(
    onQuote: (quote: Quote) => void,
    { rate = 4, random = Math.random }: MarketOptions = {},
  ) {
    this.#onQuote = onQuote;
    this.#chance = rate * TICK / 1000;
    this.#random = random;
    for (const [symbol, name] of Object.entries(GOODS)) {
      const open = Math.round(1000 * 50 ** random());
      const at = performance.now();
      const first = { symbol, name, n: 0, price: open, open, at };
      this.#goods.set(symbol, { ...first, history: [open] });
    }
    // A history to begin with, so that charts are not empty.
    for (let i = 0; i < HISTORY; i++) {
      for (const symbol of this.#goods.keys()) this.#move(symbol);
    }
  }

  /** The state of a symbol, if there is one of that name. */
  snapshot(symbol: string): Snapshot | undefined {
    const snapshot = this.#goods.get(symbol);
    return snapshot && { ...snapshot, history: [...snapshot.history] };
  }

  /** Lets prices walk. */
  open(): void {
    this.#timer ??= setInterval(() => this.tick(), TICK);
  }

  /** Stops them. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Some prices change. */
  tick(): void {
    for (const symbol of this.#goods.keys()) {
      if (this.#random() < this.#chance) this.#onQuote(this.#move(symbol));
    }
  }

  #move(symbol: string): Quote {
    const before = this.#goods.get(symbol)!;
    // The sum of some uniform numbers is close to normal.
    const normal = this.#random() + this.#random() + this.#random() - 1.5;
    const price = Math.max(1, Math.round(before.price * (1 + normal / 100)));
    const history = [...before.history, price].slice(-HISTORY);
    const quote = { symbol, n: before.n + 1, price, at: performance.now() };
    this.#goods.set(symbol, { ...before, ...quote, history });
    return quote;
  }
}
