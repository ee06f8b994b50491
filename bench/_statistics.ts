/** Medians, means and percentiles. */

/** The median; `undefined` of no figures. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const { length } = sorted;
  if (length === 0) return undefined;
  return (sorted[(length - 1) >> 1]! + sorted[length >> 1]!) / 2;
}

/** The geometric mean, which averages ratios; `undefined` of no figures. */
export function geometricMean(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sum = values.reduce((sum, value) => sum + Math.log(value), 0);
  return Math.exp(sum / values.length);
}

const STEPS = 16; // to the power of two: a step is 4.4 %
const SMALLEST = 2 ** -3;

/** Durations in microseconds, counted by their size. */
export class Histogram {
  readonly #counts = new Uint32Array(32 * STEPS);
  #total = 0;

  /** Counts one. */
  add(microseconds: number): void {
    const step = Math.log2(Math.max(1, microseconds / SMALLEST)) * STEPS;
    this.#counts[Math.min(this.#counts.length - 1, Math.floor(step))]!++;
    this.#total++;
  }

  /** Forgets all. */
  clear(): void {
    this.#counts.fill(0);
    this.#total = 0;
  }

  /** The duration below which that share of them lies, such as 0.99. */
  quantile(share: number): number | undefined {
    let left = share * this.#total;
    for (const [step, count] of this.#counts.entries()) {
      left -= count;
      if (count > 0 && left <= 0) return SMALLEST * 2 ** ((step + 0.5) / STEPS);
    }
    return undefined;
  }
}
