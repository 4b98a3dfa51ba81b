/**
 * Symmetric integer noise by inversion of a fixed-point table, as `mechanisms/inversion.py`: neither table nor sampling
 * knows a floating-point number, so nothing of a sum shows through the noise's last bits.
 */

import type { RandomStream } from "./stream.ts";

const MAGNITUDE = 127n; // bits after the binary point; the 128th random bit is the sign
const LOW = (1n << 64n) - 1n;
const CLOSING = LOW; // above every 63-bit number

/** Cumulative distribution of the magnitude: entry k is ⌊2^127·P(abs X ≤ k)⌋, as its upper 63 and lower 64 bits. */
export class Table {
  /** Upper words, ascending, with a closing entry. */
  readonly high: BigUint64Array;
  /** Lower words, one fewer. */
  readonly low: BigUint64Array;

  /** @param sums ascending `P(abs X ≤ k)`, unnormalised; the last is the whole, and no entry of its own. */
  constructor(sums: readonly bigint[]) {
    const total = sums.at(-1) ?? 1n;
    const size = sums.length - 1;
    this.high = new BigUint64Array(size + 1);
    this.low = new BigUint64Array(size);
    for (let k = 0; k < size; k++) {
      const entry = ((sums[k] ?? 0n) << MAGNITUDE) / total;
      this.high[k] = entry >> 64n;
      this.low[k] = entry & LOW;
    }
    this.high[size] = CLOSING;
  }

  /** `n` independent samples: the same stream state gives the same samples as in Python. */
  sample(n: number, stream: RandomStream): Float64Array {
    const words = stream.uint64(n);
    const samples = new Float64Array(n);
    for (const [i, word] of words.entries()) {
      const key = word >> 1n;
      let magnitude = below(this.high, key);
      if (this.high[magnitude] === key) magnitude = this.#resolve(key, magnitude, stream.uint64(1)[0] ?? 0n);
      samples[i] = word & 1n ? -magnitude : magnitude;
    }
    return samples;
  }

  /** The number of entries that are at most `key·2^64 + low`, of which those before `first` have a smaller upper word. */
  #resolve(key: bigint, first: number, low: bigint): number {
    let found = first;
    while (this.high[found] === key && (this.low[found] ?? CLOSING) <= low) found++;
    return found;
  }
}

/** How many entries are less than `key`; they ascend. */
function below(entries: BigUint64Array, key: bigint): number {
  let [from, to] = [0, entries.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((entries[middle] ?? CLOSING) < key) from = middle + 1;
    else to = middle;
  }
  return from;
}
