/**
 * From pooled features to the rows that a head reads, as `device/whitening.py`: half whitened by a linear map fitted on
 * public data, cut to a length, and the bias's constant. Each row depends on its own features alone, and is Python's bit for
 * bit: what is added up are whole numbers that a double holds.
 */

import { InputError } from "../errors.ts";

/** Steps of one in which centred and scaled features are counted. */
const CELLS = 2 ** 40;

/** See `Whitening` in `device/whitening.py`: arrays in C order. */
export class Whitening {
  readonly #values: Float64Array;
  readonly #scale: Float64Array;

  /**
   * @param mean (f,) subtracted from pooled features.
   * @param values (f, k) int8; with `scale` exactly the projection.
   * @param scale (f,)
   * @param bound L2 length that no row exceeds, its constant not counted.
   * @throws InputError when shapes do not fit.
   */
  constructor(
    readonly mean: Float32Array,
    values: Int8Array,
    scale: Float32Array,
    readonly bound: number,
  ) {
    if (mean.length !== scale.length || mean.length === 0 || values.length % mean.length !== 0) {
      throw new InputError("mean, projection and scale of a whitening do not fit one another");
    }
    this.components = values.length / mean.length;
    this.#values = Float64Array.from(values);
    this.#scale = Float64Array.from(scale, (one) => one * CELLS);
  }

  /** k: numbers in a row, its constant not counted. */
  readonly components: number;

  /** One row, (k + 1,). @throws InputError when `pooled` is not (f,). */
  row(pooled: Float32Array, constant: number): Float32Array {
    if (pooled.length !== this.mean.length) throw new InputError(`expected ${this.mean.length} features`);
    const sums = new Float64Array(this.components);
    for (const [i, value] of pooled.entries()) {
      const cell = Math.floor((value - (this.mean[i] ?? NaN)) * (this.#scale[i] ?? NaN) + 0.5);
      for (let k = 0; k < this.components; k++) {
        sums[k] = (sums[k] ?? NaN) + cell * (this.#values[i * this.components + k] ?? NaN);
      }
    }
    const row = new Float32Array(this.components + 1);
    let squares = 0;
    for (const [k, sum] of sums.entries()) {
      const value = Math.fround(sum / CELLS);
      row[k] = value;
      squares += value * value;
    }
    const length = Math.sqrt(squares);
    if (length > this.bound) {
      const factor = Math.fround(this.bound / length);
      for (let k = 0; k < this.components; k++) row[k] = (row[k] ?? NaN) * factor;
    }
    row[this.components] = constant;
    return row;
  }
}
