/**
 * Private sums of per-example gradients on an integer grid, as `device/training/dp/grid.py`: clipped in floating point,
 * and from rounding on everything is an integer (the check of the bound, the sum, the noise).
 */

import { InputError } from "../errors.ts";
import { gaussianNoise, MAX_WIDE_SCALE, type IntegerNoise } from "../noise/gaussian.ts";
import { rationalOf, times, type Rational } from "../noise/rational.ts";
import type { RandomStream } from "../noise/stream.ts";

const TARGET_SCALE = 2 ** 14;
const LARGEST_BOUND = 2 ** 20;
const SLACK = 8;
const LEAST_SLACK = 4;

/** Clipping, rounding and noise for gradients of `size` coordinates. One `release` spends one event of this σ. */
export class Grid {
  /** B: the largest L2 norm of one example's vector, in cells. */
  readonly bound: number;
  /** C/B: the width of a cell in gradient units. */
  readonly cell: number;
  /** B - √d/2: what gradients are clipped to, in cells. */
  readonly radius: number;
  /** Of the noise, exact. */
  readonly scale: Rational;
  readonly #noise: IntegerNoise;

  /**
   * @param clip C, in gradient units.
   * @param noiseMultiplier σ.
   * @param size d.
   * @throws InputError when so much noise on so many coordinates is more than samplers reach.
   */
  constructor(
    clip: number,
    noiseMultiplier: number,
    readonly size: number,
  ) {
    const fine = Math.floor(Math.min(TARGET_SCALE / noiseMultiplier, LARGEST_BOUND));
    const least = Math.ceil(LEAST_SLACK * Math.sqrt(size));
    const largest = Math.max(Math.floor(MAX_WIDE_SCALE / noiseMultiplier), least);
    this.bound = Math.min(Math.max(fine, Math.ceil(SLACK * Math.sqrt(size))), largest);
    if (BigInt(size) * BigInt(this.bound) ** 2n >= 1n << 62n) {
      throw new InputError(`gradients of ${size} coordinates are too long for 64-bit sums`);
    }
    this.cell = clip / this.bound;
    this.radius = this.bound - Math.sqrt(size) / 2;
    this.scale = times(rationalOf(noiseMultiplier), { numerator: BigInt(this.bound), denominator: 1n });
    this.#noise = gaussianNoise(this.scale);
  }

  /** What to multiply a gradient of this L2 norm by, so that it is clipped and in cells. */
  factor(norm: number): number {
    return Math.min(1 / this.cell, this.radius / norm);
  }

  /**
   * Rounds one clipped gradient and adds it to `total`, in place, if it passes the bound.
   *
   * @param row (d,), clipped and in cells; overwritten.
   * @returns whether it was added: not when it is not finite, or longer than B. Private like the data.
   */
  add(row: Float64Array, total: Float64Array): boolean {
    let length = 0;
    for (let i = 0; i < this.size; i++) {
      const cells = roundHalfEven(row[i] ?? NaN);
      if (!(Math.abs(cells) <= this.bound)) return false; // NaN too
      row[i] = cells;
      length += cells * cells;
      if (length > this.bound * this.bound) return false; // below 2^53 up to here, so exact
    }
    for (let i = 0; i < this.size; i++) total[i] = (total[i] ?? 0) + (row[i] ?? 0);
    return true;
  }

  /** The sum with its noise, in gradient units: the only value here that may leave the device. */
  release(total: Float64Array, stream: RandomStream): Float64Array {
    const noise = this.#noise.sample(this.size, stream);
    return total.map((cells, i) => (cells + (noise[i] ?? NaN)) * this.cell);
  }
}

/** To the nearest integer, halves to the even one (IEEE 754, as numpy's `rint`). */
function roundHalfEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down; // exact
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}
